"""A year's settings: as they stand, and as they were made from an earlier year's."""

import sys
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from pipeline.display.console import LONDON, counted, harmless, out, say
from pipeline.edition import SETTINGS, Draft, Folder, How, Made, View
from pipeline.source import StoredEdition
from pipeline.stationery import needed

_ORDER = (
    "letter_date",
    "published_on",
    "period_start",
    "period_end",
    "prepare_on",
    "dispatch_at",
    "signatory",
    "signatory_posts",
    "copied_roles",
    "enclosures",
)
_FACT = "facts."
_USUAL = ("prepare_on", "dispatch_at")


def print_view(seen: View) -> None:
    """An edition as it stands, what is left to look at, and how its run stands to it."""
    year = seen.stored.year
    say(out, f"The edition of {year}", style="bold")
    if seen.making is not None:
        made = seen.making
        say(out, f"Made from that of {made.made_from} by {made.person}, {_day(made.at)}.")
    out.print()
    left = seen.carried.facts if seen.carried else []
    table = _table("Setting", str(year), *(["To be looked at"] if left else []))
    for name in _names(seen.stored):
        is_left = name.startswith(_FACT) and name.removeprefix(_FACT) in left
        mark = [Text(f"still {seen.carried.year}'s", "yellow")] if seen.carried and is_left else []
        table.add_row(name, _shown(seen.stored, name), *mark)
    out.print(table)
    out.print()
    _print_words(seen)
    for note in seen.notes:
        say(out, f"Note: {note}", style="yellow")
    _print_left(seen)
    _print_run(seen)


def print_made(made: Made) -> None:
    """A new edition beside the one it was made from, and what to do next."""
    year, before = made.draft.stored.year, made.before.year
    say(out, f"The edition of {year}, from that of {before}", style="bold")
    out.print()
    table = _table("Setting", str(year), str(before))
    for name in _names(made.draft.stored):
        table.add_row(name, _shown(made.draft.stored, name), _was(made, name))
    out.print(table)
    out.print()
    for note in made.notes:
        say(out, f"Note: {note}", style="yellow")
    say(out, _folder(made))
    if said := _left_behind(made):
        say(out, said)
    out.print()
    if not made.written:
        _print_row(year, made.row)
    say(out, "What to do next:", style="bold")
    for number, step in enumerate(_steps(made), start=1):
        say(out, f"{number}. {step}", indent=2)


def print_changed(year: int, given: Mapping[str, str], row: str, seen: View | None) -> None:
    """What was changed, and what that means for a run that is open."""
    if seen is None:
        _print_row(year, row)
        return
    say(out, f"The edition of {year} is changed.", style="bold")
    out.print()
    table = _table("Setting", str(year))
    for name in _names(seen.stored):
        if name in given or (name.startswith(_FACT) and "facts" in given):
            table.add_row(name, _shown(seen.stored, name))
    for name in given:
        if name.startswith(_FACT) and name.removeprefix(_FACT) not in seen.stored.facts:
            table.add_row(name, Text("taken away"))
    out.print(table)
    out.print()
    for note in seen.notes:
        say(out, f"Note: {note}", style="yellow")
    _print_left(seen)
    _print_run(seen)


def view_facts(seen: View) -> dict[str, Any]:
    """The same for scripts: plain values."""
    made, found, words = seen.making, seen.run, seen.stationery
    return {
        **_plain(seen.stored),
        "usual": [name for name in _ORDER if getattr(seen.stored, name) is None],
        "made": made
        and {
            "from": made.made_from,
            "by": made.person,
            "at": made.at.isoformat(timespec="seconds"),
        },
        "still_to_be_looked_at": seen.carried.facts if seen.carried else [],
        "template": str(words.template) if words else None,
        "wording": str(words.wording) if words else None,
        "own_folder": words.own if words else None,
        "template_fault": seen.stationery_fault,
        "phase": seen.phase,
        "run": found
        and {
            "opened_at": found.opened_at.isoformat(timespec="seconds"),
            "opened_by": found.opened_by,
            "template_sha256": found.template_sha256,
            "differs": list(seen.differs),
        },
        "notes": list(seen.notes),
    }


def made_facts(made: Made) -> dict[str, Any]:
    """What was made, for scripts."""
    return {
        **_plain(made.draft.stored),
        "from": made.before.year,
        "how": dict(made.draft.how),
        "still_to_be_looked_at": _carried(made.draft),
        "folder": made.folder,
        "left": dict(made.left),
        "written": made.written,
        "csv": made.row,
        "notes": list(made.notes),
    }


def changed_facts(
    year: int, given: Mapping[str, str], row: str, seen: View | None
) -> dict[str, Any]:
    """What was changed, for scripts."""
    return {
        "year": year,
        "set": dict(given),
        "written": seen is not None,
        "csv": row,
        **(view_facts(seen) if seen else {}),
    }


