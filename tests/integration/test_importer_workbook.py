"""Workbooks into real databases: what is taken, what is refused, and in which words."""

import hashlib
import os
import re
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import openpyxl  # type: ignore[import-untyped]
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl.utils.datetime import CALENDAR_MAC_1904  # type: ignore[import-untyped]
from openpyxl.xml import functions  # type: ignore[import-untyped]

from pipeline import schema
from pipeline.database import Database
from pipeline.errors import BadData, LettersError, Refused
from pipeline.importer import Counted, Loaded, Tables, import_folder, import_from, read_workbook
from pipeline.importer.package import CHUNK, PART_LIMIT, UNPACKED_LIMIT, WORKBOOK_LIMIT
from tests.supplied import (
    GOOD,
    book,
    good,
    good_book,
    repacked,
    sheet,
    unreadable,
    with_shared_strings,
    write,
)

# The times of a spreadsheet have no zone.
AT_HALF_PAST_TWO = datetime.fromisoformat("2019-11-05T14:30")
AT_NINE = datetime.fromisoformat("2020-07-22T09:00")
MIDNIGHT = datetime.fromisoformat("2020-07-22T00:00")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "book.xlsx"


def faults(path: Path) -> tuple[str, ...]:
    """The faults of a workbook that is one; a workbook that is none has a summary alone."""
    with pytest.raises(BadData) as raised:
        read_workbook(path)
    return raised.value.faults


def refusal(path: Path) -> str:
    with pytest.raises(BadData) as raised:
        read_workbook(path)
    return str(raised.value)


def attempt(path: Path) -> Tables | BadData:
    """What is in a workbook, or why nothing is."""
    try:
        return read_workbook(path)
    except BadData as bad:
        return bad


def only(path: Path, name: str, column: str, held: object) -> dict[str, Any]:
    """What becomes of the one row of a sheet, good but for one cell."""
    book(path, {name: sheet(name, {column: held})})
    (row,) = read_workbook(path).relations[name].rows
    return dict(row)


def formatted(path: Path, name: str, column: str, held: object, shape: str) -> Path:
    """A sheet whose one row has a cell with a number format."""

    def edit(made: Any) -> None:
        made[name].cell(2, list(GOOD[name]).index(column) + 1).number_format = shape

    return book(path, {name: sheet(name, {column: held})}, edit)


# What is taken --------------------------------------------------------------------------------


def test_a_workbook_gives_what_a_folder_gives(db: Database, path: Path, tmp_path: Path) -> None:
    good_book(path)
    from_sheets = read_workbook(path)
    loaded = import_from(db, path)
    assert loaded.counts == {name: Counted(added=1) for name in GOOD}
    folder = tmp_path / "data"
    folder.mkdir()
    good(folder)
    again = import_from(db, folder)
    assert again.counts == {name: Counted(unchanged=1) for name in GOOD}
    lines = {name: found.lines for name, found in from_sheets.relations.items()}
    assert lines == dict.fromkeys(GOOD, (2,))


