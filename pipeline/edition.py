"""An edition's settings: to be looked at, made from an earlier year's, and changed.

Dates, signatory, facts, wording and template belong to one year. A new year starts from the last
one's: its dates moved on, what stays the same taken over, and what has to come from the new year's
data left out. A run that is open has its own copy of all of it.
"""

import csv
import hashlib
import io
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from pipeline import run, schema, source, stationery
from pipeline.database import Database
from pipeline.errors import LettersError, Misconfigured, Refused, Unavailable
from pipeline.importer.cells import WHITE_SPACE, Wrong, near
from pipeline.importer.relations import RELATIONS, Column
from pipeline.ledger import editions, runs
from pipeline.ledger.editions import Making
from pipeline.ledger.phases import Phase
from pipeline.ledger.runs import Run
from pipeline.letter import Edition, long_date
from pipeline.london import LONDON
from pipeline.readiness.editions import look_at, thawed
from pipeline.readiness.facts import Carried, carried
from pipeline.run import Pipeline
from pipeline.source import StoredEdition
from pipeline.stationery import Stationery, own_folder

_DAY = timedelta(days=1)
_WEEK = 7
[_RELATION] = [one for one in RELATIONS if one.table is schema.editions]
_COLUMNS: Mapping[str, Column] = {one.name: one for one in _RELATION.columns}
_FACT = "facts."

SETTINGS = tuple(name for name in _COLUMNS if name != "year")
"""What an edition holds, as `--set` names it; a single fact is `facts.NAME`."""


class How(StrEnum):
    """Where a setting of a new edition has its value from."""

    MOVED = "moved"
    CARRIED = "carried"
    SET = "set"


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """An edition as it is to be, and where each setting is from, by column or `facts.NAME`."""

    stored: StoredEdition
    how: Mapping[str, How]


class Folder(StrEnum):
    """What became of the older year's own folder of template and wording.

    `NONE`: it has none, and both years are made with what is configured.
    """

    NONE = "none"
    COPIED = "copied"
    THERE = "there already"


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A new edition; `left` counts, by relation, what the older year has for itself alone.

    `row` is the edition as a line of editions.csv, with its headings. `written` is False where
    somebody else keeps the statistics, who is to be given it. `notes` are what looks odd.
    """

    draft: Draft
    before: StoredEdition
    folder: Folder
    left: Mapping[str, int]
    row: str
    written: bool
    notes: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """An edition as it stands.

    `stationery` is None where `stationery_fault` says why. `differs` are the settings, the template
    and the wording that a run of the year was opened with otherwise; `notes` are what looks odd.
    """

    stored: StoredEdition
    making: Making | None
    carried: Carried | None
    stationery: Stationery | None
    stationery_fault: str | None
    run: Run | None
    phase: Phase | None
    differs: Sequence[str]
    notes: Sequence[str]


def view(pipeline: Pipeline, year: int, *, now: datetime) -> View:
    """The year's edition, changing nothing. Raises Refused if there is none."""
    stored = source.stored_edition(pipeline.statistics, year)
    found = runs.find_run(pipeline.ledger, year)
    ours, fault = None, None
    try:
        ours = run.template_of(pipeline, year)
    except Misconfigured as error:
        fault = str(error)
    phase = run.phase_of(pipeline, year, run.stands(pipeline, found) if found else None)
    return View(
        stored=stored,
        making=editions.making(pipeline.ledger, year),
        carried=carried(pipeline, year, stored.facts),
        stationery=ours,
        stationery_fault=fault,
        run=found,
        phase=phase,
        differs=_differs(found, stored, ours) if found is not None else (),
        notes=notes(stored, now=now, begun=found is not None),
    )


def make(
    pipeline: Pipeline,
    year: int,
    *,
    made_from: int,
    given: Mapping[str, str],
    writes: bool,
    person: str,
    now: datetime,
) -> Made:
    """Make the edition of a year from another year's; `given` are settings as they were typed.

    Without `writes` the statistics are somebody else's, and only what is to be given to them is
    made. Raises Refused where the year has an edition already, or the other one has none, or a
    setting cannot be what was typed.
    """
    if year in source.years(pipeline.statistics):
        raise Refused(_there_already(year))
    before = source.stored_edition(pipeline.statistics, made_from)
    draft = copied(before, year, given)
    left = source.of_the_year_alone(pipeline.statistics, made_from)
    # The folder first: without it, an edition that is there would be made with other words.
    folder = _copy_folder(run.template_of(pipeline, made_from), pipeline.template, year)
    with pipeline.ledger.write() as connection:
        if writes and not _insert(pipeline.ledger, connection, draft.stored):
            raise Refused(_there_already(year))
        editions.note(
            connection,
            year,
            made_from=made_from,
            given=given,
            written=writes,
            person=person,
            now=now,
        )
    return Made(
        draft=draft,
        before=before,
        folder=folder,
        left=left,
        row=as_csv(draft.stored),
        written=writes,
        notes=[*_period_note(draft.stored, before), *notes(draft.stored, now=now)],
    )


