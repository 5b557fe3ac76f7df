"""Evidence: mail that came back, and the relay's log, brought to the deliveries they speak of.

Each mail is recorded once, by its content, and each thing that it reports once; so reading again,
or in two processes at once, changes nothing. What nobody can be sure of is kept, whole, for a
person: no mail is guessed at, and none is lost.

What counts for how much:

* An address that only we can have made (VERP) proves its delivery. Then the envelope's identifier
  counts, then the Message-ID of what was returned.
* A mail to an address that pretends to be ours moves nothing, whatever else it carries: Message-IDs
  and identifiers are read by everybody who gets a letter or hands it on, and whoever makes
  addresses up is no mail system. Beside a genuine address it merely does not count.
* A mail that names several deliveries is for a person, as is one that nothing here fits.

The relay's log is believed only of a relay on this machine, whose log it is. It alone can prove
that a letter was not taken, and nothing but that proof, or a person, puts a doubt back in the
queue.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parseaddr
from typing import Final

from pipeline import home, log, owner
from pipeline.address import is_loopback
from pipeline.archive import Archive
from pipeline.database import Database
from pipeline.delivery import LEASED, Mode, State
from pipeline.envelope import ReturnAddress
from pipeline.errors import LettersError, Misconfigured, Unavailable
from pipeline.highwater import MarkFile
from pipeline.ledger import deliveries, reports
from pipeline.ledger.deliveries import Doubt
from pipeline.ledger.reports import Arrival, Handed, Moved, Note, Sent
from pipeline.mailbox import Cursor, Mail, Mailbox
from pipeline.mailbox import Unreadable as NoOctets
from pipeline.progress import Progress
from pipeline.relaylog import Absent, Attempt, Evidence, Fate, Position, RelayLog, Taken, Unknown
from pipeline.report import (
    AutoReply,
    Head,
    Kind,
    MatchedBy,
    Other,
    RecipientReport,
    Report,
    ReturnedMail,
    Unreadable,
    read_mail,
)
from pipeline.report.shown import DIAGNOSTIC_LIMIT, shown_text
from pipeline.schema import Returned

_NAMED: Final = 5  # deliveries that a sentence names
_SAVED_EVERY: Final = 100  # mails after which the place in a mailbox is kept

# Postfix gives up after five days; a fortnight leaves room for other settings.
_FOLLOWED: Final = timedelta(days=14)

# A relay's clock may be behind ours; as in `relaylog`.
_SKEW: Final = timedelta(seconds=2)

# What was put on record at most so long before the last look may not have been there for it to
# see, while somebody else was writing.
_OVERLAP: Final = timedelta(minutes=10)

_MAILBOXES_OF_THE_RELAY: Final = ("local", "virtual")
_INTO_A_MAILBOX: Final = ("delivered to maildir", "delivered to mailbox", "delivered to file")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where evidence is found. What needs a password or a key is opened when it is read.

    `own` knows the addresses that were given out here; without it none is proved. With a `mark`
    nothing is read for a ledger that does not agree with it; without one, as in a rehearsal, mail
    that was read is left where it is.
    """

    mailbox: Callable[[], Mailbox] | None = None
    own: Callable[[], ReturnAddress] | None = None
    log: RelayLog | None = None
    mark: MarkFile | None = None

    def __bool__(self) -> bool:
        """Whether there is anything to read."""
        return self.mailbox is not None or self.log is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsettled:
    """A delivery that is still in doubt, and why the relay's log does not settle it."""

    sent: Sent
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What came of reading: `mails` that were there, `new` ones by what they are.

    `mailbox` and `log` name what was read, None where nothing was, or could not be.
    `noted` counts what was reported anew, by kind; `moved` are the deliveries that it moved, and
    `unsettled` those still in doubt. `troubles` are what kept the reading from going on; what was
    read before is recorded.
    """

    mailbox: str | None
    log: str | None
    mails: int
    new: Mapping[Returned, int]
    noted: Mapping[Kind, int]
    moved: Sequence[Moved]
    unsettled: Sequence[Unsettled]
    troubles: Sequence[LettersError]

    @property
    def for_a_person(self) -> int:
        """How many new mails somebody has to look at."""
        return sum(self.new[kind] for kind in reports.FOR_A_PERSON)

    @property
    def bounced(self) -> int:
        """How many letters have turned out not to have arrived."""
        return sum(one.target is State.BOUNCED for one in self.moved)

    @property
    def is_news(self) -> bool:
        """Whether anything is otherwise than before."""
        return bool(self.moved or self.for_a_person)


def read(db: Database, archive: Archive, sources: Sources, *, progress: Progress) -> Reading:
    """Read all that is new, record it, and move the deliveries that it speaks of.

    Nothing is raised: what is away is among the `troubles`, and the other source is read all the
    same.
    """
    reading = _Reading(db=db, archive=archive, sources=sources, progress=progress)
    steps: Sequence[Callable[[], None]] = (
        reading.pending,
        reading.mail,
        reading.log,
    )
    try:
        if sources.mark is not None:
            home.refuse_elsewhere(db, sources.mark)
    except LettersError as error:
        # A ledger that was put back lacks what the reports are about: they would fit no letter.
        reading.troubles.append(error)
        steps = ()
    for step in steps:
        try:
            step()
        except LettersError as error:
            # One database that is away is one trouble, however many steps it stops.
            if str(error) not in {str(known) for known in reading.troubles}:
                reading.troubles.append(error)
    result = reading.result()
    _log(result)
    return result


def _log(found: Reading) -> None:
    for one in found.moved:
        log.info(
            "delivery.reported",
            year=one.year,
            authority=one.authority,
            delivery=one.delivery_id,
            mode=one.mode,
            state=one.target,
        )
    for kind, count in found.new.items():
        log.info("mail.read", kind=kind, count=count)
    for trouble in found.troubles:
        log.error("evidence.stopped", error=type(trouble).__name__)


def is_here(relay: str | None, local_host: str | None) -> bool:
    """Whether a relay ("host:port") is on this machine, so that a log on it can be its log.

    A connection whose own end has the address of the other end, or a loopback address, has never
    left the machine.
    """
    host = (relay or "").rpartition(":")[0].strip("[]")
    ends = [each for each in (host, local_host) if each]
    return any(map(is_loopback, ends)) or (len(ends) == 2 and ends[0] == ends[1])


@dataclass(slots=True, kw_only=True)
class _Reading:
    db: Database
    archive: Archive
    sources: Sources
    progress: Progress
    place: str | None = None
    log_read: bool = False
    log_fault: str = ""
    mails: int = 0
    new: Counter[Returned] = field(default_factory=Counter)
    noted: Counter[Kind] = field(default_factory=Counter)
    moved: list[Moved] = field(default_factory=list)
    unsettled: list[Unsettled] = field(default_factory=list)
    troubles: list[LettersError] = field(default_factory=list)

    def result(self) -> Reading:
        return Reading(
            mailbox=self.place,
            log=str(self.sources.log.path) if self.sources.log and self.log_read else None,
            mails=self.mails,
            new=self.new,
            noted=self.noted,
            moved=self.moved,
            unsettled=self.unsettled,
            troubles=self.troubles,
        )

    def pending(self) -> None:
        """What was noted too early to move anything, and what dead workers held."""
        for run_id in dict(reports.runs_with(self.db, LEASED)):
            deliveries.recover(self.db, run_id, gone=owner.is_gone, now=_now())
        self.moved += reports.apply_pending(self.db, now=_now())

    # ---- mail

    def mail(self) -> None:
        """Read the mailbox from where it was left."""
        if self.sources.mailbox is None:
            return
        # Without the key that is set, genuine addresses would look like nobody's: then none is
        # read at all.
        own = self.sources.own() if self.sources.own is not None else None
        mailbox = self.sources.mailbox()
        known = reports.cursor(self.db, mailbox.place)
        after = Cursor(uidvalidity=known[0], uid=known[1]) if known is not None else None
        reached: Cursor | None = None
        done: list[str] = []
        begun = False
        try:
            for each in mailbox.read(after):
                if not begun:
                    self.progress.begin("Reading", each.left + 1)
                    begun = True
                self._take(mailbox.place, each, own)
                self.place = mailbox.place
                self.mails += 1
                reached = each.cursor or reached
                if isinstance(each, Mail):
                    done.append(each.key)
                if reached is not None and self.mails % _SAVED_EVERY == 0:
                    reports.advance(self.db, mailbox.place, reached.uidvalidity, reached.uid)
                self.progress.advance()
        except LettersError:
            # What was read before is kept, and so is how far that was; but the reason that counts
            # is the one that stopped the reading.
            with suppress(LettersError):
                self._leave(mailbox, reached, done)
            raise
        else:
            self.place = mailbox.place
            self._leave(mailbox, reached, done)
        finally:
            if begun:
                self.progress.end()

    def _leave(self, mailbox: Mailbox, reached: Cursor | None, done: Sequence[str]) -> None:
        if reached is not None:
            reports.advance(self.db, mailbox.place, reached.uidvalidity, reached.uid)
        # A copy for rehearsals may read the mailbox; it must not take reports from the original.
        if done and self.sources.mark is not None:
            mailbox.put_away(done)

    def _take(self, place: str, each: Mail | NoOctets, own: ReturnAddress | None) -> None:
        """Record one mail, unless it is on record."""
        if isinstance(each, NoOctets):
            sha256 = hashlib.sha256(f"{place}\0{each.key}".encode()).hexdigest()
            arrival = Arrival(
                sha256=sha256, place=place, kind=Returned.UNREADABLE, size=0, reason=each.reason
            )
            if not reports.is_known(self.db, sha256):
                self._record(arrival, ())
            return
        sha256 = hashlib.sha256(each.data).hexdigest()
        if reports.is_known(self.db, sha256):
            return
        head, judged = self._understood(each.data, own, sha256)
        reason, kept = judged.reason, None
        if judged.kind in reports.FOR_A_PERSON:
            kept = kept_name(sha256)
            # Before it is on record: what is on record is there.
            self.archive.put(kept, each.data)
            if not each.whole:
                reason = (
                    f"{reason} Only the first {len(each.data):,} of its {each.size:,} octets were "
                    "read and are kept."
                )
        self._record(
            Arrival(
                sha256=sha256,
                place=place,
                kind=judged.kind,
                size=each.size,
                sender=head.sender,
                subject=head.subject,
                dated=head.date,
                reason=reason,
                kept=kept,
            ),
            judged.notes,
        )

    def _understood(
        self, data: bytes, own: ReturnAddress | None, sha256: str
    ) -> tuple[Head, "_Judged"]:
        """A mail's head, and what it is to the ledger."""
        try:
            found = read_mail(data, own=own)
            return found.head, _judge(self.db, found, sha256)
        except LettersError:
            raise
        except Exception as error:  # noqa: BLE001 - one mail must not keep all others from being read
            reason = (
                f"To read it made the program itself fail ({type(error).__name__}); look at it in a"
                " mail program, and tell whoever looks after this one."
            )
            return Head(), _Judged(kind=Returned.UNREADABLE, reason=reason)

    def _record(self, arrival: Arrival, notes: Sequence[Note]) -> None:
        moved = reports.record(self.db, arrival, notes, now=_now())
        if moved is None:
            return  # another process was first
        self.new[arrival.kind] += 1
        self.noted.update(one.kind for one in notes if one.kind is not None)
        self.moved += moved

    # ---- the relay's log

    def log(self) -> None:
        """Ask the relay's log about doubts, and about what it took: each in one reading."""
        began = _now()
        log = self.sources.log
        place = f"the relay's log {log.path}" if log else ""
        known = reports.cursor(self.db, place) if log else None
        after = Position(head=f"{known[0]:015x}", offset=known[1]) if known else None
        if log is not None and after is None:
            self._recognise(log)
        heard = self._doubts(log, after)
        if log is None or self.log_fault:
            return
        told = self._fates(log, after, place)
        # What was logged between the two has not been heard by those in doubt.
        reached = heard or told
        if reached is not None and reached.head:
            reports.advance(self.db, place, int(reached.head, 16), reached.offset)
            reports.advance(self.db, _looks(place), 0, int(began.timestamp()))

    def _recognise(self, log: RelayLog) -> None:
        """Before a log is believed for the first time: is it one?"""
        try:
            log.look()
        except Misconfigured as error:
            self.log_fault = str(error)
            self.troubles.append(error)
        except Unavailable:
            pass  # said when there is anything to ask it

    def _doubts(self, log: RelayLog | None, after: Position | None) -> Position | None:
        """Ask about every delivery that is in doubt; how far the log was read for that, if so."""
        found: list[tuple[Doubt, Sent]] = []
        for run_id, mode in reports.runs_with(self.db, (State.IN_DOUBT,)):
            if mode is Mode.CAPTURE:
                continue  # captured mail is its own evidence, looked at before sending
            doubts = deliveries.doubts(self.db, run_id, mode)
            sent = reports.by_id(self.db, [each.delivery_id for each in doubts])
            found += [(doubt, sent[doubt.delivery_id]) for doubt in doubts]
        asked = {
            doubt.delivery_id: _attempt(doubt, sent)
            for doubt, sent in found
            if log is not None and not self._not_asked(log, doubt)
        }
        reached: Position | Unavailable | None = None
        told: dict[int, Evidence] = {}
        if log is not None and asked:
            evidence, reached = log.all_evidence(list(asked.values()), after)
            told = dict(zip(asked, evidence, strict=True))
        if isinstance(reached, Unavailable):
            self.troubles.append(reached)
        elif reached is not None:
            self.log_read = True
        for doubt, one in found:
            answer = told.get(doubt.delivery_id)
            reason = (
                self._not_asked(log, doubt) if answer is None else self._settle(doubt, one, answer)
            )
            # Of a year that was given up nobody has to settle anything.
            if reason and not reports.is_cancelled(self.db, doubt.run_id):
                self.unsettled.append(Unsettled(sent=one, reason=reason))
        return reached if isinstance(reached, Position) else None

    def _not_asked(self, log: RelayLog | None, doubt: Doubt) -> str:
        """Why a log cannot be asked about a doubt, or ""."""
        if log is None:
            return "No relay's log is set that could be asked: reports.relay_log."
        if doubt.local_host is None or doubt.local_port is None:
            return "It is not on record from which port it was sent, so no log can settle it."
        if not is_here(doubt.relay, doubt.local_host):
            return (
                f"The relay {doubt.relay} is not on this machine, so the log {log.path} is not its"
                " log."
            )
        return self.log_fault

    def _settle(self, doubt: Doubt, sent: Sent, evidence: Evidence) -> str:
        """Settle one doubt by what the log says; why that cannot be done, or ""."""
        match evidence:
            case Taken():
                reports.name_queue_id(self.db, doubt.delivery_id, doubt.attempt, evidence.queue_id)
                note = Note(
                    sent=sent,
                    once=f"log:{doubt.delivery_id}:{doubt.attempt}:{evidence.queue_id}",
                    kind=Kind.RELAYED,
                    matched_by=reports.RELAY_LOG,
                    said=shown_text(evidence.line, DIAGNOSTIC_LIMIT),
                )
                self.moved += reports.note(self.db, [note], now=_now())
            case Absent():
                # Of a year that was given up nothing is sent again.
                given_up = reports.is_cancelled(self.db, doubt.run_id)
                target = State.CANCELLED if given_up else State.QUEUED
                because = (
                    "the relay's log proves that it was not taken: "
                    f"{shown_text(evidence.line, DIAGNOSTIC_LIMIT)}"
                )
                if deliveries.resolve(self.db, doubt, target, evidence=because, now=_now()):
                    self.moved.append(reports.moved_of(sent, State.IN_DOUBT, target, because))
            case Unknown():
                return evidence.reason
        return ""

    def _fates(self, log: RelayLog, after: Position | None, place: str) -> Position | None:
        """Ask what became of what the relay took, until it has told the end; how far it goes."""
        handed = {
            one.queue_id: one
            for one in reports.handed_over(self.db, since=_now() - _FOLLOWED)
            if is_here(one.relay, one.local_host)
        }
        if not handed:
            return None
        last = reports.cursor(self.db, _looks(place))
        # A clock may have been wrong then; only what has just come is looked for further back.
        seen = min(datetime.fromtimestamp(last[1], UTC), _now()) - _OVERLAP if last else None
        new = [one.intent_at for one in handed.values() if seen is None or one.taken_at >= seen]

        def tell(fate: Fate) -> None:
            # The first end is this message's; a short name is used again for others.
            one = handed.get(fate.queue_id)
            kind = _end(fate)
            if one is None or kind is None or not _is_of(fate, one):
                return
            del handed[fate.queue_id]
            note = Note(
                sent=one.sent,
                once=f"{reports.FATE}{one.sent.delivery_id}:{fate.queue_id}:{fate.status}",
                kind=kind,
                matched_by=reports.RELAY_LOG,
                status=fate.dsn,
                said=shown_text(fate.line, DIAGNOSTIC_LIMIT),
                remote=shown_text(fate.relay, DIAGNOSTIC_LIMIT),
            )
            self.noted[kind] += 1
            self.moved += reports.note(self.db, [note], now=_now())

        reached = log.follow(
            list(handed),
            min(one.intent_at for one in handed.values()) - _SKEW,
            tell,
            after=after,
            anew=min(new) - _SKEW if new else None,
        )
        self.log_read = True
        return reached


