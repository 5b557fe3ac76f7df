"""The workbooks that are enclosed with a letter: one authority's cases, and nobody else's.

Written so that the same cases give the same bytes, and read back before they are trusted: every row
is this authority's, all of them are there, nothing in it is a formula, and its counts are those of
the letter.
"""

import io
import re
import zipfile
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

from openpyxl import Workbook, load_workbook  # type: ignore[import-untyped]
from openpyxl.styles import Font  # type: ignore[import-untyped]
from openpyxl.utils import get_column_letter  # type: ignore[import-untyped]

from pipeline.errors import LetterFault
from pipeline.letter import CASES

_SHEET = {"decisions": "Decisions", "compliance": "Compliance"}
_HEADS = {
    "case_reference": "Case reference",
    "received_on": "Received",
    "decided_on": "Decided",
    "category": "Category",
    "outcome": "Outcome",
    "remedied_early": "Remedied early",
    "recorded_on": "Recorded",
}
_WIDTH = {"case_reference": 18, "category": 34, "outcome": 36}
_DATED = datetime(2000, 1, 1)  # noqa: DTZ001 - a workbook holds times without a zone
_FIRST_DAY = (1980, 1, 1, 0, 0, 0)
_LONGEST = 32_000  # characters that a cell may hold, nearly


def made(kind: str, code: str, fields: Mapping[str, Any], cases: Sequence[Sequence[Any]]) -> bytes:
    """One workbook of `kind` (a key of CASES) for the authority `code`, written and proved.

    `fields` are the letter's merge fields; each case holds the columns that CASES names. Raises
    LetterFault for a case of another authority, for counts that are not the letter's, and for a
    value that no workbook can hold.
    """
    strangers = {str(one[-1]) for one in cases} - {code}
    if strangers:
        raise LetterFault(
            f"Among the {kind} to be enclosed are cases of another authority "
            f"({', '.join(sorted(strangers))}); nothing of them may be sent to this one. Correct "
            "authority_code there."
        )
    _refuse_other_counts(kind, fields, cases)
    data = _written(kind, fields, cases)
    _prove(kind, cases, data)
    return data


def _written(kind: str, fields: Mapping[str, Any], cases: Sequence[Sequence[Any]]) -> bytes:
    names = CASES[kind][:-1]  # whose a row is stands in the title, not in the table
    book = Workbook()
    book.properties.title = f"{_SHEET[kind]}: {fields['authority']}, {fields['period_end']}"
    book.properties.creator = str(fields["signatory"])
    book.properties.created = book.properties.modified = _DATED
    sheet = book.active
    sheet.title = _SHEET[kind]
    for column, name in enumerate(names, start=1):
        cell = sheet.cell(row=1, column=column, value=_HEADS[name])
        cell.font = Font(bold=True)
        sheet.column_dimensions[get_column_letter(column)].width = _WIDTH.get(name, 15)
    for at, case in enumerate(cases, start=2):
        for column, (name, value) in enumerate(zip(names, case, strict=False), start=1):
            _set(sheet.cell(row=at, column=column), name, value)
    sheet.freeze_panes = "A2"
    last = get_column_letter(len(names))
    sheet.auto_filter.ref = f"A1:{last}{len(cases) + 1}"
    sheet.print_title_rows = "1:1"
    written = io.BytesIO()
    book.save(written)
    return _dated(written.getvalue())


def _set(cell: Any, name: str, value: Any) -> None:
    if value is None:
        return
    if name.endswith("_on"):
        cell.value = _day(name, value)
        cell.number_format = "d mmmm yyyy"
    elif name == "remedied_early":
        _text(cell, "Yes" if value else "No")
    elif name == "outcome":
        _text(cell, str(value).replace("_", " ").capitalize())
    else:
        _text(cell, str(value))


def _text(cell: Any, text: str) -> None:
    """Words as words, also where they begin as a formula does."""
    if len(text) > _LONGEST or any(ord(sign) < 32 and sign not in "\t\n" for sign in text):
        raise LetterFault(
            f"A case to be enclosed holds a text that no workbook can hold: {text[:60]!r}. Correct "
            "it where the statistics come from."
        )
    cell.value = text
    cell.data_type = "s"


def _day(name: str, value: Any) -> date:
    try:
        return date.fromisoformat(str(value))
    except ValueError:
        raise LetterFault(
            f"A case to be enclosed has no date in {name}, but {value!r}; correct it where the "
            "statistics come from."
        ) from None


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
    outcome = CASES[kind].index("outcome")
    outcomes = [str(one[outcome]) for one in cases]
    if kind == "decisions":
        counted = {
            "upheld.part": outcomes.count("upheld"),
            "upheld.whole": outcomes.count("upheld") + outcomes.count("not_upheld"),
        }
    else:
        counted = {"compliance.whole": len(outcomes)}
    for name, number in counted.items():
        panel, _, what = name.partition(".")
        printed = int(str(fields[panel][what]).replace(",", ""))
        if printed != number:
            raise LetterFault(
                f"The letter counts {printed:,} ({name}), and the {kind} to be enclosed have "
                f"{number:,}; they were pulled together, so one of them was changed since."
            )


def _prove(kind: str, cases: Sequence[Sequence[Any]], data: bytes) -> None:
    """Read the workbook back as whoever gets it will, and hold it to the cases."""
    book = load_workbook(io.BytesIO(data))
    try:
        [sheet] = book.worksheets
        rows = list(sheet.iter_rows(min_row=2))
        found = [row[0].value for row in rows if row[0].value is not None]
        if found != [one[0] for one in cases]:
            raise LetterFault(
                f"The workbook of {kind} does not hold the {len(cases):,} cases of this authority "
                f"and no others; it has {len(found):,}."
            )
        formulas = [
            cell.coordinate for row in sheet.iter_rows() for cell in row if cell.data_type == "f"
        ]
        if formulas or sheet.sheet_state != "visible":
            raise LetterFault(f"The workbook of {kind} holds a formula in {', '.join(formulas)}.")
    finally:
        book.close()