@pytest.mark.parametrize(
    ("name", "column", "held", "taken"),
    [
        ("decisions", "decided_on", date(2019, 11, 5), date(2019, 11, 5)),
        ("decisions", "decided_on", AT_HALF_PAST_TWO, date(2019, 11, 5)),
        ("decisions", "decided_on", "2019-11-05", date(2019, 11, 5)),
        ("decisions", "case_reference", 19001234, "19001234"),
        ("decisions", "case_reference", 19001234.0, "19001234"),
        ("decisions", "remedied_early", True, True),
        ("decisions", "remedied_early", False, False),
        ("decisions", "remedied_early", 1, True),
        ("decisions", "remedied_early", None, False),
        ("published_averages", "percent", 45.0, 45),
        ("published_averages", "percent", "45", 45),
        ("remarks", "year", 2020, 2020),
        ("authorities", "code", 4711, "4711"),
        ("authorities", "active_from", "1889-04-01", date(1889, 4, 1)),
        ("authorities", "active_from", date(1900, 1, 1), date(1900, 1, 1)),
        ("authorities", "active_from", date(1900, 2, 28), date(1900, 2, 28)),
        ("authorities", "active_from", date(1900, 3, 1), date(1900, 3, 1)),
        ("authorities", "name", "King’s Lynn & “West” <Norfolk>", "King’s Lynn & “West” <Norfolk>"),
        ("officers", "family_name", "Null", "Null"),
        ("officers", "family_name", "NA", "NA"),
        ("officers", "family_name", "None", "None"),
        ("officers", "family_name", "TRUE", "TRUE"),
        ("officers", "family_name", "Llŷr ŵ", "Llŷr ŵ"),
        ("officers", "family_name", " Sia\u0302n ", "Siân"),
        ("editions", "dispatch_at", AT_NINE, datetime(2020, 7, 22, 8, tzinfo=UTC)),
        ("editions", "dispatch_at", "2020-07-22T09:00Z", datetime(2020, 7, 22, 9, tzinfo=UTC)),
        ("editions", "letter_date", MIDNIGHT, date(2020, 7, 22)),
    ],
)
def test_values_that_are_taken(
    path: Path, name: str, column: str, held: object, taken: object
) -> None:
    assert only(path, name, column, held)[column] == taken


def test_number_formats_that_say_what_is_meant(path: Path) -> None:
    formatted(path, "decisions", "case_reference", 1234, "000000")
    assert read_workbook(path).relations["decisions"].rows[0]["case_reference"] == "001234"
    formatted(path, "published_averages", "percent", 0.57, "0%")
    assert read_workbook(path).relations["published_averages"].rows[0]["percent"] == 57
    formatted(path, "editions", "dispatch_at", MIDNIGHT, "yyyy-mm-dd hh:mm")
    (row,) = read_workbook(path).relations["editions"].rows
    assert row["dispatch_at"] == datetime(2020, 7, 21, 23, tzinfo=UTC)


def test_the_calendar_of_1904(path: Path) -> None:
    def edit(made: Any) -> None:
        made.epoch = CALENDAR_MAC_1904

    book(path, {"decisions": sheet("decisions", {"decided_on": date(2019, 11, 5)})}, edit)
    assert read_workbook(path).relations["decisions"].rows[0]["decided_on"] == date(2019, 11, 5)
    book(path, {"decisions": sheet("decisions", {"decided_on": 42312})}, edit)
    (fault,) = faults(path)
    assert "where it would be 2019-11-05" in fault


def test_empty_rows_and_columns_and_the_size_a_sheet_claims(path: Path) -> None:
    def edit(made: Any) -> None:
        made["remarks"]["K900"] = " "
        made["remarks"]["K900"].number_format = "0.00"

    rows = sheet("remarks", {}, {"position": 2})
    rows.insert(0, [])
    rows.insert(2, [None, " ", None])
    rows[1] += [None, " "]
    book(path, {"remarks": rows}, edit)
    found = read_workbook(path).relations["remarks"]
    assert found.lines == (4, 5)

    def claim(_part: str, data: bytes) -> bytes:
        return re.sub(rb'<dimension ref="[^"]+"', b'<dimension ref="A1:B3"', data)

    assert read_workbook(repacked(path, claim)).relations["remarks"].lines == (4, 5)


@pytest.mark.parametrize("title", ["Remarks", "remarks ", " REMARKS"])
def test_names_of_sheets_in_any_case(path: Path, title: str) -> None:
    book(path, {title: sheet("remarks", {"year": "x"})})
    (fault,) = faults(path)
    assert fault.startswith(f"sheet {title}, cell A2 (year): ")


def test_the_name_of_a_sheet_with_a_space(path: Path) -> None:
    book(path, {"Published averages": sheet("published_averages", {})})
    assert set(read_workbook(path).relations) == {"published_averages"}


