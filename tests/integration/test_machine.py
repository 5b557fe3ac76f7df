"""The ledger against an outside observer, in sequences that nobody thought of.

A machine does to a real ledger whatever workers, clocks, relays, crashes and people may do, in any
order, and keeps what somebody who sees everything would know: which worker is alive, which dot was
written, which mailbox got a copy. After each step the ledger is held to the promises of
`docs/decisions/0001-intent-before-the-dot.md` and its neighbours.

The sequences are the same each time, so that this never fails now and then. To look further, with
new ones: MACHINE_SEQUENCES=2000 .venv/bin/pytest tests/integration/test_machine.py
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import count, pairwise
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from pipeline import migrate, schema
from pipeline.database import Database
from pipeline.delivery import (
    Accepted,
    Deferred,
    Lost,
    Mode,
    NotTried,
    Outcome,
    Pace,
    Patience,
    Rejected,
    Reply,
    State,
    may_follow,
    probe_after,
    retry_after,
)
from pipeline.errors import Refused
from pipeline.ledger import deliveries, holds, messages, relays, reports, runs, story
from pipeline.ledger.deliveries import Claim, Doubt
from pipeline.ledger.messages import Message, Request, Sender
from pipeline.ledger.runs import Run
from pipeline.letter import Letter
from pipeline.report import Kind
from tests.integration.test_ledger import NOW, OPENING, letter, prepare_all
from tests.postgres import PostgresServer

T = TypeVar("T")

LEASE = timedelta(minutes=3)
PATIENCE = Patience(times=2, within=timedelta(days=1))
RELAY = "mail.example port 25"
MODES = (Mode.LIVE, Mode.CAPTURE)
SENDER = Sender(
    address="letters@ombudsman.example",
    mode=Mode.LIVE,
    mailbox="Ombudsman <letters@ombudsman.example>",
)

OPEN = frozenset({State.QUEUED, State.CLAIMED, State.SENDING, State.IN_DOUBT})
IN_HAND = frozenset({State.CLAIMED, State.SENDING})
MAY_HAVE_GONE = frozenset(
    {State.SENDING, State.IN_DOUBT, State.ACCEPTED, State.DELIVERED, State.BOUNCED}
)

TOOK = Accepted(reply=Reply(code=250, text="2.0.0 Ok: queued as Q1"), queue_id="Q1")
LATER = Deferred(reply=Reply(code=451, text="4.7.1 greylisted"))
NEVER = Rejected(reply=Reply(code=550, text="5.1.1 no such user"))
SILENT = Lost(reason="After the dot: the relay closed the connection.")
DROPPED = NotTried(reason="At body, before the dot: it took too long.", trouble=False)
TROUBLE = NotTried(reason="the relay refused the login", trouble=True)

COMES = (  # whether the dot is written, whether the relay takes it, and what the worker hears
    (True, True, TOOK),
    (True, True, TOOK),
    (True, True, SILENT),
    (True, False, SILENT),
    (True, False, LATER),
    (True, False, NEVER),
    (True, False, TROUBLE),
    (False, False, SILENT),  # the relay spoke before it could see the dot, so there is none
    (False, False, LATER),
    (False, False, DROPPED),
)

ANY = st.integers(0, 5)  # which of those there are
A_MODE = st.sampled_from((Mode.LIVE, Mode.LIVE, Mode.CAPTURE))


def composed() -> list[Letter]:
    """A goes to two people, B to one."""
    both, one = letter("A"), letter("B")
    return [both, replace(one, recipients=one.recipients[:1])]


@dataclass(slots=True, kw_only=True)
class Hand:
    """What a worker holds, or has held; what it knows, and what the observer knows of it.

    `held` is whether the claim is still the worker's, and `until` when its lease ends. `taken` is
    whether the relay has the message, and `over` whether the worker can write no dot any more.
    """

    claim: Claim
    message: Message
    until: datetime
    held: bool = True
    intended: bool = False
    dotted: bool = False
    taken: bool = False
    over: bool = False
    answer: Outcome | None = None

    @property
    def attempt(self) -> tuple[int, int]:
        return self.claim.delivery_id, self.claim.attempt


@dataclass(slots=True, kw_only=True)
class Worker:
    """A process that sends; once it has died, another takes its place under another name."""

    name: str
    hand: Hand | None = None


@dataclass(slots=True, kw_only=True)
class Seen:
    """The ledger's rows at one moment, by id; the events in their order."""

    deliveries: dict[int, Any]
    attempts: dict[tuple[int, int], Any]
    messages: dict[int, Any]
    events: list[Any]

    def state(self, delivery_id: int) -> State:
        return State(self.deliveries[delivery_id].state)

    def states(self, letter_id: int, *modes: Mode) -> list[State]:
        return [
            State(row.state)
            for row in self.deliveries.values()
            if row.letter_id == letter_id and Mode(row.mode) in (modes or MODES)
        ]


class Fresh(Protocol):
    """Gives a database of its own, with both letters made and nothing planned."""

    def __call__(self) -> tuple[Database, Callable[[], None]]:
        """The database, and what takes it away again."""


def fold(moves: Iterable[tuple[State, State]]) -> State:
    """Where moves lead, told in any order: the one state entered more often than it was left."""
    stands = Counter({State.QUEUED: 1})
    for source, target in moves:
        stands[source] -= 1
        stands[target] += 1
    [there] = [state for state, times in stands.items() for _ in range(abs(times))]
    assert stands[there] == 1
    return there


def pick(n: int, among: Sequence[T]) -> T:
    return among[n % len(among)]