def change(
    pipeline: Pipeline,
    year: int,
    *,
    given: Mapping[str, str],
    writes: bool,
    person: str,
    now: datetime,
) -> str:
    """Change settings of an edition that is there; the edition as lines of editions.csv.

    As `make` where the statistics are somebody else's. A run that is open keeps what it has.
    """
    changed = with_settings(source.stored_edition(pipeline.statistics, year), given)
    table = schema.editions
    values = _values(changed)
    with pipeline.ledger.write() as connection:
        if writes:
            connection.execute(sa.update(table).where(table.c.year == year).values(**values))
        editions.note(
            connection,
            year,
            made_from=None,
            given=given,
            written=writes,
            person=person,
            now=now,
        )
    return as_csv(changed)


def copied(before: StoredEdition, year: int, given: Mapping[str, str]) -> Draft:
    """The edition of `year` with an earlier one's settings, and what was `given` instead.

    The letter's date moves to the same weekday nearest to its day in the new year; the other dates
    keep their distance from it, as times do on a clock in London. The period moves by whole years.
    Raises Refused for what cannot be.
    """
    if year == before.year:
        raise Refused(f"The edition of {year} cannot be made from itself; name another year.")
    year = _read("year", str(year))
    values = _parsed(given, before.facts)
    how = dict.fromkeys(SETTINGS, How.CARRIED)
    letter_date = values.get("letter_date") or _same_weekday(before.letter_date, year - before.year)
    by = letter_date - before.letter_date
    moved: dict[str, Any] = {
        "letter_date": letter_date,
        "published_on": before.published_on + by,
        "period_start": _years_on(before.period_start, year - before.year),
        "period_end": _years_on(before.period_end + _DAY, year - before.year) - _DAY,
    }
    if before.prepare_on is not None:
        moved["prepare_on"] = before.prepare_on + by
    if before.dispatch_at is not None:
        there = before.dispatch_at.astimezone(LONDON)
        moved["dispatch_at"] = datetime.combine(
            there.date() + by, there.time(), tzinfo=LONDON
        ).astimezone(UTC)
    how |= dict.fromkeys(moved, How.MOVED)
    how |= {f"{_FACT}{name}": How.CARRIED for name in before.facts}
    how |= dict.fromkeys(given, How.SET)
    draft = replace(before, year=year, **{**moved, **values})
    _refuse_contradictions(draft)
    facts = how.pop("facts")
    how = {name: one for name, one in how.items() if not name.startswith(_FACT)} | {
        name: how.get(name, facts) if facts is How.CARRIED else How.SET
        for name in (f"{_FACT}{fact}" for fact in draft.facts)
    }
    return Draft(stored=draft, how=how)


def with_settings(before: StoredEdition, given: Mapping[str, str]) -> StoredEdition:
    """The same edition with what was `given`. Raises Refused for what cannot be."""
    changed = replace(before, **_parsed(given, before.facts))
    _refuse_contradictions(changed)
    return changed


def notes(stored: StoredEdition, *, now: datetime, begun: bool = False) -> list[str]:
    """What looks odd about an edition, in whole sentences; `begun` if it has a run.

    What `letters check YEAR` says of it; and what a schedule that runs will do with it at once.
    """
    full = stored.in_full()
    odd = [f"{one.found} {one.fix}" for one in look_at(full, now=now, begun=True)]
    if begun:
        return odd
    sent, made = full.dispatch_at.astimezone(LONDON), full.prepare_on
    if sent <= now:
        odd.append(
            f"The letters are to be sent on {long_date(sent.date())} at {sent:%H:%M}, which is in"
            " the past. Where letters serve or letters tick runs, it begins at its next look if"
            " that is no more than schedule.catch_up_days ago, and else notes that it was missed."
            " Set another letter_date or dispatch_at."
        )
    elif made <= now.astimezone(LONDON).date():
        odd.append(
            f"The letters are to be made on {long_date(made)}, which is"
            f" {'today' if made == now.astimezone(LONDON).date() else 'in the past'}. Where letters"
            " serve or letters tick runs, it opens the run at its next look, with what data there"
            " are by then. To have more time, set prepare_on."
        )
    return odd


def _period_note(stored: StoredEdition, before: StoredEdition) -> Iterator[str]:
    """Whether the period begins elsewhere than where the year before ended."""
    follows = before.period_end + _DAY
    if stored.year != before.year + 1 or stored.period_start == follows:
        return
    late = stored.period_start > follows
    what = "are counted in neither year" if late else "are counted in both years"
    first, last = sorted((stored.period_start, follows))
    yield (
        f"The period of {before.year} ends on {long_date(before.period_end)} and that of "
        f"{stored.year} begins on {long_date(stored.period_start)}: cases from {long_date(first)} "
        f"to {long_date(last - _DAY)} {what}."
    )


def as_csv(stored: StoredEdition) -> str:
    """The edition as editions.csv has it: the headings and one line."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerow(_cell(getattr(stored, name)) for name in _COLUMNS)
    return text.getvalue()


def _cell(value: Any) -> str:
    match value:
        case None:
            return ""
        case datetime():
            return f"{value.astimezone(LONDON):%Y-%m-%dT%H:%M}"
        case date():
            return value.isoformat()
        case int() | str():
            return str(value)
        case _:
            return json.dumps(value, ensure_ascii=False)


def _values(stored: StoredEdition) -> dict[str, Any]:
    """As the table's columns take them."""
    values = {name: getattr(stored, name) for name in _COLUMNS}
    return values | {
        "signatory_posts": list(stored.signatory_posts),
        "facts": dict(stored.facts),
    }


