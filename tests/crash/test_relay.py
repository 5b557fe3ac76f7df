"""The relay refuses, dawdles, lies, goes away and comes back; and many send at once."""

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
import sqlalchemy as sa

from pipeline import schema
from pipeline.delivery import State
from pipeline.ledger import deliveries, messages
from pipeline.ledger.messages import Request
from pipeline.relaylog import Unknown
from tests.crash.conftest import Setting
from tests.crash.invariants import Witness, hold
from tests.crash.scene import Scene, now
from tests.crash.worker import SENDER
from tests.postfix import Postfix, running_postfix, running_sink
from tests.postgres import free_port
from tests.relays import WaywardRelay

UNAVAILABLE = 69
SECRET = "correct horse"  # noqa: S105

on_sqlite = pytest.mark.parametrize("db_url", ["sqlite"], indirect=True)


def column(scene: Scene, name: str) -> list[Any]:
    """One column of the deliveries, in the order of the letters."""
    d = schema.deliveries
    with scene.db.read() as connection:
        return [*connection.scalars(sa.select(d.c[name]).order_by(d.c.id))]


# -------------------------------------------------------- the relay's own trouble burns no letter


Place = Callable[[Postfix], dict[str, Any]]

TROUBLES: dict[str, tuple[Place, str]] = {
    "not there": (lambda _: {"port": free_port()}, "cannot be reached: Connection refused"),
    "STARTTLS stripped": (
        lambda p: {"port": p.port, "security": "starttls", "ca_file": str(p.authority)},
        "does not offer STARTTLS",
    ),
    "another's certificate": (
        lambda p: {
            "host": "localhost",
            "port": p.tls_port,
            "security": "starttls",
            "ca_file": str(p.authority),
        },
        "certificate is not trusted: Hostname mismatch",
    ),
    "expired certificate": (
        lambda p: {"port": p.expired_port, "security": "starttls", "ca_file": str(p.authority)},
        "certificate is not trusted: certificate has expired",
    ),
    "unknown certificate": (
        lambda p: {"port": p.tls_port, "security": "starttls"},
        "certificate is not trusted: unable to get local issuer",
    ),
    "encryption not used": (lambda p: {"port": p.tls_port}, "530 5.7.0 Must issue a STARTTLS"),
    "no login": (
        lambda p: {"port": p.port, "username": "letters", "password": SECRET},
        "offers neither of the logins",
    ),
}


def is_trouble(scene: Scene, relay: dict[str, Any], says: str) -> None:
    """A relay is of no use: nothing was begun, no letter suffers, and another relay sends all."""
    said = scene.send(expect=UNAVAILABLE, relay={"host": scene.postfix.host} | relay, connections=2)
    assert says in said
    assert SECRET not in said
    assert scene.states() == {"queued": 3}
    assert set(column(scene, "deferrals")) == {0}
    with scene.db.read() as connection:
        intents = connection.scalars(sa.select(schema.attempts.c.intent_at)).all()
    assert set(intents) == {None}
    hold(scene, accepted=0)
    scene.send()
    hold(scene, accepted=3)


@on_sqlite
@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_relay_that_cannot_be_used_costs_no_letter_anything(scene: Scene, trouble: str) -> None:
    place, says = TROUBLES[trouble]
    is_trouble(scene, place(scene.postfix), says)


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        ({"GREETING": b"421 4.3.2 not now\r\n"}, "421 4.3.2 not now"),
        ({"RCPT": b"421 4.3.2 going down\r\n"}, "421 4.3.2 going down"),
        ({"AUTH": f"535 5.7.8 not {SECRET}\r\n".encode()}, "535 5.7.8 not ***"),
    ],
)
def test_a_relay_that_turns_everybody_away_costs_no_letter_anything(
    scene: Scene, answers: dict[str, bytes], says: str
) -> None:
    login = {"EHLO": b"250-relay.test\r\n250 AUTH PLAIN\r\n"}
    with WaywardRelay(login | answers) as relay:
        is_trouble(scene, {"port": relay.port, "username": "letters", "password": SECRET}, says)
        assert relay.messages == []


# ----------------------------------------------------------------------- one letter's own trouble


@pytest.fixture(scope="module")
def own_postfix() -> Iterator[Postfix]:
    """A Postfix that may be ended and changed."""
    with running_postfix() as running:
        yield running


def test_what_is_put_off_waits_for_its_time_and_what_is_refused_for_a_person(
    setting: Setting, own_postfix: Postfix
) -> None:
    mailboxes = ["chief", "grey", "full", "blocked", "link"]
    scene = setting(letters_to=mailboxes, postfix=own_postfix)
    scene.send()
    assert column(scene, "state") == ["accepted", "queued", "queued", "rejected", "accepted"]
    assert column(scene, "deferrals") == [0, 1, 1, 0, 0]
    hold(scene, accepted=2)
    before = scene.everything()
    scene.send()
    assert scene.everything() == before, "it was tried before its time"
    access = own_postfix.place / "etc" / "access"
    rules = access.read_text("utf-8")
    with own_postfix.away():  # greylisting passes, and somebody empties a mailbox
        access.write_text("".join(x for x in rules.splitlines(keepends=True) if "blocked" in x))
    scene.make_due()
    scene.send()
    assert column(scene, "state") == ["accepted"] * 3 + ["rejected", "accepted"]
    with own_postfix.away():
        access.write_text(rules)
    hold(scene, accepted=4)


