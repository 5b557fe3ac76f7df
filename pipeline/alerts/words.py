"""What alerts say: whole sentences, with codes of authorities and nothing about a person."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from pipeline.alerts.causes import Cause, Kind
from pipeline.delivery import Mode
from pipeline.london import LONDON
from pipeline.schema import Step


@dataclass(frozen=True, slots=True, kw_only=True)
class _Words:
    """What is said of one kind of cause: for a subject, in sentences, and what to do about it."""

    title: str
    sentence: str
    to_do: str


_UNASKED = "when they were due{due}, and it is too late to do it unasked."
_STUCK = (
    "The letters of {year} were to be {done}{due}, and are not: something stops each try, or "
    "nothing looks (letters serve, letters tick)."
)
_WAITS = "The letters of {year} are due to be sent{due}"

_MISSED_PREPARE = _Words(
    title="the letters of {year} were not made on their day",
    sentence=f"The letters of {{year}} were not made {_UNASKED} They are made when they are sent.",
    to_do="To make them before: letters prepare {year}",
)
_MISSED_DISPATCH = _Words(
    title="the letters of {year} were not sent on their day",
    sentence=f"The letters of {{year}} were not sent {_UNASKED}",
    to_do="To send them now: letters run {year}",
)
_LATE_PREPARE = _Words(
    title="the letters of {year} are due and are not being made",
    sentence=_STUCK,
    to_do="letters check looks at all it leans on; letters prepare {year} says what stops it.",
)
_LATE_DISPATCH = _Words(
    title="the letters of {year} are due and are not being sent",
    sentence=_STUCK,
    to_do="letters check looks at all it leans on; letters run {year} says what stops it.",
)
_AWAY = _Words(
    title="the statistics cannot be read",
    sentence="The statistics cannot be read, so nothing that is due in them is begun.",
    to_do="letters check says why.",
)
_UNREADABLE = _Words(
    title="the dates of {editions} cannot be read",
    sentence="The dates of {editions} cannot be read, so no letters go by themselves for them.",
    to_do="letters tick names each place; correct the statistics there.",
)
_PAUSED = _Words(
    title="the letters of {year} are due, and paused",
    sentence=f"{_WAITS}, and somebody has paused them.",
    to_do="letters status {year} says who and why; letters resume {year} lets them go.",
)
_UNSAID = _Words(
    title="the letters of {year} are due, and nobody has said that they may go",
    sentence=(
        f"{_WAITS}. An earlier run of the year was cancelled, and nobody has said yet that this "
        "one may go."
    ),
    to_do="To send them: letters send {year}",
)
_UNAPPROVED = _Words(
    title="the letters of {year} wait for approval",
    sentence=f"{_WAITS}, and {{people}} must approve them first.",
    to_do="When you have looked at them: letters approve {year}",
)
_UNMADE = _Words(
    title="the letters of {year} wait for approval, and are not made yet",
    sentence=f"{_WAITS}, and {{people}} must approve them first. They have not been made yet.",
    to_do="letters prepare {year}; then letters approve {year}",
)
_ALWAYS: Mapping[Kind, _Words] = {
    Kind.RELAY: _Words(
        title="the relay {of} is in trouble",
        sentence=(
            "The relay {of} cannot be used{since}. What is to be sent waits, and goes by itself "
            "when the relay is well again."
        ),
        to_do="letters check says why; once it is mended, letters send YEAR tries at once.",
    ),
    Kind.IN_DOUBT: _Words(
        title="{deliveries} of {year} in doubt",
        sentence=(
            "{deliveries} of {year} {is_} in doubt: a letter may have arrived, or not, and is not "
            "sent again before that is settled.{whose}"
        ),
        to_do="letters resolve AUTHORITY --year {year} shows what is known, and settles it.",
    ),
    Kind.REFUSED: _Words(
        title="{deliveries} of {year} refused or given up",
        sentence=(
            "{deliveries} of {year} {was} refused by the mail server, or given up after many "
            "attempts.{whose}"
        ),
        to_do="letters status {year} says why; letters resend AUTHORITY --to ADDRESS sends again.",
    ),
    Kind.BOUNCES: _Words(
        title="{deliveries} of {year} came back",
        sentence="{deliveries} of {year} came back, not delivered.{whose}",
        to_do="letters reports --list says why; letters resend AUTHORITY --to ADDRESS sends again.",
    ),
    Kind.FAULTS: _Words(
        title="{letters} of {year} cannot be made",
        sentence="{letters} of {year} cannot be made; the others go.{whose}",
        to_do="letters status {year} says why.",
    ),
    Kind.RETURNED: _Words(
        title="{mails} to look at",
        sentence="{mails} {is_} waiting for somebody to look.",
        to_do="letters reports --list",
    ),
}
_CAPTURED: Mapping[Kind, str] = {
    Kind.RELAY: "letters check says what keeps mail from being kept on this machine.",
    Kind.IN_DOUBT: "letters send {year} looks for them among the captured mail.",
}
"""What to do where mail is captured, if it is something else."""


def title(cause: Cause) -> str:
    """What it is about in a few words, for a subject: the letters of 2020 wait for approval."""
    return _words(cause).title.format(**_facts(cause))


def sentence(cause: Cause) -> str:
    """What is the matter, as one or two sentences."""
    return _words(cause).sentence.format(**_facts(cause))


def to_do(cause: Cause, mode: Mode) -> str:
    """What to do about it: a command, or a sentence with one."""
    captured = _CAPTURED.get(cause.kind) if mode is Mode.CAPTURE else None
    return (captured or _words(cause).to_do).format(**_facts(cause))


def is_over(cause: Cause, since: datetime, until: datetime) -> str:
    """That a cause is over, and from when to when it was there."""
    return f"{capital(title(cause))}: so from {moment(since)} to {moment(until)}, London time."


def capital(text: str) -> str:
    """The text with a capital at its beginning."""
    return f"{text[:1].upper()}{text[1:]}"


def moment(at: datetime) -> str:
    """22 July 2020 at 09:00, in London."""
    return f"{at.astimezone(LONDON):%-d %B %Y at %H:%M}"


def _words(cause: Cause) -> _Words:
    what = cause.what
    match cause.kind:
        case Kind.MISSED:
            return _MISSED_PREPARE if cause.of == Step.PREPARE else _MISSED_DISPATCH
        case Kind.LATE:
            return _LATE_PREPARE if cause.of == Step.PREPARE else _LATE_DISPATCH
        case Kind.STATISTICS:
            return _AWAY if what.get("away") else _UNREADABLE
        case Kind.HELD:
            return _PAUSED if what.get("because") == "paused" else _UNSAID
        case Kind.APPROVAL:
            return _UNAPPROVED if what.get("made") else _UNMADE
        case _:
            return _ALWAYS[cause.kind]


def _facts(cause: Cause) -> dict[str, object]:
    """All that words may name; of what a cause does not have, nothing sensible."""
    what = cause.what
    count = what.get("count", 0)
    codes = ", ".join(what.get("authorities", ()))
    others = ", among others" if what.get("more") else ""
    return {
        "year": cause.year,
        "of": cause.of,
        "done": "made" if cause.of == Step.PREPARE else "sent",
        "due": _when("on", what.get("due_at")),
        "since": _when("since", what.get("since")),
        "people": _counted(what.get("wanted", 0), "more person", "more people"),
        "editions": _counted(what.get("faults", 0), "edition"),
        "deliveries": _counted(count, "delivery", "deliveries"),
        "letters": _counted(count, "letter"),
        "mails": _counted(count, "returned mail"),
        "is_": "is" if count == 1 else "are",
        "was": "was" if count == 1 else "were",
        "whose": f" Authorities: {codes}{others}." if codes else "",
    }


def _when(word: str, at: str | None) -> str:
    return f" {word} {moment(datetime.fromisoformat(at))}" if at else ""


def _counted(number: int, one: str, many: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"