class Ledger(RuleBasedStateMachine):
    """What may happen to a ledger, in any order."""

    def __init__(self, fresh: Fresh) -> None:
        super().__init__()
        self.db, self.take_away = fresh()
        found = runs.find_run(self.db, OPENING.year)
        assert found is not None
        self.run: Run = found
        self.now = NOW
        self.numbers = count(1)
        self.workers = [Worker(name=f"worker {next(self.numbers)}") for _ in range(3)]
        self.dead: set[str] = set()
        self.hands: dict[tuple[int, int], Hand] = {}
        self.doubts: list[Doubt] = []
        self.seen = Seen(deliveries={}, attempts={}, messages={}, events=[])
        # What the observer knows of people, relays and mailboxes.
        self.pace = Pace()
        self.turns: list[tuple[datetime, str]] = []
        self.failures = 0
        self.left_alone_until: datetime | None = None
        self.paused = False
        self.withheld: set[int] = set()
        self.owed: dict[int, set[tuple[Mode, str]]] = {}
        self.planned: Counter[tuple[int, Mode]] = Counter()
        self.put_off: Counter[int] = Counter()
        self.first_tried: dict[int, datetime] = {}
        self.dots: Counter[int] = Counter()
        self.absent: Counter[int] = Counter()  # dots known not to have been taken, or not written
        self.copies: Counter[int] = Counter()
        self.copied: dict[int, set[str]] = {}
        self.by_person: set[int] = set()  # deliveries that somebody's word has settled
        self.risked: Counter[int] = Counter()  # sent again on somebody's word
        self.asked: Counter[tuple[str, Mode, str]] = Counter()  # further copies asked for
        self.reported: set[str] = set()
        self.facts: dict[int, list[Kind]] = {}  # what was reported and has moved nothing yet
        self.keys: dict[tuple[Mode, str], tuple[int, int]] = {}
        self.made: dict[tuple[Mode, int, str], list[int]] = {}
        self.letters: dict[int, str] = {}
        self.know_letters()

    def teardown(self) -> None:
        self.db.close()
        self.take_away()

    # How it begins.

    @initialize(
        pace=st.sampled_from(
            (
                Pace(),
                Pace(),
                Pace(overall=timedelta(seconds=2)),
                Pace(to_one_domain=timedelta(minutes=1)),
            )
        )
    )
    def begin(self, pace: Pace) -> None:
        self.pace = pace
        self.plan(Mode.LIVE)

    @initialize(rehearsed=st.booleans())
    def rehearse(self, rehearsed: bool) -> None:
        if rehearsed:
            self.plan(Mode.CAPTURE)

    # What may happen, more or less as often as it is worth: mostly, workers go on.

    @rule(seconds=st.sampled_from((1, 2, 20, 60, 170, 200, 400, 1000, 20_000, 90_000)))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule(n=ANY, mode=A_MODE, comes=st.sampled_from(COMES))
    def works(self, n: int, mode: Mode, comes: tuple[bool, bool, Outcome]) -> None:
        """A worker takes its next step."""
        worker = pick(n, self.workers)
        hand = worker.hand
        if hand is None:
            mode = self.with_work(n, mode)
            self.claim(self.idle().index(worker), mode)
        elif not hand.intended:
            self.intend(self.place(worker, lambda hand: not hand.intended))
        elif hand.answer is None:
            self.dot(self.place(worker, lambda hand: hand.intended and hand.answer is None), comes)
        else:
            self.conclude(self.place(worker, lambda hand: hand.answer is not None))

    @rule(n=ANY, mode=A_MODE, comes=st.sampled_from(COMES))
    def works_on(self, n: int, mode: Mode, comes: tuple[bool, bool, Outcome]) -> None:
        self.works(n, mode, comes)

    @rule(n=ANY, mode=A_MODE, comes=st.sampled_from(COMES))
    def works_and_works(self, n: int, mode: Mode, comes: tuple[bool, bool, Outcome]) -> None:
        self.works(n, mode, comes)
        self.look()
        self.works(n, mode, comes)

    @precondition(lambda self: self.idle())
    @rule(n=ANY, mode=A_MODE)
    def sends(self, n: int, mode: Mode) -> None:
        self.send(n, mode)

    @precondition(lambda self: self.busy(lambda hand: not hand.intended))
    @rule(n=ANY, outcome=st.sampled_from((LATER, NEVER, DROPPED, TROUBLE)))
    def hears_no(self, n: int, outcome: Outcome) -> None:
        self.end_before_the_intent(n, outcome)

    @precondition(lambda self: self.busy(lambda _: True))
    @rule()
    def renews(self) -> None:
        self.renew()

    @rule(n=ANY, dies=st.booleans(), found=st.sampled_from((None, True, False)))
    def crashes(self, n: int, dies: bool, found: bool | None) -> None:
        """A worker dies, or seems to, and is found out: by somebody who knows, or by time."""
        if dies:
            self.die(n)
        if found is not None:
            self.recover(found)

    @precondition(lambda self: self.hands)
    @rule(n=ANY, outcome=st.sampled_from((TOOK, LATER, NEVER, SILENT, DROPPED)))
    def comes_with_a_wrong_claim(self, n: int, outcome: Outcome) -> None:
        if not all(hand.held for hand in self.hands.values()):
            self.fenced(n, outcome)
        if any(hand.held for hand in self.hands.values()):
            self.impostor(n, outcome)

    @precondition(lambda self: self.doubts or self.in_doubt())
    @rule(
        n=ANY,
        looks=st.booleans(),
        says=st.sampled_from(
            (
                None,
                None,
                State.QUEUED,
                State.QUEUED,
                State.ACCEPTED,
                State.DELIVERED,
                State.CANCELLED,
            )
        ),
    )
    def settles_a_doubt(self, n: int, looks: bool, says: State | None) -> None:
        """By evidence if nobody says anything; seen just now, or some time ago."""
        if looks or not self.doubts:
            self.look_for_doubts()
        if self.doubts and says is None:
            self.evidence(n)
        elif self.doubts and says is not None:
            self.word(n, says)

    @precondition(lambda self: self.copies.total())
    @rule(n=ANY, kind=st.sampled_from((Kind.DELIVERED, Kind.FAILED, Kind.DELAYED, None)))
    def reports_come(self, n: int, kind: Kind | None) -> None:
        if kind is None:
            self.apply_reports()
        else:
            self.report(n, kind)

    @rule(what=st.sampled_from(("relay_answers", "relay_answers", "relay_fails", "try_now")))
    def relay_is_moody(self, what: str) -> None:
        getattr(self, what)()

    @rule(
        n=ANY,
        mode=A_MODE,
        what=st.sampled_from(
            (
                *("pause", "resume", "resume"),
                *("withhold", "withhold_unsent", "release", "release"),
                *("plan", "plan", "cancel", "tamper", "ask"),
            )
        ),
    )
    def people_have_their_say(self, n: int, mode: Mode, what: str) -> None:
        match what:
            case "withhold":
                self.withhold(n)
            case "release":
                self.release(n, mode)
            case "plan":
                self.plan(mode)
            case "ask":
                self.ask_how_it_stands(mode)
            case _:
                getattr(self, what)()

    # Planning.

    def plan(self, mode: Mode) -> None:
        new = [
            letter_id
            for letter_id in self.run_letters()
            if letter_id not in self.withheld and not self.planned[letter_id, mode]
        ]
        assert messages.plan(self.db, self.run.id, self.sender(mode), now=self.now) == len(new)
        for letter_id in new:
            self.planned[letter_id, mode] += len(self.recipients(letter_id))

    # A worker's way: claim, intend, dot, conclude.

    def claim(self, n: int, mode: Mode) -> None:
        worker = pick(n, self.idle())
        may = self.claimable(mode)
        claimed = deliveries.claim(
            self.db,
            self.run.id,
            mode,
            owner=worker.name,
            lease=LEASE,
            now=self.now,
            relay=RELAY,
            pace=self.pace,
        )
        if claimed is None:
            assert not may, "something is due, and may go, and was not claimed"
            return
        assert claimed.delivery_id in may[:1], "it may not go now, or is not the next"
        row = self.seen.deliveries[claimed.delivery_id]
        assert (claimed.recipient, claimed.envelope_sender, claimed.attempt) == (
            row.recipient,
            row.envelope_sender,
            row.attempt + 1,
        )
        self.turns.append((self.now, row.domain))
        self.first_tried.setdefault(claimed.delivery_id, self.now)
        worker.hand = Hand(
            claim=claimed,
            message=messages.read(self.db, claimed.message_id),
            until=self.now + LEASE,
        )
        assert worker.hand.attempt not in self.hands
        self.hands[worker.hand.attempt] = worker.hand

    def intend(self, n: int) -> None:
        worker, hand = pick(n, self.busy(lambda hand: not hand.intended))
        self.freeze(hand)
        with self.untouched_unless(hand.held):
            granted = deliveries.intend(
                self.db,
                hand.claim,
                relay=RELAY,
                local_host="127.0.0.1",
                local_port=25_000,
                lease=LEASE,
                now=self.now,
            )
        assert (granted is not None) == hand.held
        if granted:
            with self.untouched_unless(False):
                assert not deliveries.intend(
                    self.db, hand.claim, relay="x", local_port=1, lease=LEASE, now=self.now
                ), "twice"
            hand.intended, hand.until = True, self.now + LEASE
        else:
            self.conclude_with(worker, hand, DROPPED)

    def end_before_the_intent(self, n: int, outcome: Outcome) -> None:
        worker, hand = pick(n, self.busy(lambda hand: not hand.intended))
        self.conclude_with(worker, hand, outcome)

    def dot(self, n: int, comes: tuple[bool, bool, Outcome]) -> None:
        """The worker writes its dot, also if it was given up long ago; and hears an answer."""
        hand = pick(n, self.busy(lambda hand: hand.intended and hand.answer is None))[1]
        hand.dotted, hand.taken, hand.answer = comes
        hand.over = True
        one = hand.claim
        if hand.dotted:
            tried = self.seen.attempts[hand.attempt]
            assert tried.intent_at is not None, "a dot without a committed intent"
            assert tried.intent_at <= self.now
            self.dots[one.delivery_id] += 1
        if hand.taken:
            assert hand.message.eml is not None
            self.copies[one.delivery_id] += 1
            self.copied.setdefault(one.message_id, set()).add(hand.message.eml)
        elif hand.dotted and not isinstance(hand.answer, Lost):
            self.absent[one.delivery_id] += 1

    def conclude(self, n: int) -> None:
        worker, hand = pick(n, self.busy(lambda hand: hand.answer is not None))
        assert hand.answer is not None
        self.conclude_with(worker, hand, hand.answer)

    def send(self, n: int, mode: Mode) -> None:
        """The whole way at once, as it nearly always goes."""
        worker = pick(n, self.idle())
        at = self.idle().index(worker)
        self.claim(at, mode)
        self.look()
        if worker.hand is None:
            return

        self.intend(self.place(worker, lambda hand: not hand.intended))
        self.look()
        self.dot(
            self.place(worker, lambda hand: hand.intended and hand.answer is None),
            (True, True, TOOK),
        )
        self.conclude(self.place(worker, lambda hand: hand.answer is not None))

    def fenced(self, n: int, outcome: Outcome) -> None:
        """Somebody comes with a claim that was lost or is over, in whatever state it is now."""
        stale = [hand for hand in self.hands.values() if not hand.held]
        claimed = pick(n, stale).claim
        with self.untouched_unless(False):
            assert not deliveries.intend(
                self.db, claimed, relay="x", local_port=1, lease=LEASE, now=self.now
            )
            assert not deliveries.settle(self.db, claimed, outcome, now=self.now)
            deliveries.renew(self.db, [claimed], lease=LEASE, now=self.now)

    def impostor(self, n: int, outcome: Outcome) -> None:
        """The right attempt under another's name, and the right name with another attempt."""
        held = [hand.claim for hand in self.hands.values() if hand.held]
        mine = pick(n, held)
        for other in (replace(mine, owner="another"), replace(mine, attempt=mine.attempt + 1)):
            with self.untouched_unless(False):
                assert not deliveries.settle(self.db, other, outcome, now=self.now)
                assert not deliveries.intend(
                    self.db, other, relay="x", local_port=1, lease=LEASE, now=self.now
                )
                deliveries.renew(self.db, [other], lease=LEASE, now=self.now)

    def renew(self) -> None:
        hands = [hand for _, hand in self.busy(lambda _: True)]
        deliveries.renew(self.db, [hand.claim for hand in hands], lease=LEASE, now=self.now)
        for hand in hands:
            if hand.held:
                hand.until = self.now + LEASE

    # Crashes, and what is found afterwards.

    def die(self, n: int) -> None:
        worker = pick(n, self.workers)
        self.dead.add(worker.name)
        if worker.hand is not None:
            worker.hand.over = True
        self.workers[self.workers.index(worker)] = Worker(name=f"worker {next(self.numbers)}")

    def recover(self, knows: bool) -> None:
        """From this machine it is known who is gone; from another only the lease speaks."""
        gone = self.dead.__contains__ if knows else (lambda _: False)
        lost = [
            hand
            for hand in self.hands.values()
            if hand.held and (gone(hand.claim.owner) or hand.until <= self.now)
        ]
        moved = deliveries.recover(self.db, self.run.id, gone=gone, now=self.now)
        assert moved == len(lost)
        for hand in lost:
            hand.held = False
        self.look()
        for hand in lost:
            expected = State.IN_DOUBT if hand.intended else State.QUEUED
            assert self.seen.state(hand.claim.delivery_id) is expected

    def look_for_doubts(self) -> None:
        self.doubts = [
            doubt for mode in MODES for doubt in deliveries.doubts(self.db, self.run.id, mode)
        ]
        assert {doubt.delivery_id for doubt in self.doubts} == {
            id_
            for id_, row in self.seen.deliveries.items()
            if row.state == State.IN_DOUBT and row.letter_id in self.run_letters()
        }

    def evidence(self, n: int) -> None:
        """The relay's log speaks, of one attempt, and only the truth; it may be read late."""
        doubt = pick(n, self.doubts)
        hand = self.hands[doubt.delivery_id, doubt.attempt]
        if hand.taken:
            self.resolve(doubt, State.ACCEPTED)
        elif hand.over and self.resolve(doubt, State.QUEUED):
            self.absent[doubt.delivery_id] += isinstance(hand.answer, Lost) and hand.dotted

    def word(self, n: int, says: State) -> None:
        """A person says what became of it, and may be wrong."""
        doubt = pick(n, self.doubts)
        if self.resolve(doubt, says, person="Ann"):
            self.by_person.add(doubt.delivery_id)
            if says is State.QUEUED:
                self.risked[doubt.delivery_id] += 1

    def report(self, n: int, kind: Kind) -> None:
        """A report of a copy comes back, at whatever time and perhaps not for the first time."""
        id_ = pick(n, sorted(+self.copies))
        once = f"{id_} {kind}"
        new = once not in self.reported
        note = reports.Note(
            sent=reports.by_id(self.db, [id_])[id_],
            once=once,
            kind=kind,
            matched_by="verp",
        )
        if new:
            self.reported.add(once)
            self.facts.setdefault(id_, []).append(kind)
        expected = [self.fate(id_)] if new else []
        with self.untouched_unless(new):
            moved = reports.note(self.db, [note], now=self.now)
        assert [one.target for one in moved] == [state for state in expected if state]

    def apply_reports(self) -> None:
        """What was reported before its delivery could be moved by it."""
        expected = {id_: state for id_ in self.facts if (state := self.fate(id_))}
        moved = reports.apply_pending(self.db, now=self.now)
        assert {one.delivery_id: one.target for one in moved} == expected

    # The relay.

    def relay_fails(self) -> None:
        relays.fails(self.db, RELAY, reason="no connection", chance=0.5, now=self.now)
        if self.left_alone_until is None or self.left_alone_until <= self.now:
            self.failures += 1
            self.left_alone_until = self.now + probe_after(self.failures, chance=0.5)
        trouble = relays.in_trouble(self.db, RELAY)
        assert trouble is not None
        assert trouble.retry_at == self.left_alone_until

    def relay_answers(self) -> None:
        assert relays.answers(self.db, RELAY, now=self.now) == (self.failures > 0)
        self.failures, self.left_alone_until = 0, None

    def try_now(self) -> None:
        relays.try_now(self.db, RELAY, now=self.now)
        if self.left_alone_until is not None:
            self.left_alone_until = min(self.left_alone_until, self.now)

    # People.

    def pause(self) -> None:
        new = holds.pause(self.db, self.run, because="wrong", person="Ann", now=self.now)
        assert new == (not self.paused)
        self.paused = True

    def resume(self) -> None:
        assert holds.resume(self.db, self.run, person="Ann", now=self.now) == self.paused
        self.paused = False

    def withhold(self, n: int) -> None:
        letter_id = pick(n, self.run_letters())
        live = self.seen.states(letter_id, Mode.LIVE)
        gone = live and all(state in MAY_HAVE_GONE - IN_HAND for state in live)
        which = self.withheld | {letter_id}
        refused = State.IN_DOUBT in live or bool(gone) or self.in_hand(which)
        with self.untouched_unless(not refused), expecting(refused):
            done = holds.withhold(
                self.db, self.run, letter_id, because="wrong", person="Ann", now=self.now
            )
        if not refused:
            assert done.letters == (letter_id not in self.withheld)
            assert done.deliveries == self.note_withheld(which)

    def withhold_unsent(self) -> None:
        which = set(self.withheld)
        for letter_id in self.run_letters():
            live = set(self.seen.states(letter_id, Mode.LIVE))
            if not live & MAY_HAVE_GONE or live & {State.QUEUED, State.CLAIMED}:
                which.add(letter_id)
        refused = self.in_hand(which)
        with self.untouched_unless(not refused), expecting(refused):
            done = holds.withhold_unsent(
                self.db, self.run, because="wrong", person="Ann", now=self.now
            )
        if not refused:
            assert done.letters == len(which - self.withheld)
            assert done.deliveries == self.note_withheld(which)

    def release(self, n: int, mode: Mode) -> None:
        letter_id = pick(n, self.run_letters())
        was = letter_id in self.withheld
        with self.untouched_unless(was):
            done = holds.release(
                self.db, self.run, letter_id, self.sender(mode), person="Ann", now=self.now
            )
        assert done == was
        self.withheld.discard(letter_id)
        before = set(self.seen.deliveries)
        self.look(counts=False)
        new = [row for id_, row in self.seen.deliveries.items() if id_ not in before]
        assert {(Mode(row.mode), row.recipient) for row in new} == self.owed.pop(
            letter_id, set()
        ), "whom it was withheld from gets it, and nobody else"
        for row in new:
            self.planned[letter_id, Mode(row.mode)] += 1

    @rule(
        n=ANY,
        mode=A_MODE,
        key=st.sampled_from((None, "form 1", "form 2")),
        again=st.booleans(),
        elsewhere=st.booleans(),
    )
    def resend(self, n: int, mode: Mode, key: str | None, again: bool, elsewhere: bool) -> None:
        letter_id = pick(n, self.run_letters())
        to = [{"address": "new@c.example", "name": "", "roles": [], "kind": "to"}]
        request = Request(
            reason="lost",
            person="Bob",
            key=key,
            again=again,
            to=to if elsewhere else None,
        )
        same = self.made.setdefault((mode, letter_id, f"{elsewhere} {self.day()}"), [])
        known: int | None = None
        anothers = False
        if key is not None:
            of, known = self.keys.get((mode, key), (letter_id, None))
            anothers = of != letter_id
        elif same and not again:
            states = {
                State(row.state)
                for row in self.seen.deliveries.values()
                if row.message_id == same[-1]
            }
            failed = {State.REJECTED, State.BOUNCED, State.EXPIRED, State.CANCELLED}
            known = same[-1] if states - failed else None
        states_now = set(self.seen.states(letter_id, mode))
        hindered = self.paused or letter_id in self.withheld or not states_now or states_now & OPEN
        refused = anothers or (known is None and bool(hindered))
        new = known is None and not refused
        with self.untouched_unless(new), expecting(refused):
            resent = messages.resend(self.db, letter_id, self.sender(mode), request, now=self.now)
        if refused:
            return
        assert resent.new == new
        if not new:
            assert resent.id == known
            return
        if key is None:
            same.append(resent.id)
        else:
            self.keys[mode, key] = letter_id, resent.id
        sent_to = [str(one["address"]) for one in to] if elsewhere else self.recipients(letter_id)
        self.planned[letter_id, mode] += len(sent_to)
        for recipient in sent_to:
            self.asked[self.letters[letter_id], mode, recipient] += 1
        with self.db.read() as connection:
            m = schema.messages
            made = connection.execute(sa.select(m).where(m.c.id == resent.id)).one()
        earlier = self.seen.messages.values()
        assert made.message_id not in {one.message_id for one in earlier}
        assert made.resend_of == max(
            one.id for one in earlier if one.letter_id == letter_id and one.mode == mode
        )
        assert (made.reason, made.requested_by) == ("lost", "Bob")

    def cancel(self) -> None:
        """Give the run up; the year is then opened anew."""
        live = [
            row
            for row in self.seen.deliveries.values()
            if row.letter_id in self.run_letters() and row.mode == Mode.LIVE
        ]
        given_up = any(self.given_up_in_doubt(row.id) for row in live)
        refused = (
            any(State(row.state) in MAY_HAVE_GONE for row in live)
            or given_up
            or self.in_hand(set(self.run_letters()))
        )
        with self.untouched_unless(not refused), expecting(refused):
            holds.cancel(self.db, self.run, because="wrong", person="Ann", now=self.now)
        if refused:
            return
        for mode in MODES:
            assert (
                deliveries.claim(
                    self.db, self.run.id, mode, owner="w", lease=LEASE, now=self.now, relay=RELAY
                )
                is None
            )
        runs.open_run(self.db, OPENING, composed(), person="Ann", now=self.now)
        found = runs.find_run(self.db, OPENING.year)
        assert found is not None
        assert found.id != self.run.id
        self.run, self.paused, self.withheld, self.owed = found, False, set(), {}
        prepare_all(self.db, found)
        self.know_letters()

    def tamper(self) -> None:
        e = schema.events
        for statement in (sa.update(e).values(person="Eve"), sa.delete(e)):
            with (
                pytest.raises(sa.exc.DBAPIError, match="append-only"),
                self.db.write() as connection,
            ):
                connection.execute(statement)

    def ask_how_it_stands(self, mode: Mode) -> None:
        told = story.summary(self.db, self.run, mode).deliveries
        stand = Counter(
            row.state
            for row in self.seen.deliveries.values()
            if row.letter_id in self.run_letters() and row.mode == mode
        )
        assert {state: times for state, times in told.items() if times} == stand
        assert stand.total() == sum(self.planned[one, mode] for one in self.run_letters())

    # What must hold after whatever has happened.

    @invariant()
    def look(self, counts: bool = True) -> None:
        before, self.seen = self.seen, self.read()
        self.nothing_is_rewritten(before)
        self.the_story_is_the_state(before)
        self.one_way_at_a_time()
        self.mailboxes()
        if counts:
            planned = Counter(
                (row.letter_id, Mode(row.mode)) for row in self.seen.deliveries.values()
            )
            assert planned == +self.planned, "deliveries that nobody planned, or that are gone"

    def nothing_is_rewritten(self, before: Seen) -> None:
        assert self.seen.events[: len(before.events)] == before.events
        for id_, was in before.messages.items():
            may = {"dated", "eml", "eml_sha256"} if was.eml is None else set()
            for column, value in self.seen.messages[id_]._mapping.items():
                assert column in may or value == was._mapping[column], "planned and frozen for good"
        for id_, was in before.deliveries.items():
            row = self.seen.deliveries[id_]
            for column in ("message_id", "letter_id", "mode", "recipient", "token", "domain"):
                assert getattr(row, column) == getattr(was, column)
            assert row.envelope_sender == was.envelope_sender
            assert row.attempt >= was.attempt
        for key, was in before.attempts.items():
            row = self.seen.attempts[key]
            assert (row.owner, row.claimed_at) == (was.owner, was.claimed_at)
            assert was.intent_at is None or row.intent_at == was.intent_at
            assert was.ended_at is None or row.ended_at is not None

    def the_story_is_the_state(self, before: Seen) -> None:
        moves: dict[int, list[tuple[State, State]]] = {}
        for event in self.seen.events:
            if event.kind == "delivery_moved":
                told = State(event.data["from"]), State(event.data["to"])
                moves.setdefault(event.delivery_id, []).append(told)
                assert event.letter_id == self.seen.deliveries[event.delivery_id].letter_id
        for id_, row in self.seen.deliveries.items():
            told_of = moves.get(id_, [])
            assert all(may_follow(source, target) for source, target in told_of)
            assert all(target is source for (_, target), (source, _) in pairwise(told_of))
            assert fold(sorted(told_of)) is State(row.state), "in whatever order it is told"
            tried = [number for delivery_id, number in self.seen.attempts if delivery_id == id_]
            assert sorted(tried) == list(range(1, row.attempt + 1))
            assert told_of.count((State.QUEUED, State.CLAIMED)) == row.attempt
            intents = [
                one
                for (delivery_id, _), one in self.seen.attempts.items()
                if delivery_id == id_ and one.intent_at is not None
            ]
            assert told_of.count((State.CLAIMED, State.SENDING)) == len(intents)
            if id_ in before.deliveries:
                was = before.deliveries[id_]
                already = sum(
                    event.kind == "delivery_moved" and event.delivery_id == id_
                    for event in before.events
                )
                assert told_of[already:] or row.state == was.state

    def one_way_at_a_time(self) -> None:
        held = {
            hand.claim.delivery_id: (hand.claim.owner, hand.claim.attempt, hand.until, state)
            for hand in self.hands.values()
            for state in (State.SENDING if hand.intended else State.CLAIMED,)
            if hand.held
        }
        in_hand = {
            row.id: (row.owner, row.attempt, row.lease_until, State(row.state))
            for row in self.seen.deliveries.values()
            if State(row.state) in IN_HAND
        }
        assert {id_: one[:2] for id_, one in in_hand.items()} == {
            id_: one[:2] for id_, one in held.items()
        }, "who holds what"
        assert in_hand == held, "and until when"
        ways = Counter(
            (row.letter_id, row.mode, row.recipient)
            for row in self.seen.deliveries.values()
            if State(row.state) in OPEN
        )
        assert all(times == 1 for times in ways.values()), "one open delivery to each recipient"
        first = Counter(
            (one.letter_id, one.mode)
            for one in self.seen.messages.values()
            if one.resend_of is None
        )
        assert all(times == 1 for times in first.values())

    def mailboxes(self) -> None:
        got: Counter[tuple[str, Mode, str]] = Counter()
        risked: Counter[tuple[str, Mode, str]] = Counter()
        for id_, row in self.seen.deliveries.items():
            whom = self.letters[row.letter_id], Mode(row.mode), row.recipient
            got[whom] += self.copies[id_]
            risked[whom] += self.risked[id_]
            assert self.copies[id_] <= 1 + self.risked[id_], "twice"
            assert self.dots[id_] <= 1 + self.absent[id_] + self.risked[id_]
            if row.state == State.ACCEPTED and id_ not in self.by_person:
                assert self.copies[id_] >= 1, "called accepted, and the relay has it not"
        for whom, copies in got.items():
            assert copies <= 1 + risked[whom] + self.asked[whom], "a letter twice, and nobody asked"
        for message_id, texts in self.copied.items():
            assert texts == {self.seen.messages[message_id].eml}, "not the bytes on record"
        for (one, _), (other, _) in pairwise(self.turns):
            assert other - one >= self.pace.overall
        for domain in {domain for _, domain in self.turns}:
            for one, other in pairwise(at for at, to in self.turns if to == domain):
                assert other - one >= self.pace.to_one_domain

    # How the observer looks.

    def read(self) -> Seen:
        d, a, m, e = schema.deliveries, schema.attempts, schema.messages, schema.events
        with self.db.read() as connection:
            return Seen(
                deliveries={
                    row.id: row for row in connection.execute(sa.select(d).order_by(d.c.id))
                },
                attempts={
                    (row.delivery_id, row.number): row for row in connection.execute(sa.select(a))
                },
                messages={row.id: row for row in connection.execute(sa.select(m))},
                events=list(connection.execute(sa.select(e).order_by(e.c.id))),
            )

    @contextmanager
    def untouched_unless(self, may: bool) -> Iterator[None]:
        """Nothing changes within, unless it may."""
        before = None if may else self.read()
        yield
        assert may or self.read() == before

    def sender(self, mode: Mode) -> Sender:
        return replace(SENDER, mode=mode)

    def day(self) -> str:
        return (self.now + timedelta(hours=1)).date().isoformat()  # in London, in summer

    def know_letters(self) -> None:
        table = schema.letters
        with self.db.read() as connection:
            self.rows = {row.id: row for row in connection.execute(sa.select(table))}
        self.letters = {id_: row.authority_code for id_, row in self.rows.items()}

    def run_letters(self) -> list[int]:
        return sorted(id_ for id_, row in self.rows.items() if row.run_id == self.run.id)

    def recipients(self, letter_id: int) -> list[str]:
        return [one["address"] for one in self.rows[letter_id].recipients]

    def idle(self) -> list[Worker]:
        return [worker for worker in self.workers if worker.hand is None]

    def busy(self, which: Callable[[Hand], bool]) -> list[tuple[Worker, Hand]]:
        return [
            (worker, worker.hand)
            for worker in self.workers
            if worker.hand is not None and which(worker.hand)
        ]

    def place(self, worker: Worker, which: Callable[[Hand], bool]) -> int:
        """Where a worker stands among the busy ones."""
        return [one for one, _ in self.busy(which)].index(worker)

    def with_work(self, n: int, mode: Mode) -> Mode:
        """A mode in which something may be claimed: nearly always something is done to have one."""
        if n == 0:
            return mode
        for one in (mode, *MODES):
            if self.claimable(one):
                return one
        if self.paused:
            self.resume()
        waits = [
            row.due_at
            for row in self.seen.deliveries.values()
            if row.state == State.QUEUED and row.letter_id in self.run_letters()
        ]
        if waits:
            turn = self.turns[-1][0] if self.turns else self.now
            self.now = max(
                self.now,
                min(waits),
                self.left_alone_until or self.now,
                turn + max(self.pace.overall, self.pace.to_one_domain),
            )
        elif self.in_doubt():
            self.settles_a_doubt(n, True, None if n % 2 else State.QUEUED)
        else:
            self.resend(n, mode, None, True, False)
        self.look()
        return mode

    def in_doubt(self) -> bool:
        return any(row.state == State.IN_DOUBT for row in self.seen.deliveries.values())

    def in_hand(self, letters: set[int]) -> bool:
        return any(
            State(row.state) in IN_HAND
            for row in self.seen.deliveries.values()
            if row.letter_id in letters
        )

    def given_up_in_doubt(self, delivery_id: int) -> bool:
        return any(
            event.kind == "delivery_moved"
            and event.delivery_id == delivery_id
            and (event.data["from"], event.data["to"]) == (State.IN_DOUBT, State.CANCELLED)
            for event in self.seen.events
        )

    def claimable(self, mode: Mode) -> list[int]:
        """What may be claimed now, the next one first."""
        if self.paused or (self.left_alone_until is not None and self.left_alone_until > self.now):
            return []
        turns = [at for at, _ in self.turns]
        if turns and turns[-1] + self.pace.overall > self.now:
            return []
        last = {domain: at for at, domain in self.turns}
        may = [
            (row.due_at, row.id)
            for row in self.seen.deliveries.values()
            if row.state == State.QUEUED
            and row.mode == mode
            and row.due_at <= self.now
            and row.letter_id in self.run_letters()
            and row.letter_id not in self.withheld
            and last.get(row.domain, NOW) + self.pace.to_one_domain * (row.domain in last)
            <= self.now
        ]
        return [id_ for _, id_ in sorted(may)]

    def fate(self, id_: int) -> State | None:
        """Where its reports put a delivery from where it stands; what does so is used up."""
        state, facts = self.seen.state(id_), self.facts[id_]
        settled = {State.IN_DOUBT, State.ACCEPTED}
        if Kind.FAILED in facts and state in settled | {State.DELIVERED}:
            facts.remove(Kind.FAILED)
            return State.BOUNCED
        if Kind.DELIVERED in facts and state in settled:
            facts.remove(Kind.DELIVERED)
            return State.DELIVERED
        return None

    def freeze(self, hand: Hand) -> None:
        """As a worker does that has read the message a while ago: freeze it if nobody had."""
        if hand.message.eml is not None:
            return
        name = f"{next(self.numbers)}.eml"
        messages.freeze(
            self.db, hand.message, dated=self.now, eml=name, eml_sha256=name.rjust(64, "0")
        )
        hand.message = messages.read(self.db, hand.message.id)

    def conclude_with(self, worker: Worker, hand: Hand, outcome: Outcome) -> None:
        worker.hand, hand.over, held, hand.held = None, True, hand.held, False
        one = hand.claim
        with self.untouched_unless(held):
            ours = deliveries.settle(
                self.db, one, outcome, now=self.now, patience=PATIENCE, chance=0.5
            )
        assert ours == held
        if ours:
            self.look()
            self.it_stands(one.delivery_id, outcome)
        elif not isinstance(outcome, NotTried):
            self.answer_late(hand, outcome)

    def it_stands(self, id_: int, outcome: Outcome) -> None:
        """Where a delivery must stand after this outcome of an attempt that was in time."""
        row = self.seen.deliveries[id_]
        burns = isinstance(outcome, Deferred) or outcome == DROPPED
        self.put_off[id_] += burns
        ended = (
            self.put_off[id_] >= PATIENCE.times
            or self.now - self.first_tried[id_] >= PATIENCE.within
        )
        expected = {
            Accepted: State.ACCEPTED,
            Rejected: State.REJECTED,
            Lost: State.IN_DOUBT,
        }.get(type(outcome), State.EXPIRED if burns and ended else State.QUEUED)
        assert State(row.state) is expected
        assert row.deferrals == self.put_off[id_], "the relay's own trouble counts for nothing"
        if expected is State.QUEUED:
            wait = retry_after(self.put_off[id_], chance=0.5) if burns else timedelta(0)
            assert row.due_at == self.now + wait

    def answer_late(self, hand: Hand, outcome: Outcome) -> None:
        one = hand.claim
        row = self.seen.deliveries[one.delivery_id]
        expected: State | None = None
        if (row.state, row.attempt) == (State.IN_DOUBT, one.attempt):
            expected = {
                Accepted: State.ACCEPTED,
                Rejected: State.QUEUED,
                Deferred: State.QUEUED,
            }.get(type(outcome))
        moved = deliveries.answer_late(self.db, one, outcome, now=self.now)
        assert moved is expected
        before = self.seen
        self.look()
        if expected is None:
            assert self.seen.deliveries == before.deliveries
            assert self.seen.attempts == before.attempts
        else:
            assert self.seen.state(one.delivery_id) is expected

    def resolve(self, doubt: Doubt, target: State, person: str | None = None) -> bool:
        row = self.seen.deliveries[doubt.delivery_id]
        still = (row.state, row.attempt) == (State.IN_DOUBT, doubt.attempt)
        with self.untouched_unless(still):
            done = deliveries.resolve(
                self.db, doubt, target, evidence="found", now=self.now, person=person
            )
        assert done == still
        return done

    def note_withheld(self, which: set[int]) -> int:
        """Remember from whom these letters are withheld now; how many deliveries that concerns."""
        queued = [
            row
            for row in self.seen.deliveries.values()
            if row.letter_id in which and row.state == State.QUEUED
        ]
        for row in queued:
            self.owed.setdefault(row.letter_id, set()).add((Mode(row.mode), row.recipient))
        self.withheld = which
        return len(queued)


