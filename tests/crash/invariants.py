"""What must hold after anything at all has happened and been recovered from.

Three witnesses are heard that know nothing of each other: the ledger, the relay's log and the
recipients' mailboxes. What contradicts the design is returned in sentences, each with its number in
the list of what is promised:

1 a mailbox gets one copy at most · 2 every delivery is in a known state, and they add up · 3 what
is accepted the relay has · 4 before each dot there was an intent · 5 there is no dot more than
refusals and proofs of absence allow · 6 one open delivery for a letter and a recipient · 7 one live
run a year · 8 frozen bytes never change · 9 a re-send is a message of its own, explained · 11 the
events tell how it came about, and cannot be changed · 12 the attached file is the one on record ·
13 the envelope is the one on record
"""

import email
import email.policy
import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Any

import pytest
import sqlalchemy as sa

from pipeline import schema
from pipeline.delivery import OPEN, Mode, State, may_follow
from pipeline.errors import LettersError
from pipeline.ledger import story
from pipeline.schema import Event
from tests.crash.scene import Scene

_TAKEN = re.compile(
    r"^(?P<at>\w{3} [ \d]\d [\d:]{8}) .*qmgr\[\d+\]: (?P<id>\w+): from=<(?P<sender>[^>]*)>, "
    r".*\(queue active\)$",
    re.MULTILINE,
)
_CLIENT = re.compile(r"smtpd\[\d+\]: (\w+): client=\S*\[127\.0\.0\.1\]:(\d+)$", re.MULTILINE)
_TRACES = (b"Return-Path:", b"X-Original-To:", b"Delivered-To:", b"Received:")
_SECOND = timedelta(seconds=1, milliseconds=100)
_REFUSED = {"deferred", "rejected", "nottried"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """What lies in a mailbox: the envelope it came in, and the whole of it."""

    recipient: str
    sender: str
    octets: bytes

    @property
    def message_id(self) -> str:
        found = re.search(rb"^Message-ID: (\S+)$", self.octets, re.MULTILINE)
        return found[1].decode("ascii") if found else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A message that the relay has taken, as its log says; to the second."""

    queue_id: str
    at: datetime
    port: int


def hold(scene: Scene, *, accepted: int | None = None) -> None:
    """Fail if anything promised does not hold; with `accepted`, so many letters arrived, once."""
    scene.postfix.settle()
    witness = Witness(scene)
    found = [*witness.contradictions()]
    assert not found, "\n".join(found)
    if accepted is not None:
        # What the relay has accepted may have been found in the mailbox since.
        there = (State.ACCEPTED, State.DELIVERED)
        assert sum(witness.states[each.value] for each in there) == accepted, witness.states
        assert len(witness.copies) == accepted, len(witness.copies)


class Witness:
    """All that is known of a scene in which nobody is at work any more."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        with scene.db.read() as connection:
            self.runs, self.letters, self.messages, self.deliveries, self.attempts, self.events = (
                [*connection.execute(sa.select(table).order_by(table.c.id))]
                for table in (
                    schema.runs,
                    schema.letters,
                    schema.messages,
                    schema.deliveries,
                    schema.attempts,
                    schema.events,
                )
            )
        self.states = Counter(each.state for each in self.deliveries)

    @cached_property
    def copies(self) -> list[Copy]:
        """What has arrived at the council's mailboxes for this scene."""
        found = []
        for path in (self._scene.postfix.place / "mail").glob("*/*/new/*"):
            octets = path.read_bytes()
            head = octets.partition(b"\n\n")[0].decode("ascii", "replace")
            recipient = re.search(r"^Delivered-To: (.*)$", head, re.MULTILINE)
            sender = re.search(r"^Return-Path: <(.*)>$", head, re.MULTILINE)
            assert recipient, head
            assert sender, head
            if f"+{self._scene.mark}-" in recipient[1]:
                found.append(Copy(recipient=recipient[1], sender=sender[1], octets=octets))
        return found

    @cached_property
    def taken(self) -> dict[str, list[Taken]]:
        """What the relay says that it took, by the sender on the envelope, which is unique."""
        log = self._scene.postfix.logged()
        ports = {queue_id: int(port) for queue_id, port in _CLIENT.findall(log)}
        year = datetime.now().astimezone().year
        found: dict[str, dict[str, Taken]] = defaultdict(dict)
        for each in _TAKEN.finditer(log):
            # What is put off is active again later under the same name.
            if each["id"] in ports and each["id"] not in found[each["sender"]]:
                at = datetime.strptime(f"{year} {each['at']} +0000", "%Y %b %d %H:%M:%S %z")
                found[each["sender"]][each["id"]] = Taken(
                    queue_id=each["id"], at=at, port=ports[each["id"]]
                )
        return {sender: [*those.values()] for sender, those in found.items()}

    def contradictions(self) -> Iterator[str]:
        """Everything that is not as promised."""
        yield from self._copies()
        yield from self._counts()
        yield from self._dots()
        yield from self._uniqueness()
        yield from self._frozen()
        yield from self._events()
        yield from self._append_only()

    def _copies(self) -> Iterator[str]:
        messages = {each.id: each for each in self.messages}
        known = {
            (messages[each.message_id].message_id, each.recipient): each for each in self.deliveries
        }
        found = Counter((each.message_id, each.recipient) for each in self.copies)
        for name, number in found.items():
            if number > 1:
                yield f"1: {name} arrived {number} times"
            if name not in known:
                yield f"1: {name} arrived, and nobody planned it"
        for copy in self.copies:
            if delivery := known.get((copy.message_id, copy.recipient)):
                if copy.sender != delivery.envelope_sender:
                    yield f"13: {copy.recipient} got it from {copy.sender}"
                yield from self._as_frozen(copy, messages[delivery.message_id])
                yield from self._as_made(copy, delivery.letter_id)
        for name, delivery in known.items():
            yield from self._as_taken(delivery, found[name])

    def _as_taken(self, delivery: Any, arrived: int) -> Iterator[str]:
        taken = self.taken.get(delivery.envelope_sender, [])
        if len(taken) > 1:
            yield f"1: the relay took {delivery.recipient} {len(taken)} times"
        if delivery.state == State.DELIVERED.value and not arrived:
            yield f"3: {delivery.recipient} is delivered, and it never arrived"
        if arrived and not taken:
            yield f"1: {delivery.recipient} arrived, and the relay never had it"
        if delivery.state in {"accepted", "delivered"} and not taken:
            yield f"3: {delivery.recipient} is accepted, and the relay does not have it"
        if delivery.state not in {"accepted", "delivered", "bounced", "in_doubt"} and taken:
            yield f"3: {delivery.recipient} is {delivery.state}, and the relay has it"

    def _as_made(self, copy: Copy, letter_id: int) -> Iterator[str]:
        letter = next(each for each in self.letters if each.id == letter_id)
        read = email.message_from_bytes(copy.octets, policy=email.policy.default)
        [attached] = [part.get_content() for part in read.iter_attachments()]
        if hashlib.sha256(attached).hexdigest() != letter.pdf_sha256:
            yield f"12: {copy.recipient} got another file than that on record"
        if f"{letter.authority_code} Council\n".encode() not in attached:
            yield f"12: {copy.recipient} got somebody else's letter"

    def _as_frozen(self, copy: Copy, message: Any) -> Iterator[str]:
        if message.eml is None:
            yield f"8: {copy.recipient} got a message that was never frozen"
            return
        try:
            frozen = self._scene.archive.get(message.eml, message.eml_sha256)
        except LettersError as error:
            yield f"8: {error}"
            return
        text = frozen.replace(b"\r\n", b"\n")
        head = copy.octets.removesuffix(text)
        lines = [line for line in head.split(b"\n") if line and line[:1] not in b" \t"]
        if head == copy.octets or not all(line.startswith(_TRACES) for line in lines):
            yield f"8: {copy.recipient} got other bytes than those that were frozen"

    def _counts(self) -> Iterator[str]:
        plan = [letter for letter in self.letters if letter.pdf is not None]
        first = {each.letter_id for each in self.messages if each.resend_of is None}
        if first != {letter.id for letter in plan}:
            yield "2: not every letter has its first message"
        for message in self.messages:
            mine = sorted(
                each.recipient for each in self.deliveries if each.message_id == message.id
            )
            if mine != sorted(one["address"] for one in message.recipients):
                yield f"2: {message.message_id} is not for those whom it was planned for"
        counted = story.summary(self._scene.db, self._scene.run, Mode.LIVE).deliveries
        if sum(counted.values()) != len(self.deliveries):
            yield f"2: {counted} does not add up to {len(self.deliveries)}"
        if held := [each for each in self.deliveries if each.state in {"claimed", "sending"}]:
            yield f"2: somebody holds {[each.recipient for each in held]}"

    def _dots(self) -> Iterator[str]:
        attempts: dict[int, list[Any]] = defaultdict(list)
        for each in self.attempts:
            attempts[each.delivery_id].append(each)
        for delivery in self.deliveries:
            mine = attempts[delivery.id]
            if [each.number for each in mine] != [*range(1, delivery.attempt + 1)]:
                yield f"10: the attempts for {delivery.recipient} are not counted one by one"
            for taken in self.taken.get(delivery.envelope_sender, []):
                # The log tells whole seconds, of a clock that is some milliseconds late.
                if not any(
                    each.local_port == taken.port
                    and each.intent_at is not None
                    and each.intent_at < taken.at + _SECOND
                    for each in mine
                ):
                    yield f"4: {taken.queue_id} was taken without an intent before it"
            intents = [each for each in mine if each.intent_at is not None]
            refused = [each for each in intents if each.outcome in _REFUSED]
            absent = [
                each
                for each in self._moves(delivery.id)
                if (each["from"], each["to"]) == ("in_doubt", "queued")
                and "said" not in each
                and each["attempt"] not in {one.number for one in refused}
            ]
            if len(intents) > 1 + len(refused) + len(absent):
                yield f"5: {len(intents)} intents for {delivery.recipient}"

    def _uniqueness(self) -> Iterator[str]:
        for name, number in Counter(
            (each.letter_id, each.mode, each.recipient)
            for each in self.deliveries
            if each.state in set(OPEN)
        ).items():
            if number > 1:
                yield f"6: {name} has {number} open deliveries"
        for year, number in Counter(
            each.year for each in self.runs if each.cancelled_at is None
        ).items():
            if number > 1:
                yield f"7: {year} has {number} live runs"
        if len({each.message_id for each in self.messages}) != len(self.messages):
            yield "9: two messages have one Message-ID"
        for each in self.messages:
            if each.resend_of is not None and not (each.reason and each.requested_by):
                yield f"9: nobody says why {each.message_id} was sent again"

    def _frozen(self) -> Iterator[str]:
        told: dict[int, list[Any]] = defaultdict(list)
        for event in self.events:
            if event.kind == Event.MESSAGE_FROZEN.value:
                told[event.message_id].append(event.data["sha256"])
        for message in self.messages:
            if told[message.id] != ([message.eml_sha256] if message.eml else []):
                yield f"8: {message.message_id} was frozen as {told[message.id]}"
            if message.eml is None:
                continue
            try:
                octets = self._scene.archive.get(message.eml, message.eml_sha256)
            except LettersError as error:
                yield f"8: {error}"
                continue
            head = email.message_from_bytes(octets, policy=email.policy.default)
            if str(head["Message-ID"]) != message.message_id:
                yield f"8: {message.message_id} is frozen as {head['Message-ID']}"
            if parsedate_to_datetime(str(head["Date"])) != message.dated.replace(microsecond=0):
                yield f"8: {message.message_id} is of {head['Date']}, not of {message.dated}"

    def _moves(self, delivery_id: int) -> list[dict[str, Any]]:
        return self._all_moves[delivery_id]

    @cached_property
    def _all_moves(self) -> dict[int, list[dict[str, Any]]]:
        found: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for event in self.events:
            if event.kind == Event.DELIVERY_MOVED.value:
                found[event.delivery_id].append(event.data)
        return found

    def _events(self) -> Iterator[str]:
        for delivery in self.deliveries:
            state = State.QUEUED
            for move in self._moves(delivery.id):
                source, target = State(move["from"]), State(move["to"])
                if source is not state or not may_follow(source, target):
                    yield f"11: {delivery.recipient} went from {state} by {move}"
                state = target
            if state.value != delivery.state:
                yield f"11: {delivery.recipient} is {delivery.state}, and the events say {state}"

    def _append_only(self) -> Iterator[str]:
        e = schema.events
        for change in (sa.update(e).values(person="x"), sa.delete(e)):
            try:
                with self._scene.db.write() as connection:
                    connection.execute(change)
                    pytest.fail("11: the events can be changed")
            except sa.exc.DBAPIError as error:
                if "append-only" not in str(error):
                    yield f"11: {error}"