def test_sheets_beside_those_that_are_read(path: Path) -> None:
    def edit(made: Any) -> None:
        made["compliance"].sheet_state = "veryHidden"

    sheets = {
        "compliance": sheet("compliance", {}),
        "decision": sheet("decisions", {}),
        "Sheet1": [],
    }
    tables = read_workbook(book(path, sheets, edit))
    assert set(tables.relations) == {"compliance"}
    assert tables.notes == (
        "Sheet compliance is hidden, and was read.",
        "Sheet decision is ignored; did you mean decisions?",
        "Sheet Sheet1 is ignored.",
    )


def test_a_workbook_that_is_open_elsewhere_is_noted(path: Path) -> None:
    good_book(path)
    path.with_name("~$book.xlsx").write_bytes(b"somebody")
    (note,) = read_workbook(path).notes
    assert note == (
        "book.xlsx is open in a spreadsheet program; what has not been saved there was not read."
    )


def test_formats_and_pictures_that_the_parser_warns_of_do_no_harm(path: Path) -> None:
    good_book(path)

    def extend(part: str, data: bytes) -> bytes:
        if part != "xl/worksheets/sheet1.xml":
            return data
        extension = b'<extLst><ext uri="{CCE6A557-97BC-4b89-ADB6-D9C93CAAB3DF}"/></extLst>'
        return data.replace(b"</worksheet>", extension + b"</worksheet>")

    assert set(read_workbook(repacked(path, extend)).relations) == set(GOOD)


def test_many_rows(db: Database, path: Path) -> None:
    number = 2_000
    changes = [{"case_reference": n} for n in range(number)]
    sheets = {
        "authorities": sheet("authorities", {}),
        "decisions": sheet("decisions", *changes),
    }
    loaded = import_from(db, book(path, sheets))
    assert loaded.counts["decisions"] == Counted(added=number)


def test_what_was_read_is_told_and_recorded(db: Database, path: Path, tmp_path: Path) -> None:
    good_book(path)
    told: list[Loaded] = []

    def record(connection: sa.Connection, loaded: Loaded) -> None:
        count = sa.select(sa.func.count()).select_from(schema.decisions)
        assert connection.scalar(count) == 1  # within the transaction, after the rows
        told.append(loaded)

    loaded = import_from(db, path, record=record)
    assert told == [loaded]
    digest = _sha256(path)
    assert [(one.name, one.sha256) for one in loaded.sources] == [
        (f"sheet {name}", digest) for name in GOOD
    ]
    folder = tmp_path / "data"
    folder.mkdir()
    remarks = write(folder, "remarks", [GOOD["remarks"]])
    (source,) = import_folder(db, folder, record=record).sources
    assert (source.name, source.sha256) == ("remarks.csv", _sha256(remarks))
    assert len(told) == 2


def _sha256(path: Path) -> str:

    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_what_cannot_be_recorded_is_not_stored(db: Database, path: Path) -> None:
    good_book(path)

    def record(_connection: sa.Connection, _loaded: Loaded) -> None:
        raise Refused("Nobody may import today.")

    with pytest.raises(Refused):
        import_from(db, path, record=record)
    with db.read() as connection:
        for table in schema.STATISTICS:
            assert connection.execute(sa.select(table)).all() == []