@contextmanager
def expecting(refused: bool) -> Iterator[None]:
    """Refused within, or not, as it must be."""
    if not refused:
        yield
        return
    with pytest.raises(Refused):
        yield


def ready(db: Database) -> None:
    """Both letters made, nothing planned."""
    runs.open_run(db, OPENING, composed(), person="tester", now=NOW)
    found = runs.find_run(db, OPENING.year)
    assert found is not None
    prepare_all(db, found)


@pytest.fixture(scope="module")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> Fresh:
    """Copies of one SQLite file."""
    folder: Path = tmp_path_factory.mktemp("machine")
    template = Database(f"sqlite:///{folder}/template.db")
    migrate.upgrade(template)
    ready(template)
    template.close()
    octets = (folder / "template.db").read_bytes()
    # One place for all of them, as every connection would have all statements compiled anew.
    path = folder / "copy.db"
    db = Database(f"sqlite:///{path}")

    def fresh() -> tuple[Database, Callable[[], None]]:
        path.write_bytes(octets)
        return db, take_away

    def take_away() -> None:
        for left in folder.glob(f"{path.name}*"):
            left.unlink()

    return fresh


@pytest.fixture(scope="module")
def postgresql(postgres: PostgresServer, migrated: str) -> Iterator[Fresh]:
    """Copies of one PostgreSQL database."""
    template = postgres.create(template=migrated)
    db = Database(postgres.url(template))
    ready(db)
    db.close()

    def fresh() -> tuple[Database, Callable[[], None]]:
        name = postgres.create(template=template)
        return Database(postgres.url(name)), lambda: postgres.drop(name)

    yield fresh
    postgres.drop(template)