def _attempt(doubt: Doubt, sent: Sent) -> Attempt:
    """What a log can be asked about a doubt."""
    assert doubt.local_host is not None  # noqa: S101 - asked by the caller
    assert doubt.local_port is not None  # noqa: S101
    return Attempt(
        local_host=doubt.local_host,
        local_port=doubt.local_port,
        intent_at=doubt.intent_at,
        message_id=doubt.message_id,
        recipient=doubt.recipient,
        # Only an address that carries this delivery's own token tells it from the others.
        sender=doubt.envelope_sender
        if sent.token and sent.token in doubt.envelope_sender
        else None,
    )


def _looks(place: str) -> str:
    """By what name it is kept when a log was last looked at."""
    return f"{place}, when looked at"


def _end(fate: Fate) -> Kind | None:
    """What a line of the log means for a letter; None if the relay goes on trying.

    That the next server took it says no more than that: only a mailbox of the relay's own is where
    a letter was meant to arrive.
    """
    match fate.status:
        case "bounced" | "expired":
            return Kind.FAILED
        case "sent":
            into = fate.relay in _MAILBOXES_OF_THE_RELAY
            arrived = into and fate.reply.startswith(_INTO_A_MAILBOX)
            return Kind.DELIVERED if arrived else Kind.RELAYED
        case _:
            return None