def _insert(db: Database, connection: sa.Connection, stored: StoredEdition) -> bool:
    """Whether the edition was not there, and now is."""
    table = schema.editions
    done = connection.scalar(
        db.insert(table)
        .values(**_values(stored))
        .on_conflict_do_nothing(index_elements=["year"])
        .returning(table.c.year)
    )
    return done is not None


def _there_already(year: int) -> str:
    return (
        f"There is an edition of {year} already, and it is left as it is. To see it: "
        f"letters edition {year}; to change it: letters edition {year} --set KEY=VALUE"
    )


def _parsed(given: Mapping[str, str], facts: Mapping[str, int | str]) -> dict[str, Any]:
    """The columns that are given, read as an import reads them; single facts among the others."""
    values: dict[str, Any] = {}
    single: dict[str, str] = {}
    for name, text in given.items():
        if name.startswith(_FACT):
            single[name.removeprefix(_FACT)] = text
        elif name in SETTINGS:
            values[name] = _read(name, text)
        else:
            raise Refused(_unknown(name))
    if not single:
        return values
    all_facts = dict(values.get("facts", facts))
    for name, text in single.items():
        written = text.strip(WHITE_SPACE)
        if not written:
            all_facts.pop(name, None)
            continue
        is_number = written.isascii() and written.isdecimal() and written == str(int(written))
        fact = _read("facts", json.dumps({name: int(written) if is_number else written}))
        all_facts |= fact
    return {**values, "facts": all_facts}


def _read(name: str, text: str) -> Any:
    column, written = _COLUMNS[name], text.strip(WHITE_SPACE)
    if not written:
        if not column.may_be_empty:
            raise Refused(f"{name} cannot be empty; give its value: --set {name}=VALUE")
        return column.blank
    try:
        return column.read(written)
    except Wrong as wrong:
        raise Refused(f"{name}: {wrong}") from None


def _unknown(name: str) -> str:
    meant = near(name, SETTINGS)
    did = f" Did you mean {meant}?" if meant else ""
    return (
        f"An edition has no setting {name!r}.{did} There are {', '.join(SETTINGS)}, and each fact "
        "by its name, as in facts.delegates."
    )


def _refuse_contradictions(stored: StoredEdition) -> None:
    wrong = [f"{name}: {said}" for name, said in _RELATION.check(_values(stored))]
    if wrong:
        raise Refused("\n  ".join((f"The edition of {stored.year} contradicts itself.", *wrong)))


def _years_on(day: date, years: int) -> date:
    """The day so many years on; 29 February becomes 1 March where there is none."""
    try:
        return day.replace(year=day.year + years)
    except ValueError:
        return date(day.year + years, 3, 1)


def _same_weekday(day: date, years: int) -> date:
    """The day of the same weekday that is nearest to the same day so many years on."""
    there = _years_on(day, years)
    on = (day.weekday() - there.weekday()) % _WEEK
    return there + timedelta(days=on if on <= _WEEK // 2 else on - _WEEK)


def _copy_folder(before: Stationery, configured: Path, year: int) -> Folder:
    """The older year's own template and wording, for the new year as well: all of it or nothing."""
    target = own_folder(configured, year)
    if target.exists() or target.is_symlink():
        stationery.find(configured, year)  # half a folder is refused before anything is made
        return Folder.THERE
    if not before.own:
        return Folder.NONE
    try:
        with tempfile.TemporaryDirectory(prefix=f".{year}.", dir=target.parent) as beside:
            whole = Path(beside) / target.name
            shutil.copytree(before.wording, whole)
            whole.rename(target)
    except OSError as error:
        raise Unavailable(
            f"{before.wording} cannot be copied to {target}: {error.strerror or error}. Nothing "
            "was made; let whoever runs this write there, or copy it by hand, and try again."
        ) from error
    return Folder.COPIED


def _differs(found: Run, stored: StoredEdition, ours: Stationery | None) -> list[str]:
    """What a run that is open has otherwise than it would be opened with now."""
    has, now = thawed(found.edition), stored.in_full()
    names = [
        name
        for name in Edition.__dataclass_fields__
        if _plain(getattr(has, name)) != _plain(getattr(now, name))
    ]
    if ours is None:
        return names
    try:
        names += _other_words(found, ours)
    except LettersError:
        names.append("template")  # cannot even be read: another one, certainly
    return names


def _other_words(found: Run, ours: Stationery) -> list[str]:
    from pipeline.template import read_template
    from pipeline.wording import read_wording

    names = []
    if hashlib.sha256(read_template(ours.template)).hexdigest() != found.template_sha256:
        names.append("template")
    words = read_wording(ours.wording)
    if any(found.wording[part] != getattr(words, part) for part in ("subject", "text", "html")):
        names.append("wording")
    return names


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else value