EXPLORE = int(os.environ.get("MACHINE_SEQUENCES", "0"))


def drive(fresh: Fresh, examples: int) -> None:
    run_state_machine_as_test(
        lambda: Ledger(fresh),  # type: ignore[arg-type] # what makes one will do
        settings=settings(
            max_examples=EXPLORE or examples,
            stateful_step_count=40,
            derandomize=not EXPLORE,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_whatever_happens_nothing_is_lost_and_nothing_sent_twice(sqlite: Fresh) -> None:
    drive(sqlite, 100)


def test_the_same_holds_on_a_server(postgresql: Fresh) -> None:
    drive(postgresql, 15)


# Ways on which chance rarely comes.


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(request: pytest.FixtureRequest) -> Iterator[Ledger]:
    """A ledger whose first messages are planned: two deliveries of A, then one of B."""
    made = Ledger(request.getfixturevalue(request.param))
    made.begin(Pace())
    made.look()
    yield made
    made.look()
    made.teardown()


LOST_UNTAKEN = (True, False, SILENT)
LOST_TAKEN = (True, True, SILENT)


def go(ledger: Ledger, *steps: Callable[[], None]) -> None:
    for step in steps:
        step()
        ledger.look()


def doubtful(ledger: Ledger, mode: Mode, comes: tuple[bool, bool, Outcome]) -> None:
    """The next delivery goes into doubt, and somebody sees it."""
    go(
        ledger,
        lambda: ledger.claim(0, mode),
        lambda: ledger.intend(0),
        lambda: ledger.dot(0, comes),
        lambda: ledger.conclude(0),
        ledger.look_for_doubts,
    )
    assert len(ledger.doubts) == 1


def stalled(ledger: Ledger) -> None:
    """The first delivery is in doubt as its worker has come to a stop, and nothing else is left."""
    go(
        ledger,
        lambda: ledger.claim(0, Mode.LIVE),
        lambda: ledger.intend(0),
        lambda: ledger.send(0, Mode.LIVE),
        lambda: ledger.send(0, Mode.LIVE),
        lambda: ledger.time_passes(200),
        lambda: ledger.recover(False),
        ledger.look_for_doubts,
    )
    assert len(ledger.doubts) == 1


def abandoned_again(ledger: Ledger) -> None:
    """Somebody has it tried again; the second worker dies between intent and outcome."""
    go(
        ledger,
        lambda: ledger.word(0, State.QUEUED),
        lambda: ledger.claim(0, Mode.LIVE),
    )
    [second] = [worker for worker, hand in ledger.busy(lambda hand: not hand.intended)]
    go(
        ledger,
        lambda: ledger.intend(0),
        lambda: ledger.die(ledger.workers.index(second)),
        lambda: ledger.recover(True),
    )


def test_the_answer_to_another_attempt(ledger: Ledger) -> None:
    stalled(ledger)
    abandoned_again(ledger)
    go(ledger, lambda: ledger.dot(0, (True, False, LATER)), lambda: ledger.conclude(0))
    assert ledger.seen.state(1) is State.IN_DOUBT


def test_the_evidence_of_another_attempt(ledger: Ledger) -> None:
    stalled(ledger)
    go(ledger, lambda: ledger.die(0))
    abandoned_again(ledger)
    go(ledger, lambda: ledger.evidence(0))
    assert ledger.seen.state(1) is State.IN_DOUBT


def test_a_report_of_what_is_being_sent_again(ledger: Ledger) -> None:
    doubtful(ledger, Mode.LIVE, LOST_TAKEN)
    go(
        ledger,
        lambda: ledger.send(0, Mode.LIVE),
        lambda: ledger.send(0, Mode.LIVE),
        lambda: ledger.word(0, State.QUEUED),
        lambda: ledger.claim(0, Mode.LIVE),
        lambda: ledger.intend(0),
        lambda: ledger.report(0, Kind.DELIVERED),
    )
    assert ledger.seen.state(1) is State.SENDING
    go(
        ledger,
        lambda: ledger.dot(0, (True, True, TOOK)),
        lambda: ledger.conclude(0),
        ledger.apply_reports,
    )
    assert ledger.seen.state(1) is State.DELIVERED


def test_a_withheld_letter_that_is_queued_again(ledger: Ledger) -> None:
    go(ledger, lambda: ledger.plan(Mode.CAPTURE))
    doubtful(ledger, Mode.CAPTURE, LOST_UNTAKEN)
    go(
        ledger,
        lambda: ledger.withhold(0),
        lambda: ledger.word(0, State.QUEUED),
        lambda: ledger.send(0, Mode.CAPTURE),
        lambda: ledger.claim(0, Mode.CAPTURE),
    )
    assert not ledger.busy(lambda _: True)


def test_a_rehearsal_s_doubt_outlives_its_run(ledger: Ledger) -> None:
    go(ledger, lambda: ledger.plan(Mode.CAPTURE))
    doubtful(ledger, Mode.CAPTURE, LOST_UNTAKEN)
    old, [doubt] = ledger.run, ledger.doubts
    go(ledger, ledger.cancel, lambda: ledger.word(0, State.QUEUED))
    assert ledger.run != old
    assert ledger.seen.state(doubt.delivery_id) is State.QUEUED
    assert (
        deliveries.claim(
            ledger.db, old.id, Mode.CAPTURE, owner="w", lease=LEASE, now=ledger.now, relay=RELAY
        )
        is None
    )


def test_a_doubt_that_was_given_up_is_not_sent_again_with_what_was_withheld(
    ledger: Ledger,
) -> None:
    doubtful(ledger, Mode.LIVE, LOST_TAKEN)
    go(
        ledger,
        lambda: ledger.word(0, State.CANCELLED),
        lambda: ledger.withhold(0),
        lambda: ledger.release(0, Mode.LIVE),
    )


def test_a_run_of_which_a_doubt_was_given_up_may_have_reached_somebody(ledger: Ledger) -> None:
    doubtful(ledger, Mode.LIVE, LOST_TAKEN)
    go(ledger, lambda: ledger.word(0, State.CANCELLED), ledger.cancel)


def test_nobody_is_forgotten_by_withholding_twice(ledger: Ledger) -> None:
    doubtful(ledger, Mode.LIVE, LOST_UNTAKEN)
    go(
        ledger,
        ledger.withhold_unsent,
        lambda: ledger.release(0, Mode.LIVE),
        lambda: ledger.word(0, State.QUEUED),
        lambda: ledger.withhold(0),
        lambda: ledger.release(0, Mode.LIVE),
    )


def test_a_key_is_one_request_on_whatever_day(ledger: Ledger) -> None:
    go(
        ledger,
        *(lambda: ledger.send(0, Mode.LIVE) for _ in range(3)),
        lambda: ledger.resend(0, Mode.LIVE, "form 1", again=False, elsewhere=False),
        *(lambda: ledger.send(0, Mode.LIVE) for _ in range(2)),
        lambda: ledger.time_passes(90_000),
        lambda: ledger.resend(0, Mode.LIVE, "form 1", again=True, elsewhere=True),
        lambda: ledger.resend(1, Mode.LIVE, "form 1", again=True, elsewhere=False),
    )
    assert len(ledger.seen.messages) == 3
