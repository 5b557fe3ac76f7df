"""What the schedule found and did: plain lines, fit for a system's log and for a terminal."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

from pipeline.alerts import Kind, Telling, sentence, title, to_do
from pipeline.delivery import Mode
from pipeline.display.alerts import alert_facts
from pipeline.display.console import LONDON, counted, err, out, row
from pipeline.display.reports import changes, summary_facts
from pipeline.display.words import moment
from pipeline.errors import LettersError
from pipeline.run import Result
from pipeline.schedule import Standing, Start, Tick, Year
from pipeline.schema import Step

_SENT = {
    Mode.CAPTURE: "captured on this machine, as a rehearsal",
    Mode.REDIRECT: "redirected to one inbox, as a rehearsal",
    Mode.LIVE: "sent",
}
_GOES = {
    Mode.CAPTURE: "Mail is captured on this machine, as a rehearsal",
    Mode.REDIRECT: "Mail is redirected to one inbox, as a rehearsal",
    Mode.LIVE: "Mail goes to the authorities",
}
_TO_BE = {Step.PREPARE: "made", Step.DISPATCH: "sent"}
_STANDS = {
    Standing.DONE: ": done",
    Standing.MISSED: ": missed",
    Standing.OPEN: ": not finished",
}
_WHEN = 27  # columns of "30 September 2020 at 09:00"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One thing to say; `urgent` if somebody has to do something about it."""

    text: str
    urgent: bool


def print_tick(tick: Tick) -> None:
    """What is news, and nothing otherwise; on a terminal also that there is none."""
    lines = [*_came_back(tick), *_lines([one for one in tick.starts if one.news], tick.mode)]
    lines += _alerts(tick)
    for line in lines:
        _print(line)
    for trouble in tick.troubles:
        print_trouble(trouble.error)
    if out.is_terminal and not lines and not tick.troubles:
        out.print("Nothing is to be done at this moment.")
        out.print(_next(tick), markup=False)


def print_trouble(error: LettersError) -> None:
    """An error, as every command says it."""
    err.print(f"letters: {error}", markup=False, style="bold red")


def facts(tick: Tick) -> dict[str, Any]:
    """The same for scripts: plain values."""
    upcoming = tick.upcoming
    return {
        "at": _iso(tick.at),
        "mode": tick.mode.value,
        "needs_a_person": tick.needs_a_person,
        "alerts": {
            "raised": [alert_facts(one, tick.mode) for one in tick.alerts.raised],
            "cleared": [alert_facts(one, tick.mode) for one in tick.alerts.cleared],
        }
        if tick.alerts is not None
        else None,
        "returned": None if tick.evidence is None else summary_facts(tick.evidence),
        "starts": [_facts(one) for one in tick.starts],
        "troubles": [
            {
                "year": one.year,
                "step": one.step.value if one.step else None,
                "error": str(one.error),
            }
            for one in tick.troubles
        ],
        "next": None if upcoming is None else _named(upcoming),
    }


class Teller:
    """Says what changes from one tick to the next, each thing once; for a server's log."""

    def __init__(self) -> None:
        """Nothing has been said yet."""
        self._waits: dict[tuple[int, Step], str] = {}
        self._troubles: frozenset[str] = frozenset()
        self._next = ""

    def begin(self, mode: Mode, every: int) -> None:
        """Say what is about to happen."""
        out.print(
            f"The schedule is running: it looks every {counted(every, 'second')} at what is due. "
            f"{_GOES[mode]}.{' Ctrl-C stops it.' if out.is_terminal else ''}",
            markup=False,
        )

    def plan(
        self, years: Sequence[Year], telling: Telling, *, every: int, reports_every: int | None
    ) -> None:
        """Say what the schedule will do: for each year, at each look, and whom it tells.

        `every` and `reports_every` are in seconds; None where nothing that comes back is read.
        """
        for one in years:
            out.print(f"The letters of {one.year}, in London:")
            for when, text in _planned(one):
                row(out, when, text, width=_WHEN)
        out.print("And for every year:" if years else "It also does this:")
        if reports_every is not None:
            row(out, _each(reports_every), "what came back is read", width=_WHEN)
        row(out, _each(every), "what an ended process had in hand is freed", width=_WHEN)
        told = f"a person who is needed is told: {', '.join(telling.to)}"
        if not telling.to:
            told = "that a person is needed is only logged, as alerts.to names nobody"
        row(out, _each(every), told, width=_WHEN)

    def tell(self, tick: Tick) -> None:
        """Say what this tick has changed, what stops it, and what is due next."""
        news = [one for one in tick.starts if one.news and one.standing is not Standing.OPEN]
        for line in [*_came_back(tick), *_lines(news, tick.mode), *_alerts(tick)]:
            _print(line)
        waits: dict[tuple[int, Step], str] = {}
        for one in tick.starts:
            if one.standing is Standing.OPEN and one.result is not None:
                [line] = _lines([one], tick.mode)
                waits[one.year, one.step] = line.text
                if self._waits.get((one.year, one.step)) != line.text:
                    _print(line)
        self._waits = waits
        self._tell_troubles([one.error for one in tick.troubles])
        upcoming = _next(tick)
        if upcoming != self._next:
            out.print(upcoming, markup=False)
        self._next = upcoming

    def tell_trouble(self, error: LettersError) -> None:
        """Say what kept a whole tick from looking."""
        self._tell_troubles([error])

    def end(self) -> None:
        """Say that it has been asked to stop, and has."""
        out.print("Stopped, as asked. Everything done so far is kept; a new start goes on from it.")

    def _tell_troubles(self, errors: Sequence[LettersError]) -> None:
        """The same trouble again and again is said once, and so is its end."""
        troubles = frozenset(map(str, errors))
        for error in errors:
            if str(error) not in self._troubles:
                print_trouble(error)
        if self._troubles and not troubles:
            out.print("What was in the way is mended.")
        self._troubles = troubles