def _is_of(fate: Fate, one: Handed) -> bool:
    same = fate.recipient.casefold() in {"", one.sent.recipient.casefold()}
    return same and fate.at + _SKEW >= one.intent_at


# ---- what a mail means


def kept_name(sha256: str) -> str:
    """The name within the archive of a mail that somebody has to look at."""
    return f"returned/{sha256}.eml"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    kind: Returned
    notes: Sequence[Note] = ()
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Matches:
    """The deliveries that a mail's references name.

    `exactly` are those named by their own token, proved or not, with how; `of_messages` those of
    the messages named. `foreign` says that an address is genuine whose delivery is not on record.
    """

    exactly: Mapping[int, tuple[Sent, MatchedBy]]
    of_messages: Sequence[Sent]
    foreign: bool

    @property
    def contradict(self) -> bool:
        """Whether not all of them can mean one delivery."""
        messages = {sent.message for sent, _ in self.exactly.values()}
        messages |= {sent.message for sent in self.of_messages}
        return len(self.exactly) > 1 or len(messages) > 1

    @property
    def the_one(self) -> tuple[Sent, MatchedBy] | None:
        """The delivery that is named by its token."""
        return next(iter(self.exactly.values()), None)


def _matches(db: Database, head: Head, *, answers: bool = False) -> _Matches:
    """What the references name; with `answers` also by what the mail says it answers."""
    by: dict[MatchedBy, list[str]] = {each: [] for each in MatchedBy}
    for reference in head.references:
        by[reference.matched_by].append(reference.value)
    tokens = reports.by_token(db, [*by[MatchedBy.VERP], *by[MatchedBy.ENVID]])
    exactly: dict[int, tuple[Sent, MatchedBy]] = {}
    for how in (MatchedBy.VERP, MatchedBy.ENVID):
        for value in by[how]:
            if value in tokens:
                exactly.setdefault(tokens[value].delivery_id, (tokens[value], how))
    named = by[MatchedBy.MESSAGE_ID] or (by[MatchedBy.IN_REPLY_TO] if answers else [])
    messages = reports.by_message_id(db, named)
    return _Matches(
        exactly=exactly,
        of_messages=[sent for each in messages.values() for sent in each],
        foreign=any(value not in tokens for value in by[MatchedBy.VERP]),
    )


