"""What somebody may supply: CSV files and workbooks, good ones and some that are not."""

import csv
import io
import os
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from openpyxl import Workbook  # type: ignore[import-untyped]

GOOD: Mapping[str, Mapping[str, str]] = {
    "authorities": {
        "code": "E07000243",
        "name": "Stevenage Borough Council",
        "kind": "district",
        "noun": "Council",
        "active_from": "",
        "active_to": "",
        "successor_code": "",
    },
    "officers": {
        "authority_code": "E07000243",
        "role": "chief_executive",
        "honorific": "Mr",
        "given_name": "",
        "family_name": "Partridge",
        "post": "Chief Executive",
        "email": "chief.executive@stevenage.gov.example",
        "active_from": "",
        "active_to": "",
    },
    "decisions": {
        "case_reference": "19 001 234",
        "authority_code": "E07000243",
        "received_on": "2019-06-01",
        "decided_on": "2019-11-05",
        "category": "Housing",
        "outcome": "upheld",
        "remedied_early": "0",
    },
    "compliance": {
        "case_reference": "18 009 999",
        "authority_code": "E07000243",
        "recorded_on": "2019-12-01",
        "outcome": "complied",
    },
    "remarks": {
        "year": "2020",
        "authority_code": "E07000243",
        "position": "1",
        "text": "Thank you for attending our seminar.",
    },
    "editions": {
        "year": "2020",
        "letter_date": "2020-07-22",
        "published_on": "2020-07-29",
        "period_start": "2019-04-01",
        "period_end": "2020-03-31",
        "signatory": "Michael King",
        "signatory_posts": '["Local Government and Social Care Ombudsman"]',
        "facts": '{"delegates": 178}',
        "copied_roles": '["link_officer"]',
        "prepare_on": "",
        "dispatch_at": "",
    },
    "published_averages": {
        "year": "2020",
        "kind": "district",
        "measure": "upheld",
        "percent": "45",
    },
}
"""One good row of every file or sheet; a test changes what it is about."""

Sheets = Mapping[str, Sequence[Sequence[Any]]]
"""The rows of each sheet, its first row included."""


def write(folder: Path, name: str, rows: Sequence[Mapping[str, str]]) -> Path:
    """Write a CSV file as a spreadsheet program does: BOM and CRLF."""
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    path = folder / f"{name}.csv"
    path.write_bytes(b"\xef\xbb\xbf" + out.getvalue().encode())
    return path


def good(folder: Path, *names: str) -> None:
    """Write files with their one good row: those that are named, or all."""
    for name in names or GOOD:
        write(folder, name, [GOOD[name]])


def sheet(name: str, *changes: Mapping[str, Any]) -> list[list[Any]]:
    """The rows of one sheet: the columns, and the good row once with each of `changes`."""
    row = GOOD[name]
    return [list(row), *([{**row, **change}[column] for column in row] for change in changes)]


def book(path: Path, sheets: Sheets, edit: Callable[[Any], object] = lambda _book: None) -> Path:
    """A workbook with these sheets; `edit` may change it before it is saved."""
    workbook = Workbook()
    workbook.remove(workbook.active)
    for title, rows in sheets.items():
        made = workbook.create_sheet(title)
        for row in rows:
            made.append(["" if cell is None else cell for cell in row])
    edit(workbook)
    workbook.save(path)
    return path


def good_book(path: Path, **changes: Mapping[str, Any]) -> Path:
    """A workbook with all sheets; `changes` are those of the one row of a sheet."""
    return book(path, {name: sheet(name, changes.get(name, {})) for name in GOOD})


def repacked(path: Path, change: Callable[[str, bytes], bytes]) -> Path:
    """The same package with each part as `change` makes it from its name and bytes."""
    with zipfile.ZipFile(path) as archive:
        parts = {part: archive.read(part) for part in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for part, data in parts.items():
            archive.writestr(part, change(part, data))
    return path


def with_shared_strings(path: Path) -> Path:
    """The same workbook with its texts in a part of their own, where Excel keeps them."""
    strings: list[bytes] = []

    def share(found: re.Match[bytes]) -> bytes:
        strings.append(found[2])
        return found[1] + b't="s"><v>%d</v></c>' % (len(strings) - 1)

    def change(part: str, data: bytes) -> bytes:
        if part.startswith("xl/worksheets/"):
            inline = rb'(<c r="\w+" )t="inlineStr"><is>(<t.*?</t>)</is></c>'
            return re.sub(inline, share, data)
        return data

    repacked(path, change)
    listed = b"".join(b"<si>%s</si>" % one for one in strings)
    spoken = b"http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    table = b'<sst xmlns="%s">%s</sst>' % (spoken, listed)
    kind = b"application/vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml"
    override = b'<Override PartName="/xl/sharedStrings.xml" ContentType="%s"/></Types>' % kind
    repacked(path, lambda _part, data: data.replace(b"</Types>", override))
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/sharedStrings.xml", table)
    return path


@contextmanager
def unreadable(path: Path) -> Iterator[None]:
    """As long as this lasts, nobody may read `path`: for root that takes being somebody else."""
    mode = path.stat().st_mode
    path.chmod(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)
        path.chmod(mode)
