"""The workbooks that are enclosed with a letter: one authority's cases, and nobody else's.

Written so that the same cases give the same bytes, and read back before they are trusted: every row
is this authority's, all of them are there, nothing else is in the file, and its counts are those of
the letter.
"""

import io
import re
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Any

from openpyxl import Workbook, load_workbook  # type: ignore[import-untyped]
from openpyxl.styles import Alignment, Font  # type: ignore[import-untyped]
from openpyxl.utils import get_column_letter  # type: ignore[import-untyped]
from openpyxl.worksheet.properties import PageSetupProperties  # type: ignore[import-untyped]

from pipeline.errors import LetterFault
from pipeline.letter import CASES

_ABOUT = {"decisions": "Decisions", "compliance": "Compliance with recommendations"}
_HEADS = {
    "case_reference": "Case reference",
    "received_on": "Received",
    "decided_on": "Decided",
    "category": "Category",
    "outcome": "Outcome",
    "remedied_early": "Satisfactory remedy before",
    "recorded_on": "Recorded",
}
_NARROW, _WIDE = 14, 60  # characters, of a column
_DATED = datetime(2000, 1, 1)  # noqa: DTZ001 - a workbook holds times without a zone
_FIRST_DAY = (1980, 1, 1, 0, 0, 0)  # the first that a zip file knows
_LONGEST = 32_767  # UTF-16 units that a cell holds
_ROWS = 1_048_575  # that a sheet holds below its headings
_LARGEST = 10 * 1024 * 1024  # octets; with two of these, mail systems begin to refuse a message
_NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_BEGINS_A_FORMULA = ("=", "+", "-", "@")

_PARTS = frozenset(
    {
        "[Content_Types].xml",
        "_rels/.rels",
        "docProps/app.xml",
        "docProps/core.xml",
        "xl/_rels/workbook.xml.rels",
        "xl/styles.xml",
        "xl/theme/theme1.xml",
        "xl/workbook.xml",
        "xl/worksheets/sheet1.xml",
    }
)
"""What such a file is made of: no macros, no other workbook, no connection, no second sheet, and no
words apart from those in the cells."""

Row = tuple[str | date | None, ...]


def made(kind: str, code: str, fields: Mapping[str, Any], cases: Sequence[Sequence[Any]]) -> bytes:
    """One workbook of `kind` (a key of CASES) for the authority `code`, written and proved.

    `fields` are the letter's merge fields; each case holds the columns that CASES names. Raises
    LetterFault for a case of another authority, for counts that are not the letter's, and for what
    no workbook can hold.
    """
    refuse_others(kind, code, cases)
    _refuse_other_counts(kind, fields, cases)
    data = _written(kind, fields, cases)
    prove(kind, code, cases, data)
    return data


def prove(kind: str, code: str, cases: Sequence[Sequence[Any]], data: bytes) -> None:
    """Read a workbook as whoever gets it will: it holds these cases, of `code`, and nothing else.

    Raises LetterFault, which says what it holds otherwise.
    """
    refuse_others(kind, code, cases)
    try:
        found = list(rows(kind, data))
    except LetterFault:
        raise
    except Exception as error:  # a damaged file fails in many ways, all of them here
        raise LetterFault(f"The workbook of {kind} cannot be read back: {error}") from error
    wanted = [_row(kind, one) for one in cases]
    if found == wanted:
        return
    more = [str(one[0]) for one in (Counter(found) - Counter(wanted)).elements()]
    fewer = [str(one[0]) for one in (Counter(wanted) - Counter(found)).elements()]
    raise LetterFault(
        f"The workbook of {kind} does not hold the {len(wanted):,} cases of this authority and no "
        f"others: it has {len(found):,} rows. "
        + (f"Not among the cases: {_some(more)}. " if more else "")
        + (f"Not in the workbook as they were pulled: {_some(fewer)}. " if fewer else "")
        + "Nothing of it is sent; make the letter again."
    )


def refuse_others(kind: str, code: str, cases: Sequence[Sequence[Any]]) -> None:
    """Raise LetterFault if any of the cases is another authority's, or is there twice."""
    strangers = {str(one[-1]) for one in cases} - {code}
    if strangers:
        raise LetterFault(
            f"Among the {kind} to be enclosed are cases of another authority "
            f"({_some(sorted(strangers))}); nothing of them may be sent to this one. They were "
            "its own when they were pulled, so somebody has changed the ledger: find out who, "
            "and begin the run anew."
        )
    twice = [name for name, times in Counter(str(one[0]) for one in cases).items() if times > 1]
    if twice:
        raise LetterFault(
            f"Among the {kind} to be enclosed are cases that are there twice: {_some(twice)}. "
            "Leave one row of each where the statistics come from."
        )


