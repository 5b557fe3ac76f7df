"""A worker that is stopped, not dead, while its lease runs out: it may go on at any time."""

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from pipeline import schema
from pipeline.relaylog import Absent, Taken, Unknown
from tests import servers
from tests.crash.invariants import hold
from tests.crash.scene import Scene, now
from tests.crash.worker import Worker

LEASE = 1.0


def stopped(scene: Scene, point: str, **changes: Any) -> Worker:
    """A worker that stands still here, in the midst of the second letter; its lease is over."""
    worker = scene.start(point=point, after=1, stop=True, lease=LEASE, **changes)
    worker.await_stopped()
    d = schema.deliveries

    def over() -> bool:
        with scene.db.read() as connection:
            until = connection.scalar(sa.select(d.c.lease_until).where(d.c.owner.is_not(None)))
        assert until is not None
        return bool(until < now() - timedelta(milliseconds=1))

    servers.await_that("the lease was over", over)
    return worker


@pytest.mark.parametrize("point", ["claimed", "freeze", "intent"])
def test_before_the_intent_others_take_over_and_the_stopped_worker_is_fenced(
    scene: Scene, point: str
) -> None:
    worker = stopped(scene, point)
    scene.send()
    assert scene.states() == {"accepted": 3}
    before = scene.everything()
    worker.go_on()
    scene.end_of(worker, expect=0)
    assert scene.everything() == before, "a fenced worker changed something"
    hold(scene, accepted=3)
    # It had the whole body with the relay, and it wrote no dot.
    d, a = schema.deliveries, schema.attempts
    with scene.db.read() as connection:
        first, second = connection.execute(
            sa.select(a.c.number, a.c.outcome, a.c.intent_at)
            .join(d, d.c.id == a.c.delivery_id)
            .where(d.c.attempt == 2)
            .order_by(a.c.number)
        ).all()
    assert (first.outcome, first.intent_at) == ("abandoned", None)
    assert second.outcome == "accepted"


def test_after_the_intent_it_is_waited_for_and_its_late_answer_settles_it(scene: Scene) -> None:
    worker = stopped(scene, "intended")
    scene.send()
    assert scene.states() == {"accepted": 2, "in_doubt": 1}
    [(_, evidence)] = scene.evidence()
    assert isinstance(evidence, Unknown), "the session is open, so the dot may still come"
    scene.send()  # as often as one likes
    assert scene.states() == {"accepted": 2, "in_doubt": 1}
    worker.go_on()
    scene.end_of(worker, expect=0)
    hold(scene, accepted=3)


@pytest.mark.parametrize("settled_first", [True, False])
def test_a_relay_that_gave_a_stopped_worker_up_proves_that_the_dot_never_came(
    scene: Scene, settled_first: bool
) -> None:
    hasty = {"host": scene.postfix.host, "port": scene.postfix.hasty_port}
    ended = len(scene.postfix.await_logged("timeout after DATA", 0))
    worker = stopped(scene, "intended", relay=hasty)
    scene.postfix.await_logged("timeout after DATA", ended + 1)
    scene.send()
    assert scene.states() == {"accepted": 2, "in_doubt": 1}
    scene.postfix.settle()
    [(_, evidence)] = scene.evidence()
    assert isinstance(evidence, Absent)
    if settled_first:
        assert scene.settle_doubts() == {"queued": 1}
        scene.send()
        assert scene.states() == {"accepted": 3}
        before = scene.everything()
        worker.go_on()
        scene.end_of(worker, expect=0)
        assert scene.everything() == before
    else:
        worker.go_on()
        scene.end_of(worker, expect=0)
        # It finds the relay's parting word instead of an answer: that is as good as the log.
        scene.make_due()
        assert "in_doubt" not in scene.states()
        scene.send()
    hold(scene, accepted=3)


@pytest.mark.parametrize("point", ["dotted", "answered", "outcome"])
def test_after_the_dot_the_log_knows_before_the_stopped_worker_says_so(
    scene: Scene, point: str
) -> None:
    worker = stopped(scene, point)
    scene.send()
    scene.postfix.await_logged(f"to=<{scene.recipients[1].replace('+', '.')}>")
    [(_, evidence)] = scene.evidence()
    assert isinstance(evidence, Taken)
    assert scene.settle_doubts() == {"accepted": 1}
    before = scene.everything()
    worker.go_on()
    scene.end_of(worker, expect=0)
    assert scene.everything() == before
    hold(scene, accepted=3)
