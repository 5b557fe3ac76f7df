"""Dispatch: claim, write the body, commit the intent, write the dot, record the outcome.

In that order, for every delivery. A crash before the intent is certainly unsent; one between intent
and outcome leaves a doubt, which evidence or a person settles, never time.
"""

import contextlib
import hashlib
import random
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pipeline import home, log, owner
from pipeline.archive import Archive, message_name
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
)
from pipeline.errors import LetterFault, Misconfigured, Unavailable
from pipeline.highwater import MarkFile
from pipeline.ledger import approvals, deliveries, enclosures, instance, messages, relays
from pipeline.ledger.deliveries import Claim
from pipeline.ledger.messages import Sender
from pipeline.ledger.runs import Run
from pipeline.london import LONDON
from pipeline.message import Recipient, compose_message, pdf_filename, workbook_filename
from pipeline.transport import Relay, Session, Transport

LEASE = timedelta(minutes=3)
"""How long a claim lasts without a sign of life; renewed while its worker lives and waits."""

CAPTURED = "captured mail"
_ENOUGH = 3  # files or answers that fail, until archive or relay itself is taken to be away
_LAST_SECONDS = 20.0  # for what is in hand when the program is told to stop


@dataclass(frozen=True, slots=True, kw_only=True)
class Outbox:
    """Where mail goes and whom it is from.

    `relay` is None in capture mode: then `maildir` is where mail is kept. It is called only when
    something is sent, so that whoever only looks needs no password. `notify` is what reports the
    relay is asked for (RFC 3461); with `only_to`, mail goes to these domains and all other waits.
    With `at_once` a relay that is in trouble is tried at once, because a person asks for it; else
    it is left alone for a while. `mark` is where the ledger's high-water mark lies: nothing leaves
    the machine with a ledger that disagrees with it. With None nothing is compared.
    """

    sender: Sender
    relay: Callable[[], Relay] | None
    maildir: Path
    connections: int = 2
    pace: Pace = deliveries.UNHURRIED
    patience: Patience = deliveries.PATIENCE
    notify: tuple[str, ...] = ("FAILURE", "DELAY")
    only_to: tuple[str, ...] = ()
    at_once: bool = True
    mark: MarkFile | None = None

    @property
    def mode(self) -> Mode:
        """Capture, redirect or live."""
        return self.sender.mode


def dispatch(
    db: Database,
    archive: Archive,
    run: Run,
    outbox: Outbox,
    *,
    people: int = 0,
    only: Collection[int] | None = None,
    settled: Callable[[], None] = lambda: None,
    lease: timedelta = LEASE,
) -> None:
    """Send what is due of the run and so many `people` have approved, until nothing more is due.

    First takes back what dead workers held and settles what can be settled by looking at the
    captured mail; then plans the messages and sends them over a few connections. With `only`, those
    messages (by id) are sent and nothing else is planned or sent. `settled` is called after each
    attempt. Raises Unavailable if the relay itself is in trouble: the deliveries wait in the queue
    and none of their attempts counts; nobody else tries for a while. Raises Misconfigured, and
    changes nothing, for a ledger that was copied or put back and that nobody has confirmed; a run
    that the lost part of it may have sent is paused.
    """
    if outbox.mark is not None and outbox.mode is not Mode.CAPTURE:
        home.require(db, outbox.mark, now=_now())
        if home.hold(db, run, now=_now()):
            return
    recovered = deliveries.recover(db, run.id, gone=owner.is_gone, now=_now())
    if recovered:
        log.warning("dispatch.recovered", run=run.id, year=run.year, deliveries=recovered)
    if outbox.mode is Mode.CAPTURE:
        _settle_captured(db, run, outbox.maildir)
    if people or approvals.any_reissued(db, run):
        approvals.void_changed(db, run, outbox.sender.identity, now=_now())
    if only is None:
        messages.plan(db, run.id, outbox.sender, now=_now(), people=people)
    if deliveries.next_due(db, run.id, outbox.mode, only_to=outbox.only_to) is None:
        return
    with opened_relay(outbox) as relay:
        place = CAPTURED if outbox.relay is None else relay.place
        _leave_alone(db, place, run.year, at_once=outbox.at_once)
        with _logged(run, outbox.mode, place):
            _Dispatch(
                db=db,
                archive=archive,
                run=run,
                outbox=outbox,
                relay=relay,
                place=place,
                people=people,
                only=only,
                settled=settled,
                lease=lease,
            ).work()


