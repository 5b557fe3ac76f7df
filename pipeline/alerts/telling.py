"""Who is told of alerts, and the mail that tells them.

The mail takes the way that letters take, in the mode that is set: kept on this machine, redirected
to one inbox, or sent. What cannot be mailed stays owed, and is tried at the next look. It is told
once: only who holds an alert mails it, and looks whether that is still so before the final dot.
"""

import hashlib
import random
import textwrap
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from pipeline import log, owner
from pipeline.address import ascii_address
from pipeline.alerts import words
from pipeline.alerts.causes import of_key, severity
from pipeline.database import Database
from pipeline.delivery import Accepted, Deferred, Mode, NotTried, Outcome, Rejected, Reply
from pipeline.dispatch import CAPTURED, Outbox, opened_relay
from pipeline.errors import LetterFault, LettersError
from pipeline.ledger import alerts, instance, relays
from pipeline.ledger.alerts import Alert, Change
from pipeline.message import new_message_id
from pipeline.transport import Transport

_FROM = "Annual letters"
_WIDTH = 72
_PUT_OFF = timedelta(minutes=5)
_REFUSED = timedelta(hours=1)  # a relay that refuses an address now will do so in a minute
_ANSWER_S, _COMMAND_S, _CONNECT_S = 60.0, 30.0, 15.0  # a look should not hang on telling of it

_KEPT = {
    Mode.CAPTURE: "This is a rehearsal: mail is kept on this machine.",
    Mode.REDIRECT: "This is a rehearsal: mail is redirected to one inbox.",
}