def _judge(db: Database, found: ReturnedMail, sha256: str) -> _Judged:
    """What a mail is to the ledger, and what it reports of which deliveries."""
    head = found.head
    proved = any(each.matched_by is MatchedBy.VERP for each in head.references)
    if head.forged and not proved:
        return _Judged(
            kind=Returned.FORGED,
            reason=(
                f"It was sent to {head.forged[0]}, which looks like an address for reports and was"
                " not made with a key that is known here. Either somebody made it up, or its key"
                " has been taken out of the file in reports.key_file. Nothing that it says was"
                " believed."
            ),
        )
    match found:
        case Report():
            return _judge_report(_matches(db, head), found, sha256)
        case AutoReply():
            return _judge_answer(_matches(db, head, answers=True), found, sha256)
        case Unreadable():
            return _Judged(kind=Returned.UNREADABLE, reason=f"{found.reason}{_about(db, head)}")
        case Other():
            return _Judged(
                kind=Returned.OTHER,
                reason="It is no report and no automatic answer: somebody wrote, or it is"
                f" unwanted mail.{_about(db, head)}",
            )


def _judge_report(matches: _Matches, report: Report, sha256: str) -> _Judged:
    if matches.contradict:
        return _Judged(
            kind=Returned.UNMATCHED,
            reason="It is a report that points to several deliveries at once, so that it cannot be"
            f" told which is meant: {_named(_all_of(matches))}.",
        )
    if matches.foreign:
        return _Judged(
            kind=Returned.UNMATCHED,
            reason="It is a report to an address that was made with our key, for a delivery that is"
            " not in this ledger. Is the ledger an older copy, or does another one use the same"
            " key?",
        )
    notes: list[Note] = []
    faults = list(report.faults)
    unmatched: list[str] = []
    for each in report.recipients:
        sent, how = matches.the_one or (_of_message(matches.of_messages, _written(each)), None)
        if sent is not None:
            notes.append(_note(sent, how or MatchedBy.MESSAGE_ID, each, report.head, sha256))
        else:
            who = each.original_recipient or each.final_recipient or "nobody"
            unmatched.append(f"{who} ({each.kind.value})")
    if unmatched:
        whom = shown_text(", ".join(dict.fromkeys(unmatched)), DIAGNOSTIC_LIMIT)
        about = (
            f"in a message of {_named(matches.of_messages)}, which was not sent to them"
            if matches.of_messages
            else "and nothing in it says which of our letters it is about"
        )
        faults.insert(0, f"It is a report about {whom}, {about}.")
    if not faults:
        return _Judged(kind=Returned.REPORT, notes=notes)
    kind = Returned.UNMATCHED if unmatched else Returned.UNREADABLE
    return _Judged(kind=kind, notes=notes, reason=" ".join(faults))