def _table(*headings: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    first, *others = headings
    table.add_column(first, no_wrap=True)
    for heading in others:
        table.add_column(heading, overflow="fold")
    return table


def _names(stored: StoredEdition) -> list[str]:
    """Every setting in the order in which people ask for them, and each fact."""
    assert set(_ORDER) | {"facts"} == set(SETTINGS)  # noqa: S101 - or one would not be shown
    return [*_ORDER, *(f"{_FACT}{name}" for name in stored.facts)]


def _shown(stored: StoredEdition, name: str) -> Text:
    """A setting's value as people read it; what is usual, with that said."""
    if name.startswith(_FACT):
        value: Any = stored.facts[name.removeprefix(_FACT)]
    else:
        value = getattr(stored, name)
    usual = value is None
    if usual:
        value = getattr(stored.in_full(), name)
    match value:
        case datetime():
            told = f"{_day(value)}, {value.astimezone(LONDON):%H:%M}"
        case date():
            told = _day(value)
        case list() | tuple():
            told = "\n".join(value) or ("nothing" if name == "enclosures" else "nobody")
        case _:
            told = str(value)
    return Text(harmless(f"{told}{' (usual)' if usual else ''}"))


def _was(made: Made, name: str) -> Text:
    """What the older year has there, if that is another thing."""
    how = made.draft.how[name]
    if name in _USUAL:
        return _shown(made.before, name)  # it follows the letter's date, also where it is not set
    if how is How.CARRIED:
        is_fact = name.startswith(_FACT)
        return (
            Text(f"the same: still {made.before.year}'s", "yellow") if is_fact else Text("the same")
        )
    if name.startswith(_FACT) and name.removeprefix(_FACT) not in made.before.facts:
        return Text("not there")
    return _shown(made.before, name)


def _print_words(seen: View) -> None:
    """Where the template and the wording are that a run would be opened with now."""
    ours = seen.stationery
    if ours is None:
        say(out, harmless(seen.stationery_fault or ""), style="bold red")
        return
    *_, text, html = needed(ours.template)
    own = (
        f"which {seen.stored.year} has for itself"
        if ours.own
        else ("as every year that has no folder of its own")
    )
    say(out, f"Made with {_near(ours.template)}, {text} and {html} beside it, {own}.")


def _near(path: Path) -> str:
    """A path as short as it can be told from here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)


def _print_left(seen: View) -> None:
    if seen.carried is None or not seen.carried.facts:
        return
    first = seen.carried.facts[0]
    year = seen.stored.year
    many = counted(len(seen.carried.facts), "fact is", "facts are")
    say(
        out,
        f"{many} still {seen.carried.year}'s. To give one its value, also where that is the same: "
        f"letters edition {year} --set facts.{first}=VALUE",
        style="bold yellow",
    )


def _print_run(seen: View) -> None:
    year, found = seen.stored.year, seen.run
    if found is None:
        phase = f" ({seen.phase})" if seen.phase else ""
        say(out, f"No run of {year} is open{phase}. To look at its data: letters check {year}")
        return
    say(out, f"Its run was opened on {_day(found.opened_at)} by {found.opened_by}: {seen.phase}.")
    if seen.differs:
        say(
            out,
            f"The run keeps what it was opened with, which differs in {_listed(seen.differs)}. To "
            f"take it in, while nobody has approved and nothing has gone: letters refresh {year}",
            style="bold yellow",
        )


def _print_row(year: int, row: str) -> None:
    """The row as it stands, whatever the width of the terminal: it is to be copied."""
    say(
        out,
        "The statistics are in another database (source.url), which this program only reads: "
        f"nothing was written there. Give the edition of {year} to whoever keeps them, as "
        "editions.csv has it:",
        style="bold yellow",
    )
    out.print()
    sys.stdout.write(f"{harmless(row)}\n")


def _folder(made: Made) -> str:
    year, before = made.draft.stored.year, made.before.year
    match made.folder:
        case Folder.COPIED:
            return f"Template and wording were copied: templates/{before} to templates/{year}."
        case Folder.THERE:
            return f"templates/{year} was there already, and is left as it is."
        case Folder.NONE:
            return (
                f"{before} has no template and wording of its own, so {year} is made with those "
                f"that every year has. For other words in {year} alone: a folder templates/{year}."
            )


def _left_behind(made: Made) -> str:
    averages = made.left["published_averages"]
    remarks = made.left["remarks"]
    parts = [
        *([counted(averages, "published average")] if averages else []),
        *([counted(remarks, "remark")] if remarks else []),
    ]
    if not parts:
        return ""
    are = "are" if averages + remarks > 1 else "is"
    return (
        f"Not taken over, as {'they are' if are == 'are' else 'it is'} {made.before.year}'s own: "
        f"{_listed(parts)}."
    )


def _steps(made: Made) -> list[str]:
    year, facts = made.draft.stored.year, _carried(made.draft)
    if not made.written:
        first = ["Give the row above to whoever keeps the statistics."]
        if facts:
            first[:0] = [f"Put {year}'s values of the facts into the row: {_listed(facts)}."]
        data = "See that the new year's data are in the views."
    else:
        first = []
        if facts:
            first = [
                f"Give each fact that is still {made.before.year}'s its value: "
                f"letters edition {year} --set facts.{facts[0]}=VALUE"
            ]
        data = "Bring the new year's data in: letters import FOLDER"
    return [
        *first,
        data,
        f"Look at the template and the wording of {year}.",
        f"See what is missing: letters check {year}",
    ]


def _carried(draft: Draft) -> list[str]:
    return [
        name.removeprefix(_FACT)
        for name, how in draft.how.items()
        if name.startswith(_FACT) and how is How.CARRIED
    ]


def _plain(stored: StoredEdition) -> dict[str, Any]:
    full = stored.in_full()
    values: dict[str, Any] = {"year": stored.year}
    for name in (*_ORDER, "facts"):
        value = getattr(full, name)
        match value:
            case datetime():
                values[name] = value.astimezone(LONDON).isoformat(timespec="minutes")
            case date():
                values[name] = value.isoformat()
            case tuple():
                values[name] = list(value)
            case _:
                values[name] = value
    return values


def _listed(names: Sequence[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def _day(day: date) -> str:
    there = day.astimezone(LONDON) if isinstance(day, datetime) else day
    return f"{there:%a} {there.day} {there:%B %Y}"