# Cells that are refused ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "column", "held", "place", "words"),
    [
        ("decisions", "decided_on", "=TODAY()", "D2", "is a formula, and only values are taken"),
        ("decisions", "outcome", '=IF(1,"upheld")', "F2", "Paste Special, Values"),
        ("decisions", "outcome", "#N/A", "F2", "holds the error #N/A; put right what it comes"),
        ("decisions", "decided_on", "#VALUE!", "D2", "holds #VALUE!, an error or a number"),
        ("decisions", "decided_on", 43774, "D2", "is not a date; format the cell as a date, where"),
        ("decisions", "decided_on", 43774, "D2", "where it would be 2019-11-05"),
        ("decisions", "decided_on", -3, "D2", "type it as text, such as 2020-07-22"),
        ("decisions", "decided_on", True, "D2", "holds TRUE as a yes or no"),
        ("decisions", "decided_on", time(9, 30), "D2", "holds a time without a day"),
        ("decisions", "decided_on", timedelta(days=2), "D2", "holds a time without a day"),
        ("decisions", "decided_on", "05/11/2019", "D2", "write for example 2019-11-05."),
        ("decisions", "case_reference", date(2019, 1, 3), "A2", "holds the date 2019-01-03, which"),
        ("decisions", "case_reference", 19.01, "A2", "drops noughts at the end"),
        ("decisions", "case_reference", 1234567890123456, "A2", "more than 15 digits"),
        ("decisions", "case_reference", time(19, 1), "A2", "format the cell as text"),
        ("decisions", "remedied_early", 2, "G2", "neither 0 nor 1"),
        ("decisions", "remedied_early", "yes", "G2", "write 1"),
        ("decisions", "remedied_early", date(2019, 1, 3), "G2", "where a number is wanted"),
        ("decisions", "category", "Housing\nBenefits", "E2", "LINE FEED (U+000A)"),
        ("decisions", "category", "Hous_x000D_ing", "E2", "CARRIAGE RETURN (U+000D)"),
        ("decisions", "category", "Hous\u202eing", "E2", "RIGHT-TO-LEFT OVERRIDE (U+202E)"),
        ("decisions", "category", None, "E2", "is empty."),
        ("officers", "family_name", True, "E2", "which a spreadsheet makes of the word"),
        ("officers", "email", "Alex <a@x.example>", "G2", "holds a name beside the address"),
        ("published_averages", "percent", 45.5, "D2", "“45.5” is not a whole number"),
        ("published_averages", "percent", True, "D2", "holds TRUE as a yes or no"),
        ("remarks", "year", date(1905, 7, 12), "A2", "holds the date 1905-07-12 where a number"),
        ("editions", "dispatch_at", date(2020, 7, 22), "K2", "is not a time as"),
        ("editions", "dispatch_at", 44034.375, "K2", "holds the number 44034.375 and not a date"),
        ("editions", "facts", 178, "H2", "is not a JSON object"),
    ],
)
def test_cells_that_are_refused(
    path: Path, name: str, column: str, held: object, place: str, words: str
) -> None:
    book(path, {name: sheet(name, {column: held})})
    (fault,) = faults(path)
    assert fault.startswith(f"sheet {name}, cell {place} ({column}): ")
    assert words in fault.replace("and not a date", "is not a date") or words in fault


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (-40000, "holds a date before the first that a spreadsheet knows"),
        (3_000_000_000, "holds #VALUE!, an error or a number that is no date"),
        (0.375, "holds a time without a day"),
    ],
)
def test_dates_that_no_spreadsheet_shows(path: Path, number: float, words: str) -> None:
    formatted(path, "authorities", "active_from", number, "yyyy-mm-dd")
    (fault,) = faults(path)
    assert fault.startswith("sheet authorities, cell E2 (active_from): ")
    assert words in fault


def test_a_number_beyond_all_numbers(path: Path) -> None:
    def swell(_part: str, data: bytes) -> bytes:
        return data.replace(b"<v>1234</v>", b"<v>1E999</v>")

    book(path, {"remarks": sheet("remarks", {"position": 1234})})
    (fault,) = faults(repacked(path, swell))
    assert fault == (
        "sheet remarks, cell C2 (position): holds a number that is too large; type it again."
    )


