"""A worker killed with SIGKILL at each point of the protocol; then it is run again, and no more."""

import signal

import pytest

from tests.crash.invariants import hold
from tests.crash.scene import Scene

# Where it is killed, how many deliveries are in doubt then, and what the relay's log says of them.
POINTS = {
    "plan-commit": (0, {}),
    "claim-commit": (0, {}),
    "claimed": (0, {}),
    "freeze": (0, {}),
    "freeze-commit": (0, {}),
    "intent": (0, {}),
    "intent-commit": (0, {}),
    "intended": (1, {"queued": 1}),
    "dotted": (1, {"accepted": 1}),
    "answered": (1, {"accepted": 1}),
    "outcome-commit": (1, {"accepted": 1}),
    "settled": (0, {}),
}


@pytest.mark.parametrize("point", POINTS)
def test_after_a_kill_at_any_point_each_letter_arrives_once(scene: Scene, point: str) -> None:
    doubts, settled = POINTS[point]
    after = 0 if point == "plan-commit" else 1
    worker = scene.start(point=point, after=after)
    assert worker.wait() == -signal.SIGKILL
    scene.send()
    assert scene.states() == {"accepted": 3 - doubts} | ({"in_doubt": doubts} if doubts else {})
    hold(scene)
    assert scene.settle_doubts() == settled
    scene.send()
    hold(scene, accepted=3)
