"""Workers killed again and again, at moments that nobody chose, until all letters are sent."""

import logging
import random
import signal
from collections import Counter

from pipeline.delivery import OPEN, State
from pipeline.ledger import messages
from tests.crash.conftest import Setting
from tests.crash.invariants import hold
from tests.crash.scene import now
from tests.crash.worker import SENDER, Worker

_LOG = logging.getLogger(__name__)
LETTERS = 250
KILLS = 100
MOST_LIVES = 800
AT_ONCE = 3
SEED = 20200722
WAITING = {state.value for state in OPEN} - {State.IN_DOUBT.value}


def test_through_a_storm_of_kills_each_letter_arrives_once(setting: Setting) -> None:
    """Each worker lives for some steps of its work, of which a letter takes about eighty.

    So the number of kills does not hang on how fast the machine is. A moment of chance is added, in
    which the other connection goes on, so that they fall within statements and system calls, too.
    """
    scene = setting(letters_to=["chief", "link"] * (LETTERS // 2))
    messages.plan(scene.db, scene.run.id, SENDER, now=now())  # one long transaction
    chance = random.Random(SEED)  # noqa: S311 - the same each time is meant
    ended: Counter[int] = Counter()
    at_work: list[Worker] = []
    while True:
        while len(at_work) < AT_ONCE and scene.states().keys() & WAITING:
            steps, delay = chance.randint(15, 300), chance.uniform(0, 0.003)
            assert len(scene.workers) < MOST_LIVES
            at_work.append(scene.start(connections=2, steps=steps, delay=delay))
        if not at_work:
            break
        worker = scene.nursery.wait_for_any(at_work)
        at_work.remove(worker)
        ended[worker.wait()] += 1
    assert ended.keys() <= {0, -signal.SIGKILL}, [
        worker.output.read_text("utf-8") for worker in scene.workers if worker.output.exists()
    ]
    assert ended[-signal.SIGKILL] >= KILLS
    moved = scene.finish()
    doubts = {each: number for each, number in moved.items() if each[0] == State.IN_DOUBT.value}
    assert doubts.keys() - {("in_doubt", "queued")}, "no kill fell between a dot and its outcome"
    hold(scene, accepted=LETTERS)
    _LOG.info(  # pytest --log-cli-level=INFO
        "%d kills, %d letters, %d attempts, %d doubts settled by the relay's log",
        ended[-signal.SIGKILL],
        LETTERS,
        len(scene.everything()["attempts"]),
        sum(doubts.values()),
    )