def _print(line: Line) -> None:
    out.print(line.text, markup=False, style="bold yellow" if line.urgent else None)


def _lines(starts: Sequence[Start], mode: Mode) -> list[Line]:
    """What there is to say of these starts; many of one kind in one sentence."""
    told = []
    for standing, words in (
        (Standing.MISSED, _missed),
        (Standing.CANCELLED, _cancelled),
    ):
        for steps, years in _by_steps(one for one in starts if one.standing is standing):
            told.append(words(steps, years))
    for one in starts:
        if one.result is not None and one.standing in {Standing.OPEN, Standing.DONE}:
            text = _prepare(one) if one.step is Step.PREPARE else _dispatch(one, mode)
            told.append(Line(text=text, urgent=one.needs_a_person))
    return told


def _came_back(tick: Tick) -> list[Line]:
    """What reports and the relay's log have changed."""
    told = [] if tick.evidence is None else changes(tick.evidence)
    return [Line(text=text, urgent=urgent) for text, urgent in told]


def _alerts(tick: Tick) -> list[Line]:
    """What needs a person from now on, where the rest does not say so already; and what is over."""
    if tick.alerts is None:
        return []
    told: set[int | None] = {one.year for one in tick.troubles}
    told |= {one.year for one in tick.starts if one.news and one.needs_a_person}
    stopped = bool(tick.troubles)
    came_back = bool(_came_back(tick))
    lines = []
    for cause in tick.alerts.raised:
        already = stopped if cause.year is None else cause.year in told
        if not already and not (came_back and cause.kind in {Kind.BOUNCES, Kind.RETURNED}):
            text = f"{sentence(cause)} {to_do(cause, tick.mode)}"
            lines.append(Line(text=text, urgent=True))
    lines += [Line(text=f"Over: {title(one)}.", urgent=False) for one in tick.alerts.cleared]
    return lines


def _planned(one: Year) -> list[tuple[str, str]]:
    """When what is done of one year."""
    lines = [(moment(one.prepare_at), f"they are made{_STANDS.get(one.prepared, '')}")]
    if one.remind_at is not None:
        lines.append((moment(one.remind_at), "somebody is told if approval lacks"))
    lines.append((moment(one.dispatch_at), f"they are sent{_STANDS.get(one.dispatched, '')}"))
    return lines


def _each(seconds: int) -> str:
    whole = divmod(seconds, 60)
    if whole[1]:
        return f"every {counted(seconds, 'second')}"
    return "every minute" if whole[0] == 1 else f"every {counted(whole[0], 'minute')}"


def _by_steps(starts: Iterable[Start]) -> list[tuple[list[Step], list[int]]]:
    """Years whose same steps are meant, together."""
    steps: dict[int, list[Step]] = {}
    for one in starts:
        steps.setdefault(one.year, []).append(one.step)
    ordered = sorted(steps.items(), key=lambda each: (each[1], each[0]))
    return [
        (same, [year for year, _ in group])
        for same, group in groupby(ordered, key=lambda each: each[1])
    ]


def _missed(steps: Sequence[Step], years: Sequence[int]) -> Line:
    when = "their day" if len(years) == 1 else "their days"
    which = f"the letters of {_listed(years)}"
    year = str(years[0]) if len(years) == 1 else "YEAR"
    if steps == [Step.PREPARE]:
        text = (
            f"Missed: {which} were not made on {when}, and it is too late to do it unasked. They "
            f"are made when they are sent; to make them before: letters prepare {year}"
        )
    else:
        what = "neither made nor sent" if len(steps) > 1 else "not sent"
        text = (
            f"Missed: {which} were {what} on {when}, and it is too late to do it unasked. "
            f"To do it now: letters run {year}"
        )
    return Line(text=text, urgent=True)


