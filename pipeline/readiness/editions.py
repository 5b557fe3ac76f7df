"""What may be wrong with an edition's dates, facts and signatory."""

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

from pipeline.letter import Edition, long_date
from pipeline.london import LONDON
from pipeline.readiness.found import Check, Finding, Kind
from pipeline.readiness.words import leftover

_SATURDAY = 5
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def thawed(frozen: Mapping[str, Any]) -> Edition:
    """The edition that a run's letters were frozen with."""
    days = ("letter_date", "published_on", "period_start", "period_end", "prepare_on")
    return Edition(
        **{name: date.fromisoformat(frozen[name]) for name in days},
        dispatch_at=datetime.fromisoformat(frozen["dispatch_at"]),
        year=frozen["year"],
        signatory=frozen["signatory"],
        signatory_posts=frozen["signatory_posts"],
        facts=frozen["facts"],
        copied_roles=frozen["copied_roles"],
        enclosures=tuple(frozen.get("enclosures") or ()),
    )


def look_at(edition: Edition, *, now: datetime, begun: bool) -> Iterator[Finding]:
    """Everything about the edition itself; `begun` if sending has, so that its hour is over."""
    yield from _period(edition, now)
    yield from _dates(edition, now, begun=begun)
    yield from _words(edition)


def _period(edition: Edition, now: datetime) -> Iterator[Finding]:
    first, last = edition.period_start, edition.period_end
    if last >= edition.letter_date:
        yield _finding(
            Kind.BLOCKING,
            f"The letter is dated {long_date(edition.letter_date)}, and the period that it is about"
            f" goes on until {long_date(last)}.",
            "Correct letter_date or period_end in editions.",
        )
    elif last >= now.astimezone(LONDON).date():
        yield _finding(
            Kind.ADVISORY,
            f"The period is not over yet: it goes on until {long_date(last)}.",
            "Wait until it is, or correct period_end in editions; decisions to come are missing.",
        )
    if not _is_a_year(first, last):
        yield _finding(
            Kind.ADVISORY,
            f"The period from {long_date(first)} to {long_date(last)} is not a year: it has"
            f" {(last - first).days + 1:,} days.",
            "Correct period_start or period_end in editions, unless it is meant.",
        )
    if edition.year != edition.letter_date.year:
        yield _finding(
            Kind.ADVISORY,
            f"The letters are those of {edition.year} and are dated"
            f" {long_date(edition.letter_date)}.",
            "Correct letter_date in editions, unless it is meant.",
        )


def _is_a_year(first: date, last: date) -> bool:
    following = last + timedelta(days=1)
    return (following.year - 1, following.month, following.day) == (
        first.year,
        first.month,
        first.day,
    )


def _dates(edition: Edition, now: datetime, *, begun: bool) -> Iterator[Finding]:
    day, dispatch = edition.letter_date, edition.dispatch_at.astimezone(LONDON)
    if day.weekday() >= _SATURDAY:
        yield _finding(
            Kind.ADVISORY,
            f"The letter's date, {long_date(day)}, is a {_DAYS[day.weekday()]}.",
            "Choose a working day in editions.letter_date, unless it is meant.",
        )
    if dispatch.date() != day and dispatch.weekday() >= _SATURDAY:
        yield _finding(
            Kind.ADVISORY,
            f"The letters are to be sent on {long_date(dispatch.date())}, a"
            f" {_DAYS[dispatch.weekday()]}, when few read them and nobody answers the telephone.",
            "Choose a working day in editions.dispatch_at, unless it is meant.",
        )
    if dispatch.date() < day:
        yield _finding(
            Kind.ADVISORY,
            f"The letters are to be sent on {long_date(dispatch.date())}, before their date,"
            f" {long_date(day)}.",
            "Correct dispatch_at or letter_date in editions.",
        )
    if edition.prepare_on > dispatch.date():
        yield _finding(
            Kind.ADVISORY,
            f"The letters are to be made on {long_date(edition.prepare_on)}, after they are to be"
            f" sent, on {long_date(dispatch.date())}.",
            "Correct prepare_on or dispatch_at in editions.",
        )
    if edition.published_on < day:
        yield _finding(
            Kind.ADVISORY,
            f"The letter says that its figures are published on {long_date(edition.published_on)},"
            f" and is dated later, {long_date(day)}.",
            "Correct published_on or letter_date in editions.",
        )
    if not begun and edition.dispatch_at.astimezone(UTC) < now:
        yield _finding(
            Kind.ADVISORY,
            f"The hour of sending, {long_date(dispatch.date())} at {dispatch:%H:%M}, is in the"
            " past.",
            "A schedule that runs makes up for a start missed by a few days"
            " (schedule.catch_up_days), and letters run begins at once. Correct dispatch_at in"
            " editions if the letters are to go later.",
        )


def _words(edition: Edition) -> Iterator[Finding]:
    if not edition.signatory.strip():
        yield _finding(Kind.BLOCKING, "Nobody signs the letters.", "Fill in signatory in editions.")
    if not edition.signatory_posts:
        yield _finding(
            Kind.ADVISORY,
            f"No post stands below the name of {edition.signatory}.",
            "Fill in signatory_posts in editions, unless it is meant.",
        )
    named = {
        "signatory": edition.signatory,
        **{
            f"signatory_posts, number {n}": post
            for n, post in enumerate(edition.signatory_posts, 1)
        },
        **{f"facts, {name}": str(value) for name, value in edition.facts.items()},
    }
    for place, text in named.items():
        if found := leftover(text):
            yield _finding(
                Kind.BLOCKING,
                f"The edition's {place}, holds “{found}”, which looks like a place left to fill in."
                if "," in place
                else f"The edition's {place} holds “{found}”, which looks like a place left to fill"
                " in.",
                "Put the words there in editions.",
            )


def _finding(kind: Kind, found: str, fix: str) -> Finding:
    return Finding(kind=kind, check=Check.EDITION, found=found, fix=fix)