@contextmanager
def _logged(run: Run, mode: Mode, place: str) -> Iterator[None]:
    """Log that sending begins, and that it has ended, however it ends."""
    log.info("dispatch.begun", run=run.id, year=run.year, mode=mode, relay=place)
    began = time.monotonic()
    try:
        yield
    finally:
        log.info(
            "dispatch.ended",
            run=run.id,
            year=run.year,
            mode=mode,
            seconds=time.monotonic() - began,
        )


def _leave_alone(db: Database, place: str, year: int, *, at_once: bool) -> None:
    """Raise Unavailable while a relay is left alone; with `at_once`, it is not."""
    trouble, now = relays.in_trouble(db, place), _now()
    if trouble is None or not trouble.holds(now):
        return
    if at_once:
        relays.try_now(db, place, now=now)
        return
    since, until = (one.astimezone(LONDON) for one in (trouble.since, trouble.retry_at))
    raise Unavailable(
        f"The relay {place} has been in trouble since {since:%H:%M} and is left alone until "
        f"{until:%H:%M}, London time; letters send {year} tries at once. {trouble.reason}"
    )


@contextmanager
def opened_relay(outbox: Outbox) -> Iterator[Relay]:
    """The relay to hand mail to; in capture mode a server on this machine, for the while."""
    if outbox.relay is not None:
        yield outbox.relay()
        return
    from pipeline.capture import CaptureServer

    with CaptureServer(outbox.maildir) as server:
        yield Relay(host="127.0.0.1", port=server.port, security="none")


def _settle_captured(db: Database, run: Run, maildir: Path) -> None:
    """Captured mail is its own evidence.

    What lies in the Maildir was taken. What does not lie there is absent for certain only once the
    process that tried is gone, because the server that keeps the mail lives in that process.
    """
    from pipeline import capture

    for doubt in deliveries.doubts(db, run.id, Mode.CAPTURE):
        found = capture.find(maildir, doubt.message_id, doubt.recipient)
        if found is not None:
            target, evidence = State.ACCEPTED, f"captured as {found.name}"
        elif owner.is_gone(doubt.owner):
            target = State.QUEUED
            evidence = "not among the captured mail, and the process that would keep it is gone"
        else:
            continue
        if deliveries.resolve(db, doubt, target, evidence=evidence, now=_now()):
            log.info("doubt.settled", run=run.id, delivery=doubt.delivery_id, state=target)


class _FileAway(Unavailable):
    """The archive cannot give or keep a file, while the ledger is well."""


class _Unapproved(Exception):
    """A letter has changed since it was approved."""


@contextmanager
def _asking_the_archive() -> Iterator[None]:
    try:
        yield
    except Unavailable as away:
        raise _FileAway(str(away)) from away