def _cancelled(steps: Sequence[Step], years: Sequence[int]) -> Line:
    what = " and ".join(_TO_BE[step] for step in steps)
    year = str(years[0]) if len(years) == 1 else "YEAR"
    text = (
        f"The letters of {_listed(years)} are due to be {what}, but somebody has cancelled their "
        f"run, so they are left alone. To open them anew: letters prepare {year}"
    )
    return Line(text=text, urgent=False)


def _prepare(start: Start) -> str:
    assert start.result is not None  # noqa: S101 - asked by the caller
    letters, year = start.result.summary.letters, start.year
    if not sum(letters.values()):
        return _none_at_all(year)
    made = f"{counted(letters['prepared'], 'letter')} of {year} made"
    if letters["unprepared"]:
        return f"{made}, {letters['unprepared']:,} still to be made."
    if letters["fault"]:
        return f"{made}; {letters['fault']:,} cannot be made: letters status {year}"
    return f"{made}."


def _dispatch(start: Start, mode: Mode) -> str:
    result = start.result
    assert result is not None  # noqa: S101 - asked by the caller
    year, summary = start.year, result.summary
    if not sum(summary.letters.values()):
        return _none_at_all(year)
    states = ", ".join(
        f"{count:,} {name.replace('_', ' ')}" for name, count in summary.deliveries.items() if count
    )
    if start.standing is Standing.OPEN:
        return f"The letters of {year} are not finished: {_reason(start, result, states)}"
    if not states:
        return f"There was no letter of {year} to send: letters status {year}"
    text = f"The letters of {year} are {_SENT[mode]}: {states}."
    if summary.needs_a_person:
        text += (
            f" {counted(summary.needs_a_person, 'of them needs', 'of them need')} a person: "
            f"letters status {year}"
        )
    return text


def _reason(start: Start, result: Result, states: str) -> str:
    """Why letters that are due are not all sent."""
    year, found = start.year, result.run
    if found.paused_at is not None:
        return (
            f"paused by {found.paused_by} ({found.paused_because}). "
            f"To let them go on: letters resume {year}"
        )
    if result.awaiting:
        people = counted(result.awaiting, "more person", "more people")
        return f"{people} must approve them: letters approve {year}"
    if start.awaits_word:
        return (
            "an earlier run of the year was cancelled, so the schedule leaves it to a person to "
            f"say that this one may go. To send it: letters send {year}"
        )
    again = "."
    if start.kept_back:
        again = (
            f"; {start.kept_back:,} {'waits' if start.kept_back == 1 else 'wait'} because mail may "
            "go to some domains only (mail.only_to_domains)."
        )
    if start.next_try is not None:
        again = f"{again[:-1]}; the next try is on {_when(start.next_try)}."
    return f"{states or 'nothing is sent yet'}{again}"


def _none_at_all(year: int) -> str:
    return (
        f"There are no letters of {year}: no authority existed in its period. Look at the dates of "
        "its edition and of the authorities; docs/data.md says what they mean."
    )


def _next(tick: Tick) -> str:
    upcoming = tick.upcoming
    if upcoming is None:
        return "Nothing is to come: no edition in the statistics has a date ahead."
    return (
        f"Next: the letters of {upcoming.year} are {_TO_BE[upcoming.step]} on "
        f"{_when(upcoming.due_at)}."
    )


def _when(at: datetime) -> str:
    there = at.astimezone(LONDON)
    return f"{there:%A} {there.day} {there:%B %Y} at {there:%H:%M}, London time"


def _listed(years: Sequence[int]) -> str:
    """Years in order, runs of them as from and to: 1990 to 2019, 2021 and 2024."""
    spans: list[tuple[int, int]] = []
    for year in sorted(years):
        if spans and year == spans[-1][1] + 1:
            spans[-1] = (spans[-1][0], year)
        else:
            spans.append((year, year))
    texts = [
        str(first) if first == last else f"{first}{' and ' if last == first + 1 else ' to '}{last}"
        for first, last in spans
    ]
    return " and ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)


def _named(start: Start) -> dict[str, Any]:
    return {"year": start.year, "step": start.step.value, "due_at": _iso(start.due_at)}


def _facts(start: Start) -> dict[str, Any]:
    told: dict[str, Any] = {
        **_named(start),
        "standing": start.standing.value,
        "news": start.news,
        "needs_a_person": start.needs_a_person,
    }
    if start.result is not None:
        told |= {
            "prepared": start.result.summary.letters,
            "counts": start.result.summary.deliveries,
            "awaiting_approvals": start.result.awaiting,
            "paused": start.result.run.paused_at is not None,
            "awaits_word": start.awaits_word,
            "kept_back": start.kept_back,
            "next_try": None if start.next_try is None else _iso(start.next_try),
        }
    return told


def _iso(at: datetime) -> str:
    return at.isoformat(timespec="seconds")