@on_sqlite
def test_an_envelope_that_cannot_be_written_keeps_its_own_letter_and_no_other(scene: Scene) -> None:
    messages.plan(scene.db, scene.run.id, SENDER, now=now())
    d = schema.deliveries
    with scene.db.write() as connection:
        connection.execute(
            sa.update(d).where(d.c.recipient == scene.recipients[0]).values(envelope_sender="<>")
        )
    scene.send()
    assert column(scene, "state") == ["rejected", "accepted", "accepted"]
    hold(scene, accepted=2)


# ------------------------------------------------------------------ the relay ends in the midst


def test_a_relay_that_ends_between_two_letters_finds_the_rest_waiting(
    setting: Setting, own_postfix: Postfix
) -> None:
    scene = setting(postfix=own_postfix)
    worker = scene.start(point="claimed", after=1, stop=True)
    worker.await_stopped()
    with own_postfix.away():
        worker.go_on()
        assert "cannot be reached" in scene.end_of(worker, expect=UNAVAILABLE)
        assert scene.states() == {"accepted": 1, "queued": 2}
        assert set(column(scene, "deferrals")) == {0}
    scene.send()
    hold(scene, accepted=3)


def test_what_a_relay_had_before_it_ended_is_a_doubt_that_only_a_person_can_settle(
    setting: Setting, own_postfix: Postfix
) -> None:
    scene = setting(postfix=own_postfix)
    worker = scene.start(point="intended", after=1, stop=True)
    worker.await_stopped()
    with own_postfix.away():
        worker.go_on()
        scene.end_of(worker, expect=UNAVAILABLE)
        assert scene.states() == {"accepted": 1, "in_doubt": 1, "queued": 1}
    scene.send()
    assert scene.states() == {"accepted": 2, "in_doubt": 1}
    [(doubt, evidence)] = scene.evidence()
    assert isinstance(evidence, Unknown), "the log does not say how the session ended"
    hold(scene)
    assert deliveries.resolve(
        scene.db, doubt, State.QUEUED, evidence="rang them: nothing came", now=now(), person="Ann"
    )
    scene.send()
    hold(scene, accepted=3)


# -------------------------------------------------------------------------------- after the dot


@pytest.mark.parametrize(
    ("options", "answers"),
    [(["-q", "."], "closed the connection"), (["-W", ".:3"], "no whole answer within 1 seconds")],
)
def test_no_answer_to_the_dot_is_a_doubt_and_never_a_second_copy(
    scene: Scene, options: list[str], answers: str
) -> None:
    with running_sink(*options) as sink:
        relay = {"host": sink.host, "port": sink.port, "timeout": 1.0}
        said = scene.send(relay=relay, connections=3, expect=69)
        assert "took 3 letters in a row without an answer" in said
        assert scene.states() == {"in_doubt": 3}
        scene.send(relay=relay, connections=3)
        assert scene.states() == {"in_doubt": 3}, "there is nothing to send"
        assert len(sink.messages()) == 3
    with scene.db.read() as connection:
        heard = connection.scalars(sa.select(schema.attempts.c.reply)).all()
    assert len(heard) == 3
    assert all(answers in each for each in heard)
    hold(scene)


def test_a_421_to_the_dot_is_a_refusal_and_it_goes_later(scene: Scene) -> None:
    with running_sink("-Q", ".") as sink:
        scene.send(relay={"host": sink.host, "port": sink.port})
    assert scene.states() == {"queued": 3}
    assert column(scene, "deferrals") == [1, 1, 1]
    scene.make_due()
    scene.send()
    hold(scene, accepted=3)


# ------------------------------------------------------------------------------------ many at once


def test_several_workers_keep_one_pace(setting: Setting) -> None:
    scene = setting(letters_to=["chief"] * 8)
    messages.plan(scene.db, scene.run.id, SENDER, now=now())
    workers = [scene.start(pace=0.1, connections=2) for _ in range(3)]
    for worker in workers:
        scene.end_of(worker, expect=0)
    with scene.db.read() as connection:
        claims = sorted(connection.scalars(sa.select(schema.attempts.c.claimed_at)))
    assert len(claims) == 8
    assert all(after - before >= timedelta(seconds=0.1) for before, after in pairwise(claims))
    hold(scene, accepted=8)


def test_two_people_who_send_it_again_at_once_send_one_more_copy(scene: Scene) -> None:
    scene.send()
    hold(scene, accepted=3)
    with scene.db.read() as connection:
        letter = connection.scalars(sa.select(schema.letters.c.id)).first()
    assert letter is not None
    together = threading.Barrier(2)
    made: list[messages.Resent] = []

    def ask() -> None:
        together.wait()
        request = Request(reason="it was lost", person="Ann", key="lost")
        made.append(messages.resend(scene.db, letter, SENDER, request, now=now()))

    asking = [threading.Thread(target=ask) for _ in range(2)]
    for each in asking:
        each.start()
    for each in asking:
        each.join()
    assert {each.new for each in made} == {True, False}
    assert made[0].id == made[1].id
    workers = [scene.start(only=[each.id]) for each in made]
    for worker in workers:
        scene.end_of(worker, expect=0)
    hold(scene, accepted=4)
    first, second = (
        copy.message_id for copy in Witness(scene).copies if copy.recipient == scene.recipients[0]
    )
    assert first != second