def test_merged_cells(path: Path) -> None:
    def edit(made: Any) -> None:
        made["remarks"].merge_cells("B2:B3")
        made["compliance"].merge_cells("A5:C9")

    sheets = {
        "remarks": sheet("remarks", {}, {"position": 2}),
        "compliance": sheet("compliance", {}),
    }
    compliance, remarks, empty = faults(book(path, sheets, edit))
    assert compliance.startswith("sheet compliance, cells A5:C9: are merged")
    assert remarks.startswith("sheet remarks, cells B2:B3: are merged")
    assert remarks.endswith("unmerge them and fill in each.")
    assert empty == "sheet remarks, cell B3 (authority_code): is empty."


@pytest.mark.parametrize("before", range(-30, 10, 5))
def test_merged_cells_wherever_they_stand_in_the_part(path: Path, before: int) -> None:
    """A part is looked over in chunks, and what is looked for may lie across their border."""

    def pad(part: str, data: bytes) -> bytes:
        if not part.endswith("sheet1.xml"):
            return data
        place = data.index(b"<mergeCell ")
        start = data.index(b"<mergeCells")
        comment = b"<!--" + b" " * (CHUNK + before - place - len("<!---->")) + b"-->"
        return data[:start] + comment + data[start:]

    book(
        path,
        {"remarks": sheet("remarks", {})},
        lambda made: made["remarks"].merge_cells("A4:B9"),
    )
    (fault,) = faults(repacked(path, pad))
    assert fault.startswith("sheet remarks, cells A4:B9: are merged")


def test_what_stands_beyond_the_columns(path: Path) -> None:
    rows = sheet("remarks", {})
    rows[1] += [None, "see below"]
    (fault,) = faults(book(path, {"remarks": rows}))
    assert fault.startswith("sheet remarks, cell F2: stands beyond the columns")


@pytest.mark.parametrize(
    ("first", "words"),
    [
        ([], "sheet remarks is empty; its first row must name its columns."),
        (["year;authority_code;position;text"], "separated by semicolons; all of them stand in"),
        (["year,authority_code,position,text"], "separated by commas; all of them stand in one"),
        (["year", "authority_code", "text"], "the column position is missing"),
        (["year", None, "authority_code", "position", "text"], "row 1: column B has no name"),
        (["Remarks of 2020", None, None], "row 1: there is no column “Remarks of 2020”"),
        (["year", "authority_code", "position", "=A1"], "the name in column D must be plain text"),
        (["year", "kind", "measure", "percent"], "these are the columns of published_averages"),
        ([2020, "E07000243", 1, "Thank you."], "row 1: "),
    ],
)
def test_first_rows_that_name_no_such_table(path: Path, first: list[Any], words: str) -> None:
    (fault,) = faults(book(path, {"remarks": [first]}))
    assert words in fault
    assert fault.startswith("sheet remarks")


def test_two_sheets_for_one_relation(path: Path) -> None:
    sheets = {
        "decisions": sheet("decisions", {}),
        "decisions ": sheet("decisions", {}),
        "remarks": sheet("remarks", {"year": "x"}),
    }
    twice, year = faults(book(path, sheets))
    assert twice == (
        "sheets “decisions” and “decisions ” are both decisions; rename or delete all but one."
    )
    assert year.startswith("sheet remarks, cell A2 (year): ")


def test_a_workbook_where_no_sheet_fits(path: Path) -> None:
    book(path, {"Sheet1": [["a"]], "officer": [["b"]]})
    said = refusal(path)
    assert "holds none of the sheets authorities, officers" in said
    assert "it holds “Sheet1”, “officer”." in said
    assert "Sheet officer is ignored; did you mean officers?" in said