def _judge_answer(matches: _Matches, answer: AutoReply, sha256: str) -> _Judged:
    """An automatic answer says nothing about delivery; it is told in the letter's story."""
    if matches.contradict or matches.foreign:
        return _Judged(kind=Returned.AUTO_REPLY)
    sent, how = matches.the_one or (
        _of_message(matches.of_messages, [parseaddr(answer.head.sender)[1]]),
        None,
    )
    if sent is None:
        return _Judged(kind=Returned.AUTO_REPLY)
    note = Note(
        sent=sent,
        once=_once(sent, answer.head, sha256, "auto_reply"),
        kind=None,
        matched_by=(how or MatchedBy.IN_REPLY_TO).value,
        said=shown_text(answer.head.subject, DIAGNOSTIC_LIMIT),
        remote=answer.head.sender,
    )
    return _Judged(kind=Returned.AUTO_REPLY, notes=[note])


def _of_message(of_messages: Sequence[Sent], written: Collection[str]) -> Sent | None:
    """Which delivery of a message is meant: the only one, or the one to such an address."""
    if len(of_messages) == 1:
        return of_messages[0]
    addresses = {each.casefold() for each in written if each}
    meant = [one for one in of_messages if one.recipient.casefold() in addresses]
    return meant[0] if len(meant) == 1 else None