Owed = Sequence[tuple[Alert, Change]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """Whom to tell, by address; nobody: alerts are logged only.

    What comes back within the `quiet` time after it was over is the same alert, and not told anew
    before that time has passed.
    """

    to: Sequence[str] = ()
    quiet: timedelta = timedelta(hours=1)


def tell(db: Database, outbox: Outbox, telling: Telling, *, now: datetime) -> int:
    """Mail all that is owed; to how many mails that led.

    What keeps a mail from going is logged, and nothing is raised for it: it stays owed. Raises
    Unavailable if the ledger itself is away.
    """
    gone, quiet = owner.is_gone, telling.quiet
    if not telling.to or not alerts.owes(db, outbox.mode, gone=gone, quiet=quiet, now=now):
        return 0
    try:
        relay = None if outbox.relay is None else outbox.relay()
    except LettersError as error:
        _unsent(outbox, error)
        return 0
    place = CAPTURED if relay is None else relay.place
    trouble = relays.in_trouble(db, place)
    if trouble is not None and trouble.holds(now):
        return 0  # it is left alone, and tried when letters may be
    me = owner.identity()
    claimed = alerts.claim(db, outbox.mode, owner=me, gone=gone, quiet=quiet, now=now)
    if not claimed:
        return 0
    mailing = _Mailing(
        db=db, outbox=outbox, telling=telling, owner=me, place=place, owed=claimed, now=now
    )
    try:
        mailing.mail(was_in_trouble=trouble is not None)
    except LettersError as error:  # the folder for captured mail, or the ledger
        _unsent(outbox, error)
    finally:
        mailing.settle()
    return mailing.mails


def _unsent(outbox: Outbox, error: LettersError) -> None:
    log.error("alert.unsent", mode=outbox.mode, error=type(error).__name__)


@dataclass(slots=True, kw_only=True)
class _Mailing:
    """One go at mailing what is owed: a mail to each address, of all that it has not had yet."""

    db: Database
    outbox: Outbox
    telling: Telling
    owner: str
    place: str
    owed: Owed
    now: datetime
    mails: int = 0
    _taken: dict[int, set[str]] = field(default_factory=dict)
    _refused: set[str] = field(default_factory=set)
    _stopped: bool = False

    @property
    def addresses(self) -> Sequence[str]:
        sender = self.outbox.sender
        return (sender.redirect_to,) if sender.mode is Mode.REDIRECT else self.telling.to

    def mail(self, *, was_in_trouble: bool) -> None:
        self._stopped = True  # until every address has been tried
        self._taken = {alert.id: {*alert.taken} for alert, _ in self.owed}
        name, _ = instance.newest(self.db)
        with opened_relay(self.outbox) as relay:
            bounded = replace(
                relay, timeout=_ANSWER_S, command_timeout=_COMMAND_S, connect_timeout=_CONNECT_S
            )
            with Transport(bounded) as transport:
                for address in self.addresses:
                    lacking = [one for one in self.owed if address not in self._taken[one[0].id]]
                    if not lacking:
                        continue
                    outcome = self._sent(transport, address, lacking, ledger=name)
                    self._log(outcome)
                    if isinstance(outcome, NotTried) and outcome.trouble:
                        relays.fails(
                            self.db,
                            self.place,
                            reason=outcome.reason,
                            chance=random.random(),  # noqa: S311 - nothing secret about it
                            now=self.now,
                        )
                        return
                    if isinstance(outcome, Accepted):
                        self.mails += 1
                        for alert, _ in lacking:
                            self._taken[alert.id].add(address)
                    elif isinstance(outcome, Rejected):
                        self._refused.add(address)
                    if was_in_trouble and isinstance(outcome, Accepted | Deferred | Rejected):
                        relays.answers(self.db, self.place, now=self.now)
        self._stopped = False

    def _sent(self, transport: Transport, address: str, owed: Owed, *, ledger: str) -> Outcome:
        ids = [alert.id for alert, _ in owed]
        try:
            return transport.send(
                self.outbox.sender.envelope_sender,
                address,
                written(owed, address, self.outbox, ledger=ledger, now=self.now),
                lambda _session: alerts.is_held(self.db, ids, owner=self.owner),
            )
        except LetterFault as fault:  # no mail system takes such an address
            return Rejected(reply=Reply(code=0, text=str(fault)))

    def settle(self) -> None:
        """Write down what came of it; what is still owed is let go."""
        for alert, change in self.owed:
            taken = self._taken.get(alert.id, {*alert.taken})
            lacking = {*self.addresses} - taken
            told = not lacking or bool(taken and lacking <= self._refused)
            with suppress(LettersError):  # the lease ends by itself
                if told:
                    alerts.mailed(self.db, alert, change, owner=self.owner, now=self.now)
                    continue
                wait = _REFUSED if lacking <= self._refused else _PUT_OFF
                until = None if self._stopped else self.now + wait
                alerts.put_off(self.db, alert, taken, owner=self.owner, until=until)

    def _log(self, outcome: Outcome) -> None:
        told = log.info if isinstance(outcome, Accepted) else log.warning
        told(
            "alert.mailed" if isinstance(outcome, Accepted) else "alert.unsent",
            mode=self.outbox.mode,
            relay=self.place,
            outcome=type(outcome).__name__.lower(),
            count=len(self.owed),
        )


def written(owed: Owed, address: str, outbox: Outbox, *, ledger: str, now: datetime) -> bytes:
    """The mail that tells one person of what is owed, with CRLF line endings.

    The same things told to the same person have the same Message-ID, so that a mail program shows
    once what a crash has had mailed twice. `ledger` is the ledger's name.
    """
    raised = [alert for alert, change in owed if change is Change.RAISED]
    over = [(alert, change) for alert, change in owed if change is not Change.RAISED]
    paragraphs = [_of_raised(alert, outbox.mode) for alert in raised]
    if over:
        paragraphs.append("This is over:")
        paragraphs += [_of_over(alert, change) for alert, change in over]
    paragraphs.append(
        _wrapped(
            "letters alerts shows all that is open. Each matter is mailed once, and once more "
            "when it is over."
        )
    )
    if outbox.mode in _KEPT:
        paragraphs.append(_KEPT[outbox.mode])
    sender = ascii_address(outbox.sender.address)
    mail = EmailMessage(policy=SMTP)
    mail["Date"] = format_datetime(now)
    mail["From"] = Address(_FROM, addr_spec=sender)
    mail["To"] = Address(addr_spec=ascii_address(address))
    mail["Subject"] = f"[letters] {_subject(raised, [alert for alert, _ in over])}"
    mail["Message-ID"] = new_message_id(_token(owed, address, ledger), sender)
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Auto-Response-Suppress"] = "All"  # Exchange's word for the same
    mail.set_content("\n\n".join(paragraphs) + "\n")
    return mail.as_bytes()


def _subject(raised: Sequence[Alert], over: Sequence[Alert]) -> str:
    if raised:
        worst = min((of_key(one.cause, one.what) for one in raised), key=severity)
        others = f", and {len(raised) - 1} more" if len(raised) > 1 else ""
        return f"{words.capital(words.title(worst))}{others}"
    worst = min((of_key(one.cause, one.what) for one in over), key=severity)
    others = f", and {len(over) - 1} more" if len(over) > 1 else ""
    return f"Over: {words.title(worst)}{others}"


def _of_raised(alert: Alert, mode: Mode) -> str:
    cause = of_key(alert.cause, alert.what)
    told = f"{words.sentence(cause)} Noticed on {words.moment(alert.raised_at)}, London time."
    return f"{_wrapped(told)}\n{_wrapped(f'What to do: {words.to_do(cause, mode)}', indent=2)}"


def _of_over(alert: Alert, change: Change) -> str:
    assert alert.cleared_at is not None  # noqa: S101 - it is over
    cause = of_key(alert.cause, alert.what)
    told = words.is_over(cause, alert.raised_at, alert.cleared_at)
    late = " It could not be mailed before." if change is Change.BOTH else ""
    return _wrapped(f"{told}{late}", indent=2)


def _wrapped(text: str, *, indent: int = 0) -> str:
    margin = " " * indent
    return textwrap.fill(
        text,
        _WIDTH,
        initial_indent=margin,
        subsequent_indent=margin,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _token(owed: Owed, address: str, ledger: str) -> str:
    told = sorted(
        (alert.id, change.value, str(alert.mailed_at), str(alert.cleared_mailed_at))
        for alert, change in owed
    )
    digest = hashlib.sha256(f"{ledger} {address} {told}".encode()).hexdigest()
    return f"alert.{digest[:32]}"