def rows(kind: str, data: bytes) -> Iterator[Row]:
    """The rows of a workbook below its headings, as they are shown: words, days, or nothing.

    Raises LetterFault for a file that holds anything that such a workbook does not.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as package:
        names = package.namelist()
        others = sorted(set(names) - _PARTS) or [one for one in names if names.count(one) > 1]
        if others:
            raise LetterFault(f"The workbook of {kind} holds what none does: {_some(others)}.")
        linked = [one for one in names if b'TargetMode="External"' in package.read(one)]
    if linked:
        raise LetterFault(f"The workbook of {kind} links to something outside ({linked[0]}).")
    book = load_workbook(io.BytesIO(data))
    try:
        sheets = book.worksheets
        if len(book.sheetnames) != 1 or not sheets or sheets[0].sheet_state != "visible":
            raise LetterFault(f"The workbook of {kind} has sheets that do not show.")
        sheet = sheets[0]
        hidden = any(
            one.hidden
            for one in (*sheet.row_dimensions.values(), *sheet.column_dimensions.values())
        )
        if hidden or len(book.defined_names) > 0:
            raise LetterFault(f"The workbook of {kind} has rows, columns or names that are hidden.")
        columns = CASES[kind][:-1]
        heads = tuple(_HEADS[name] for name in columns)
        shown: list[Row] = []
        for at, row in enumerate(sheet.iter_rows(), start=1):
            for cell in row:
                if cell.data_type not in ("s", "d", "n") or cell.hyperlink or cell.comment:
                    raise LetterFault(
                        f"The workbook of {kind} holds a formula, a link or a note in "
                        f"{cell.coordinate}."
                    )
            shown.append(tuple(_shown(cell.value) for cell in row))
            if at == 1 and shown[0] != heads:
                raise LetterFault(f"The workbook of {kind} has other headings: {shown[0]}.")
    finally:
        book.close()
    yield from shown[1:]


def _shown(value: Any) -> str | date | None:
    match value:
        case None | str():
            return value
        case datetime():
            return value.date()
        case _:
            return repr(value)  # which is in no row of ours


def _row(kind: str, case: Sequence[Any]) -> Row:
    """One case as it is shown."""
    values = dict(zip(CASES[kind][:-1], case, strict=False))
    return tuple(_told(name, value, values) for name, value in values.items())


def _told(name: str, value: Any, case: Mapping[str, Any]) -> str | date | None:
    if name == "remedied_early":  # a question of complaints that were upheld alone
        return None if case["outcome"] != "upheld" else "Yes" if value else "No"
    if value is None or value == "":
        return None
    if name.endswith("_on"):
        return _day(name, value, case)
    if name == "outcome":
        return str(value).replace("_", " ").capitalize()
    # XML knows one end of a line.
    text = str(value).replace("\r\n", "\n").replace("\r", "\n")
    if len(text.encode("utf-16-le", "surrogatepass")) > 2 * _LONGEST or _NOT_IN_XML.search(text):
        raise LetterFault(
            f"The case {_some([str(case['case_reference'])])} holds in {name} what no workbook can "
            f"hold, a control character or more than {_LONGEST:,} characters: "
            f"{text[:60]!a}. Correct it where the statistics come from."
        )
    return text


def _day(name: str, value: Any, case: Mapping[str, Any]) -> date:
    try:
        found = date.fromisoformat(str(value))
    except ValueError:
        found = date.min
    if found.year < _DATED.year - 100:  # days that a workbook does not know
        raise LetterFault(
            f"The case {_some([str(case['case_reference'])])} has no date in {name} but "
            f"{str(value)[:40]!r}; correct it where the statistics come from."
        )
    return found


def _written(kind: str, fields: Mapping[str, Any], cases: Sequence[Sequence[Any]]) -> bytes:
    if len(cases) > _ROWS:
        raise LetterFault(f"There are {len(cases):,} {kind} to enclose, and a sheet has {_ROWS:,}.")
    heads = tuple(_HEADS[name] for name in CASES[kind][:-1])  # whose they are is in the title
    told = [_row(kind, one) for one in cases]
    book = Workbook()
    about = book.properties
    about.title = (
        f"{_ABOUT[kind]}: {fields['authority']}, {fields['period_start']} to {fields['period_end']}"
    )
    about.subject = f"Enclosed with the Annual Review letter {fields['letter_year']}"
    about.creator, about.language = str(fields["signatory"]), "en-GB"
    about.created = about.modified = _DATED
    sheet = book.active
    sheet.title = kind.capitalize()
    for column, (head, values) in enumerate(
        zip(heads, zip(*told, strict=True) if told else ((),) * len(heads), strict=True), start=1
    ):
        _write_column(sheet, column, head, values)
    sheet.freeze_panes = "A2"
    sheet.auto_filter.ref = f"A1:{get_column_letter(len(heads))}{len(cases) + 1}"
    sheet.print_title_rows = "1:1"
    sheet.page_setup.orientation, sheet.page_setup.paperSize = "landscape", sheet.PAPERSIZE_A4
    sheet.sheet_properties.pageSetUpPr = PageSetupProperties(fitToPage=True)
    sheet.page_setup.fitToHeight = 0  # as many pages as there are, each as wide as the table
    written = io.BytesIO()
    book.save(written)
    data = _dated(written.getvalue())
    if len(data) > _LARGEST:
        raise LetterFault(
            f"The workbook of {kind} has {len(data) / 1024 / 1024:,.0f} MB; with more than "
            f"{_LARGEST // 1024 // 1024} MB many mail systems refuse it. Let the edition enclose "
            "less."
        )
    return data


def _write_column(sheet: Any, column: int, head: str, values: Sequence[str | date | None]) -> None:
    cell = sheet.cell(row=1, column=column, value=head)
    top = Alignment(vertical="top", wrap_text=True)
    cell.font, cell.alignment = Font(name="Calibri", size=11, bold=True), top
    widest = _NARROW
    for at, value in enumerate(values, start=2):
        if value is None:
            continue
        cell = sheet.cell(row=at, column=column)
        cell.value, cell.alignment = value, top
        if isinstance(value, str):
            cell.data_type = "s"  # words stay words, also where they begin as a formula does
            cell.number_format = "@"
            cell.quotePrefix = value.startswith(_BEGINS_A_FORMULA)
            widest = max(widest, *(len(line) + 2 for line in value.split("\n")))
        else:
            cell.number_format = "d mmmm yyyy"
            widest = max(widest, len("30 September 2020") + 2)
    sheet.column_dimensions[get_column_letter(column)].width = min(widest, _WIDE)


def _dated(data: bytes) -> bytes:
    """The same workbook with the times taken out that it was saved at."""
    written = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(data)) as book,
        zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as fixed,
    ):
        for name in sorted(book.namelist(), key=lambda name: (name != "[Content_Types].xml", name)):
            part = book.read(name)
            if name == "docProps/core.xml":
                part = _without_times(part)
            info = zipfile.ZipInfo(name, _FIRST_DAY)
            info.compress_type = zipfile.ZIP_DEFLATED
            fixed.writestr(info, part)
    return written.getvalue()


def _without_times(part: bytes) -> bytes:
    return re.sub(
        rb"(<dcterms:(?:created|modified)[^>]*>)[^<]*", rb"\g<1>2000-01-01T00:00:00Z", part
    )


def _refuse_other_counts(
    kind: str, fields: Mapping[str, Any], cases: Sequence[Sequence[Any]]
) -> None:
    """The letter and what is enclosed count the same cases, or one of them is wrong."""
    of = {name: at for at, name in enumerate(CASES[kind])}
    outcomes = Counter(str(one[of["outcome"]]) for one in cases)
    if kind == "decisions":
        early = sum(
            bool(one[of["remedied_early"]]) for one in cases if one[of["outcome"]] == "upheld"
        )
        counted = {
            "upheld.part": outcomes["upheld"],
            "upheld.whole": outcomes["upheld"] + outcomes["not_upheld"],
            "remedy.part": early,
            "remedy.whole": outcomes["upheld"],
        }
    else:
        counted = {
            "compliance.part": outcomes["complied"] + outcomes["complied_late"],
            "compliance.whole": outcomes.total(),
        }
    for name, number in counted.items():
        panel, _, what = name.partition(".")
        printed = int(str(fields[panel][what]).replace(",", ""))
        if printed != number:
            raise LetterFault(
                f"The letter counts {printed:,} ({name}), and the {kind} to be enclosed have "
                f"{number:,}; they were pulled together, so one of them was changed since."
            )


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(one if one.isprintable() else ascii(one) for one in names[:5])
    return f"{shown} and {len(names) - 5:,} more" if len(names) > 5 else shown