def _written(each: RecipientReport) -> list[str]:
    """Whom a report is about; the original recipient is whom we wrote to, if it says so."""
    return [each.original_recipient] if each.original_recipient else [each.final_recipient]


def _note(sent: Sent, how: MatchedBy, each: RecipientReport, head: Head, sha256: str) -> Note:
    return Note(
        sent=sent,
        once=_once(
            sent, head, sha256, each.kind.value, each.status, each.final_recipient, each.diagnostic
        ),
        kind=each.kind,
        matched_by=how.value,
        status=each.status,
        said=each.diagnostic,
        remote=each.remote_mta,
    )


def _once(sent: Sent, head: Head, sha256: str, *said: str) -> str:
    """The same for the same report, also where it came twice, by different ways."""
    parts = [head.message_id or sha256, *said]
    digest = hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()
    return f"mail:{sent.delivery_id}:{digest}"


def _about(db: Database, head: Head) -> str:
    """The end of a reason: which letter a mail seems to be about, if it names one."""
    found = _all_of(_matches(db, head, answers=True))
    return f" It seems to be about {_named(found)}." if found else ""


def _all_of(matches: _Matches) -> list[Sent]:
    return [*(sent for sent, _ in matches.exactly.values()), *matches.of_messages]


def _named(sent: Iterable[Sent]) -> str:
    told = dict.fromkeys(
        f"the letter of {one.year} to {one.name} ({one.authority}), {one.recipient}" for one in sent
    )
    return " and ".join(list(told)[:_NAMED])


def _now() -> datetime:
    return datetime.now(UTC)