class _Dispatch:
    """A few threads that each keep one connection and take one delivery after another."""

    def __init__(
        self,
        *,
        db: Database,
        archive: Archive,
        run: Run,
        outbox: Outbox,
        relay: Relay,
        place: str,
        people: int,
        only: Collection[int] | None,
        settled: Callable[[], None],
        lease: timedelta,
    ) -> None:
        self._db = db
        self._archive = archive
        self._run = run
        self._outbox = outbox
        self._relay = relay
        self._place = place
        self._troubled = relays.in_trouble(db, place) is not None
        self._people = people
        self._only = only
        self._settled = settled
        self._lease = lease
        self._mark = None if outbox.mode is Mode.CAPTURE else outbox.mark
        self._ledger = "" if self._mark is None else instance.newest(db)[0]
        self._in_hand: set[Claim] = set()
        self._transports: set[Transport] = set()
        self._stop = threading.Event()
        # One message may have several recipients; only those who might share one wait.
        self._freezing = [threading.Lock() for _ in range(outbox.connections)]
        self._trouble: str | None = None
        self._lost_in_a_row = 0
        self._away: list[Unavailable] = []

    def work(self) -> None:
        over = threading.Event()
        alive = threading.Thread(target=self._keep_leases, args=(over,), name="leases")
        with ThreadPoolExecutor(self._outbox.connections, thread_name_prefix="dispatch") as threads:
            working = [threads.submit(self._connection) for _ in range(self._outbox.connections)]
            alive.start()
            try:
                wait(working)
            finally:
                # After Ctrl-C each thread finishes the delivery it has in hand, and no more. A
                # relay that does not answer in time is not waited for: what is in hand then is in
                # doubt, on record.
                self._stop.set()
                try:
                    wait(working, timeout=_LAST_SECONDS)
                    for transport in set(self._transports):
                        transport.break_off()
                    wait(working)
                finally:
                    over.set()
                    alive.join()
        for one in working:
            one.result()
        if self._trouble is not None:
            raise Unavailable(self._trouble)
        if self._away:
            raise self._away[0]

    def _keep_leases(self, over: threading.Event) -> None:
        """Until it is over, say again and again that what is in hand is still in hand.

        A relay may take ten minutes to answer; a worker that has died must not hold up a letter for
        as long as that.
        """
        while not over.wait(self._lease / timedelta(seconds=4)):
            # A database that cannot be reached now may be reached before the lease is over.
            with contextlib.suppress(Unavailable):
                deliveries.renew(self._db, set(self._in_hand), lease=self._lease, now=_now())

    def _connection(self) -> None:
        me = owner.identity()
        with Transport(self._relay) as transport:
            self._transports.add(transport)
            try:
                while not self._stop.is_set():
                    claimed = deliveries.claim(
                        self._db,
                        self._run.id,
                        self._outbox.mode,
                        owner=me,
                        lease=self._lease,
                        now=_now(),
                        messages=self._only,
                        relay=self._place,
                        pace=self._outbox.pace,
                        only_to=self._outbox.only_to,
                        people=self._people,
                    )
                    if claimed is None:
                        if self._wait_for_a_turn():
                            continue
                        return
                    self._in_hand.add(claimed)
                    try:
                        self._send(transport, claimed)
                    finally:
                        self._in_hand.discard(claimed)
                    self._settled()
            except BaseException:
                self._stop.set()
                raise

    def _wait_for_a_turn(self) -> bool:
        """Wait if something is due that only the pace holds up; whether to look again."""
        turn = deliveries.held_up(
            self._db,
            self._run.id,
            self._outbox.mode,
            now=_now(),
            messages=self._only,
            relay=self._place,
            pace=self._outbox.pace,
            only_to=self._outbox.only_to,
            people=self._people,
        )
        if turn is None:
            return False
        self._stop.wait(max(0.01, (turn - _now()).total_seconds()))
        return True

    def _send(self, transport: Transport, claimed: Claim) -> None:
        began = time.monotonic()
        self._log("delivery.claimed", claimed, tell=log.debug)
        try:
            data, authority = self._frozen(claimed)
            outcome = self._handed_over(transport, claimed, data)
        except LetterFault as fault:
            # No relay was asked: nobody could be sent this, so it is refused here and the rest go.
            refused = Rejected(reply=Reply(code=0, text=str(fault)))
            deliveries.settle(self._db, claimed, refused, now=_now())
            self._log_outcome(claimed, refused, began=began)
            return
        except _Unapproved as changed:
            # Certainly not sent, and not claimed again before it is approved as it is now.
            later = NotTried(reason=str(changed), trouble=False)
            deliveries.settle(self._db, claimed, later, now=_now())
            self._log_outcome(claimed, later, began=began)
            return
        except _FileAway as away:
            # Certainly not sent. One file that is lost must not keep the others; all of them may.
            later = NotTried(reason=str(away), trouble=False)
            deliveries.settle(self._db, claimed, later, now=_now())
            self._log_outcome(claimed, later, began=began)
            self._away.append(away)
            if len(self._away) >= _ENOUGH:
                self._stop.set()
            return
        except (Unavailable, Misconfigured) as away:
            # The trouble of the ledger, or of its mark, is no letter's. The dot was certainly not
            # written; if the ledger can be told so, nobody has to wait for the lease or to look for
            # evidence.
            unsent = NotTried(reason=str(away))
            with contextlib.suppress(Unavailable):
                deliveries.settle(self._db, claimed, unsent, now=_now())
                self._log_outcome(claimed, unsent, began=began)
            raise
        now, chance = _now(), random.random()  # noqa: S311 - nothing secret about it
        if isinstance(outcome, NotTried) and outcome.trouble:
            self._trouble = outcome.reason
            self._stop.set()
        # The outcome before anything else: until it is on record, a crash leaves a doubt.
        ours = self._record(claimed, outcome, now=now, chance=chance)
        self._log_outcome(claimed, outcome, began=began, authority=authority, ours=ours)
        self._judge_relay(outcome, now=now, chance=chance)

    def _handed_over(self, transport: Transport, claimed: Claim, data: bytes) -> Outcome:
        def commit_intent(session: Session) -> bool:
            intent = deliveries.intend(
                self._db,
                claimed,
                relay=f"{session.host}:{session.port}",
                local_host=session.local_host,
                local_port=session.local_port,
                lease=self._lease,
                now=_now(),
            )
            granted = intent is not None
            self._log("delivery.intended", claimed, tell=log.debug, ours=granted)
            if intent is not None and self._mark is not None:
                # The intent must stand outside the ledger, too; if not, no dot and no more letters.
                home.advance(self._mark, self._ledger, intent)
            return granted

        return transport.send(
            claimed.envelope_sender,
            claimed.recipient,
            data,
            commit_intent,
            envelope_id=claimed.token,
            notify=self._outbox.notify,
        )

    def _record(self, claimed: Claim, outcome: Outcome, *, now: datetime, chance: float) -> bool:
        """Record what came of an attempt; whether it was still ours to record."""

        def settle() -> bool:
            return deliveries.settle(
                self._db, claimed, outcome, now=now, patience=self._outbox.patience, chance=chance
            )

        try:
            ours = settle()
        except Unavailable:
            # What the relay has said is worth another try: a new connection, or a longer wait. The
            # first may have been heard all the same.
            ours = settle() or deliveries.is_settled(self._db, claimed, outcome)
        if not ours:
            deliveries.answer_late(self._db, claimed, outcome, now=now)
        return ours

    def _log_outcome(
        self,
        claimed: Claim,
        outcome: Outcome,
        *,
        began: float,
        authority: str | None = None,
        ours: bool = True,
    ) -> None:
        """What came of an attempt; of the relay's words only the codes."""
        fields: dict[str, log.Value] = {}
        if isinstance(outcome, Accepted | Deferred | Rejected):
            fields = {
                "code": outcome.reply.code or None,
                "status": log.status_in(outcome.reply.text),
            }
        if isinstance(outcome, Accepted):
            fields["queue_id"] = outcome.queue_id
        well = isinstance(outcome, Accepted | Deferred)
        self._log(
            "delivery.settled",
            claimed,
            tell=log.info if well else log.warning,
            authority=authority,
            outcome=type(outcome).__name__.lower(),
            ours=ours,
            seconds=time.monotonic() - began,
            **fields,
        )

    def _log(
        self, event: str, claimed: Claim, *, tell: Callable[..., None], **fields: log.Value
    ) -> None:
        tell(
            event,
            run=claimed.run_id,
            year=self._run.year,
            letter=claimed.letter_id,
            message=claimed.message_id,
            delivery=claimed.delivery_id,
            attempt=claimed.attempt,
            mode=self._outbox.mode,
            **fields,
        )

    def _judge_relay(self, outcome: Outcome, *, now: datetime, chance: float) -> None:
        match outcome:
            case NotTried(trouble=True):
                relays.fails(self._db, self._place, reason=outcome.reason, chance=chance, now=now)
                log.error("relay.in_trouble", run=self._run.id, relay=self._place)
            case Lost():
                # One lost answer is an accident. A relay that never answers the dot would leave
                # every letter in doubt, each for a person to settle.
                self._lost_in_a_row += 1
                if self._lost_in_a_row < _ENOUGH:
                    return
                reason = (
                    f"The relay {self._place} took {self._lost_in_a_row} letters in a row without "
                    f"an answer, so no more are given to it; they are in doubt. {outcome.reason}"
                )
                self._trouble = reason
                self._stop.set()
                relays.fails(self._db, self._place, reason=reason, chance=chance, now=now)
                log.error("relay.in_trouble", run=self._run.id, relay=self._place)
                return
            case Accepted() | Deferred() | Rejected() if self._troubled:
                self._troubled = False
                relays.answers(self._db, self._place, now=now)
                log.info("relay.well_again", run=self._run.id, relay=self._place)
        self._lost_in_a_row = 0

    def _frozen(self, claimed: Claim) -> tuple[bytes, str]:
        """A message's bytes, frozen now if nobody has tried to send it, and whose it is by code."""
        if claimed.eml and claimed.eml_sha256 and claimed.authority_code:
            with _asking_the_archive():
                data = self._archive.get(claimed.eml, claimed.eml_sha256)
            return data, claimed.authority_code
        with self._freezing[claimed.message_id % len(self._freezing)]:
            while True:
                message = messages.read(self._db, claimed.message_id)
                if message.eml is not None and message.eml_sha256 is not None:
                    break
                now = _now()
                self._recheck(message, now)
                data = self._written(message, now, redirect_to=claimed.recipient)
                sha256 = hashlib.sha256(data).hexdigest()
                name = message_name(
                    message.year, message.authority_code, message.authority_name, sha256
                )
                with _asking_the_archive():
                    self._archive.put(name, data)
                if messages.freeze(self._db, message, dated=now, eml=name, eml_sha256=sha256):
                    return data, message.authority_code
        with _asking_the_archive():
            return self._archive.get(message.eml, message.eml_sha256), message.authority_code

    def _recheck(self, message: messages.Message, now: datetime) -> None:
        """Raise _Unapproved for a letter that is not what people have approved, part by part."""
        if not self._people and message.revision == 1:
            return
        changed = approvals.recheck(
            self._db,
            self._run,
            message.letter_id,
            self._people,
            self._outbox.sender.identity,
            now=now,
        )
        if changed:
            parts = ", ".join(approvals.PARTS[one] for one in changed)
            raise _Unapproved(
                f"The letter to {message.authority_name} is not what has been approved: changed is "
                f"{parts}. To approve it as it is: letters approve {message.year}"
            )

    def _written(self, message: messages.Message, date: datetime, *, redirect_to: str) -> bytes:
        from pipeline import wording

        words = wording.render(wording.WordingTemplates(**message.wording), message.fields)
        recipients = [
            Recipient(
                address=one["address"],
                name=one["name"],
                role=", ".join(one["roles"]),
                kind=one["kind"],
            )
            for one in message.recipients
        ]
        # A mail program shows a re-send beside the message that it repeats.
        extra = {} if message.again is None else {"References": message.again}
        if message.mode is Mode.REDIRECT:
            meant = ", ".join(one.address for one in recipients)
            extra["X-Redirected-From"] = meant
            words = replace(words, subject=f"[redirected from {meant}] {words.subject}")
            recipients = [Recipient(address=redirect_to, name="", role="redirect", kind="to")]
        with _asking_the_archive():
            pdf = self._archive.get(message.pdf, message.pdf_sha256)
            enclosed = enclosed_with(self._db, self._archive, message.letter_id, message.fields)
        return compose_message(
            wording=words,
            sender=message.mailbox,
            reply_to=message.reply_to,
            recipients=recipients,
            pdf=pdf,
            pdf_filename=pdf_filename(message.year, message.authority_name),
            enclosures=enclosed,
            message_id=message.message_id,
            date=date,
            extra_headers=extra,
        )


def enclosed_with(
    db: Database, archive: Archive, letter_id: int, fields: Mapping[str, Any]
) -> list[tuple[str, bytes]]:
    """The workbooks that go with a letter, each with its file name: the very ones on record.

    `fields` are the letter's merge fields. Raises LetterFault if one that belongs to it was not
    made, Unavailable if the archive has not got it, or has another in its place.
    """
    return [
        (workbook_filename(one.kind, fields), archive.get(one.file, one.sha256))
        for one in enclosures.to_attach(db, letter_id, fields)
    ]


def _now() -> datetime:
    return datetime.now(UTC)