def test_faults_of_all_sheets_and_between_them_come_together(db: Database, path: Path) -> None:
    sheets = {
        "authorities": sheet("authorities", {"kind": "shire"}),
        "officers": sheet("officers", {"role": "boss"}, {"authority_code": "E1"}),
        "decisions": sheet("decisions", {}, {}),
    }
    with pytest.raises(BadData) as raised:
        import_from(db, book(path, sheets))
    assert [fault.split(":")[0] for fault in raised.value.faults] == [
        "sheet authorities, cell C2 (kind)",
        "sheet officers, cell B2 (role)",
        "sheet decisions, cell A3 (case_reference)",
        "sheet officers, cell A3 (authority_code)",
    ]
    assert raised.value.faults[2].endswith("19 001 234 is already in row 2; keep one of the two.")
    assert raised.value.faults[3].endswith(
        "there is no authority E1; add it to the sheet authorities."
    )
    assert raised.value.summary == f"Nothing was imported: 4 faults in {path}."


# Files that are no workbook --------------------------------------------------------------------


def _parts(path: Path, **parts: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in parts.items():
            archive.writestr(name.replace("__", "/"), text)


def _typed(kind: str) -> Callable[[Path], object]:
    """A workbook that says of itself that it is of another kind."""

    def make(path: Path) -> object:
        main = b"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"
        good_book(path)
        return repacked(path, lambda _part, data: data.replace(main, kind.encode()))

    return make


def _truncated(path: Path) -> None:
    data = good_book(path).read_bytes()
    path.write_bytes(data[: len(data) // 2])


def _flipped(path: Path) -> None:
    """One byte of a sheet's packed content is not what it was."""
    good_book(path)
    with zipfile.ZipFile(path) as archive:
        part = archive.getinfo("xl/worksheets/sheet3.xml")
        place = part.header_offset + 30 + len(part.filename) + part.compress_size // 2
    data = bytearray(path.read_bytes())
    data[place] ^= 0xFF
    path.write_bytes(data)


def _bomb(path: Path) -> None:
    """A part that says it is very long."""
    good_book(path)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/media/picture.png", b"?")
        archive.getinfo("xl/media/picture.png").file_size = UNPACKED_LIMIT


def _lying_bomb(path: Path) -> None:
    """A part that says it is short and is not."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(bytes(PART_LIMIT + 1)) + packer.flush()
    good_book(path)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/media/picture.png", b"?" * 1000)
        part = archive.getinfo("xl/media/picture.png")
        archive.fp.seek(part.header_offset)  # type: ignore[union-attr]
        archive.start_dir = part.header_offset + 30 + len(part.filename) + len(packed)
        part.compress_size = len(packed)
        head = part.FileHeader()
        archive.fp.write(head + packed)  # type: ignore[union-attr]


def _long_strings(path: Path) -> None:
    good_book(path)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/long.xml", b"<a/>")
        archive.getinfo("xl/long.xml").file_size = PART_LIMIT + 1


def _entity(path: Path) -> None:
    good_book(path)
    dtd = b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]>'

    def change(part: str, data: bytes) -> bytes:
        if part != "xl/worksheets/sheet3.xml":
            return data
        return dtd + data.replace(b"Housing", b"&b;")

    repacked(path, change)


def _entity_in_strings(path: Path) -> None:
    with_shared_strings(good_book(path))
    dtd = b'<!DOCTYPE sst [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
    repacked(path, lambda part, data: dtd + data if part == "xl/sharedStrings.xml" else data)


def _strict(path: Path) -> None:
    good_book(path)
    plain = b"http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    strict = b"http://purl.oclc.org/ooxml/spreadsheetml/main"
    repacked(path, lambda _part, data: data.replace(plain, strict))


def _locked(path: Path) -> None:
    good_book(path)
    data = bytearray(path.read_bytes())
    place = data.rindex(b"PK\x01\x02")
    while place >= 0:
        (flags,) = struct.unpack_from("<H", data, place + 8)
        struct.pack_into("<H", data, place + 8, flags | 1)
        place = data.rfind(b"PK\x01\x02", 0, place)
    path.write_bytes(data)


OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)
_CSV = "year,authority_code,position,text\n2020,E1,1,Hello\n"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path.touch(), "is empty; copy it again"),
        (lambda path: path.write_text(_CSV), "is not a workbook, but text named like one"),
        (lambda path: path.write_text("<html><table>"), "a web page or XML named like one"),
        (lambda path: path.write_bytes(bytes(range(256)) * 9), "is not a workbook; open it"),
        (_truncated, "is cut short or damaged"),
        (_flipped, "is cut short or damaged"),
        (_bomb, "unpacks to more than 536 MB"),
        (_lying_bomb, "is cut short or damaged"),
        (_long_strings, "has a part, xl/long.xml, of more than 67 MB"),
        (_entity, "has a document type or entity in its part xl/worksheets/sheet3.xml"),
        (_entity_in_strings, "has a document type or entity in its part xl/sharedStrings.xml"),
        (_strict, "is saved as “Strict Open XML”"),
        (_locked, "is packed with a password"),
        (
            lambda path: path.write_bytes(OLE + "EncryptedPackage".encode("utf-16-le")),
            "is protected by a password",
        ),
        (
            lambda path: path.write_bytes(OLE + "Workbook".encode("utf-16-le")),
            "is of the old Excel format (.xls)",
        ),
        (
            lambda path: _parts(path, mimetype="application/vnd.oasis.opendocument.spreadsheet"),
            "is an OpenDocument spreadsheet (.ods)",
        ),
        (lambda path: _parts(path, **{"decisions.csv": "a"}), "is a zip archive that holds no"),
        (_typed("application/vnd.ms-excel.sheet.binary.macroEnabled.main"), "(.xlsb)"),
        (_typed("application/vnd.ms-excel.sheet.macroEnabled.main+xml"), "with macros (.xlsm)"),
        (
            _typed(
                "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"
            ),
            "is a Word document",
        ),
        (lambda path: _parts(path, **{"[Content_Types].xml": "<a"}), "its list of contents cannot"),
    ],
)
def test_files_that_are_no_workbook(path: Path, make: Callable[[Path], object], words: str) -> None:
    make(path)
    said = refusal(path)
    assert said.startswith(f"{path} ")
    assert words in said
    assert said.endswith(".")
    assert "\n" not in said


def test_a_workbook_over_the_limit(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(WORKBOOK_LIMIT + 1)  # sparse: takes no room
    assert "is 134 MB long; at most 134 MB of a workbook are read" in refusal(path)


@pytest.mark.parametrize(
    ("part", "old", "new"),
    [
        ("xl/worksheets/sheet1.xml", b"</sheetData>", b"</sheetDate>"),
        ("xl/worksheets/sheet1.xml", b'r="A2"', b'r="2A2"'),
        ("xl/worksheets/sheet1.xml", b'r="A2"', b'r="ZZZZ2"'),
        ("xl/worksheets/sheet1.xml", b'<row r="2"', b'<row r="two"'),
        ("xl/worksheets/sheet1.xml", b"<v>0</v>", b"<v>888888</v>"),
        ("xl/workbook.xml", b"<sheets>", b"<sheats>"),
        ("xl/workbook.xml", b"</workbook>", b""),
        ("xl/styles.xml", b"<cellXfs", b"<cellXfz"),
        ("xl/sharedStrings.xml", b"</sst>", b""),
        ("xl/_rels/workbook.xml.rels", b"Target", b"Tarket"),
    ],
)
def test_a_workbook_whose_parts_do_not_fit(path: Path, part: str, old: bytes, new: bytes) -> None:
    def change(name: str, data: bytes) -> bytes:
        return data.replace(old, new, 1) if name == part else data

    said = refusal(repacked(with_shared_strings(good_book(path)), change))
    assert "is damaged" in said
    assert "save it as “Excel Workbook (.xlsx)”" in said


@lru_cache
def _bytes_of_a_book() -> bytes:
    """Always the same: a new one would have the time in it."""
    with tempfile.TemporaryDirectory() as folder:
        return with_shared_strings(good_book(Path(folder, "book.xlsx"))).read_bytes()


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_no_bytes_break_the_reader(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("bytes") / "book.xlsx"
    whole = bytearray(_bytes_of_a_book())
    for place in data.draw(st.lists(st.integers(0, len(whole) - 1), min_size=1, max_size=4)):
        whole[place] = data.draw(st.integers(0, 255))
    path.write_bytes(whole)
    match attempt(path):
        case BadData() as bad:
            assert str(bad).startswith((f"{path} ", "Nothing was imported"))
        case tables:
            assert set(tables.relations) <= set(GOOD)


def test_parsing_is_defused() -> None:
    assert openpyxl.DEFUSEDXML
    assert functions.iterparse.__module__.startswith("defusedxml")


# Paths ----------------------------------------------------------------------------------------


def _fifo(path: Path) -> Path:
    os.mkfifo(path)
    return path


def _loop(path: Path) -> Path:
    path.symlink_to(path)
    return path


def _dangling(path: Path) -> Path:
    path.symlink_to("nowhere.xlsx")
    return path


def _lock(path: Path) -> Path:
    lock = path.with_name("~$book.xlsx")
    lock.write_bytes(b"somebody")
    return lock


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path, "There is nothing at"),
        (lambda path: path / "within", "There is nothing at"),
        (_fifo, "is neither a folder nor a file"),
        (_loop, "is a link that leads back to itself"),
        (_dangling, "is a link to something that is not there"),
        (_lock, "while book.xlsx is open; close it there, and import book.xlsx."),
        (lambda path: write(path.parent, "decisions", [GOOD["decisions"]]), "is a single file"),
        (lambda path: path.with_name("n" * 300), "cannot be read: File name too long"),
    ],
)
def test_paths_that_lead_to_nothing(
    db: Database, path: Path, make: Callable[[Path], Path], words: str
) -> None:
    made = make(path)
    with pytest.raises(Refused, match=re.escape(words)):
        import_from(db, made)


def test_what_may_not_be_read(path: Path) -> None:
    """The folders above it may be traversed by root alone, or by whoever runs the tests."""
    good_book(path)
    with unreadable(path), pytest.raises(LettersError) as raised:
        import_from(Database(f"sqlite:///{path}.db"), path)
    assert str(raised.value).startswith(f"{path} cannot be read: Permission denied. ")
    with unreadable(path.parent), pytest.raises(Refused) as refused:
        import_from(Database(f"sqlite:///{path}.db"), path)
    assert str(refused.value).startswith(f"{path} cannot be read: Permission denied. Let whoever")


def test_a_folder_that_holds_a_workbook_alone(db: Database, path: Path) -> None:
    good_book(path)
    with pytest.raises(BadData) as raised:
        import_from(db, path.parent / "")
    assert any("a workbook is imported by its own name" in one for one in raised.value.faults)


# A correction ---------------------------------------------------------------------------------


def test_the_same_workbook_three_times_with_corrections(db: Database, path: Path) -> None:
    def supply(**changes: Mapping[str, Any]) -> dict[str, Counted]:
        return dict(import_from(db, good_book(path, **changes)).counts)

    assert set(supply().values()) == {Counted(added=1)}
    corrected = supply(decisions={"outcome": "not_upheld"}, officers={"family_name": "Heron"})
    assert {name for name, count in corrected.items() if count == Counted(replaced=1)} == {
        "decisions",
        "officers",
    }
    assert sum(count == Counted(unchanged=1) for count in corrected.values()) == 5
    again = supply(decisions={"outcome": "not_upheld"}, officers={"family_name": "Heron"})
    assert set(again.values()) == {Counted(unchanged=1)}
    with db.read() as connection:
        (decision,) = connection.execute(sa.select(schema.decisions)).all()
        (officer,) = connection.execute(sa.select(schema.officers)).all()
    assert (decision.outcome, officer.family_name) == ("not_upheld", "Heron")
