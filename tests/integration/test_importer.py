"""CSV folders into real databases: what is taken, what is refused, and in which words."""

import csv
import os
import re
import threading
import unicodedata
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import importer, schema, source
from pipeline.address import hidden_character
from pipeline.database import Database
from pipeline.errors import BadData, Refused
from pipeline.importer import Counted, import_folder, load, read_folder
from pipeline.importer.lines import FILE_LIMIT
from pipeline.importer.relations import RELATIONS
from pipeline.letter import compose
from tests.supplied import GOOD, good, write

PROJECT = Path(__file__).resolve().parents[2]
SAMPLE = PROJECT / "sample"


def faults(folder: Path) -> tuple[str, ...]:
    with pytest.raises(BadData) as raised:
        read_folder(folder)
    return raised.value.faults


def refused(db: Database, folder: Path, *, replace: bool = False) -> tuple[str, ...]:
    with pytest.raises(BadData) as raised:
        import_folder(db, folder, replace=replace)
    return raised.value.faults


def stored(db: Database, table: sa.Table) -> list[dict[str, Any]]:
    columns = [column for column in table.c if column.name != "id"]
    with db.read() as connection:
        rows = connection.execute(sa.select(*columns)).mappings()
        return [dict(row) for row in rows]


def only(folder: Path, file: str, column: str, written: str) -> tuple[str, ...]:
    """The faults of one file whose one row is good but for one cell."""
    write(folder, file, [{**GOOD[file], column: written}])
    return faults(folder)


def attempt(folder: Path) -> tuple[importer.Row, ...] | BadData:
    """The rows of the remarks in a folder, or why there are none."""
    try:
        return read_folder(folder).relations["remarks"].rows
    except BadData as bad:
        return bad


# Reading --------------------------------------------------------------------------------------


def test_values_are_read_as_what_they_are(tmp_path: Path) -> None:
    good(tmp_path)
    write(
        tmp_path,
        "editions",
        [{**GOOD["editions"], "prepare_on": "2020-07-01", "dispatch_at": "2020-07-22T09:00"}],
    )
    tables = read_folder(tmp_path)
    assert set(tables.relations) == set(GOOD)
    assert tables.notes == ()
    (edition,) = tables.relations["editions"].rows
    assert edition == {
        "year": 2020,
        "letter_date": date(2020, 7, 22),
        "published_on": date(2020, 7, 29),
        "period_start": date(2019, 4, 1),
        "period_end": date(2020, 3, 31),
        "signatory": "Michael King",
        "signatory_posts": ["Local Government and Social Care Ombudsman"],
        "facts": {"delegates": 178},
        "copied_roles": ["link_officer"],
        "prepare_on": date(2020, 7, 1),
        "dispatch_at": datetime(2020, 7, 22, 8, tzinfo=UTC),  # nine o'clock in London's summer
        "enclosures": None,
    }
    (decision,) = tables.relations["decisions"].rows
    assert decision["remedied_early"] is False
    assert tables.relations["decisions"].lines == (2,)


def test_columns_that_may_be_left_out(tmp_path: Path) -> None:
    optional = {
        "active_from", "active_to", "successor_code", "honorific", "noun", "copied_roles",
        "prepare_on", "dispatch_at", "facts", "remedied_early",
    }  # fmt: skip
    for name, row in GOOD.items():
        write(tmp_path, name, [{k: v for k, v in row.items() if k not in optional}])
    rows = {name: found.rows[0] for name, found in read_folder(tmp_path).relations.items()}
    assert rows["authorities"]["noun"] == "Council"
    assert rows["authorities"]["active_from"] is None
    assert rows["officers"]["honorific"] is None
    assert rows["decisions"]["remedied_early"] is False
    assert rows["editions"]["facts"] == {}
    for column in ("copied_roles", "prepare_on", "dispatch_at"):
        assert rows["editions"][column] is None  # the pull knows the defaults


def test_columns_in_any_order_and_empty_rows_and_columns(tmp_path: Path) -> None:
    (tmp_path / "compliance.csv").write_text(
        "outcome, recorded_on ,authority_code,case_reference,,\n"
        ",,,,,\n"
        "\n"
        " complied_late ,2019-05-01,E07000243,18 000 001,,\n",
        encoding="utf-8",
    )
    found = read_folder(tmp_path).relations["compliance"]
    assert [dict(row) for row in found.rows] == [
        {
            "case_reference": "18 000 001",
            "authority_code": "E07000243",
            "recorded_on": date(2019, 5, 1),
            "outcome": "complied_late",
        }
    ]
    assert found.lines == (4,)


def test_text_is_trimmed_and_composed(tmp_path: Path) -> None:
    written = {"given_name": unicodedata.normalize("NFD", " Siân\t"), "family_name": "\u00a0Null "}
    write(tmp_path, "officers", [{**GOOD["officers"], **written}])
    (row,) = read_folder(tmp_path).relations["officers"].rows
    assert (row["given_name"], row["family_name"]) == ("Siân", "Null")


def test_a_vacant_post_and_an_officer_without_address(tmp_path: Path) -> None:
    vacant = {**GOOD["officers"], "honorific": "", "family_name": ""}
    write(tmp_path, "officers", [vacant, {**vacant, "role": "leader", "post": "", "email": ""}])
    first, second = read_folder(tmp_path).relations["officers"].rows
    assert first["family_name"] is None
    assert second["email"] is None


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("alex.jones@stevenage.gov.example", "alex.jones@stevenage.gov.example"),
        ("Alex@Stevenage.GOV.Example", "Alex@stevenage.gov.example"),
        ("a@council.test", "a@council.test"),
        ("o'neill+letters@x.example", "o'neill+letters@x.example"),
        ("a@cyngor-môn.example", "a@xn--cyngor-mn-n7a.example"),
        ("  a@x.example ", "a@x.example"),
    ],
)
def test_addresses_that_are_taken(tmp_path: Path, written: str, kept: str) -> None:
    write(tmp_path, "officers", [{**GOOD["officers"], "email": written}])
    (row,) = read_folder(tmp_path).relations["officers"].rows
    assert row["email"] == kept
    assert row["email"].isascii()


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("a@x.example, b@x.example", "more than one address"),
        ("a@x.example;b@x.example", "more than one address"),
        ("a@x.example b@x.example", "more than one address"),
        ("Alex Jones <a@x.example>", "holds a name beside the address"),
        ("alex jones@x.example", "holds a space"),
        ("a@x.example\nBcc: b@x.example", "LINE FEED (U+000A)"),
        ("a@x.example\r\nBcc: b@x.example", "CARRIAGE RETURN (U+000D)"),
        ("a\u200b@x.example", "ZERO WIDTH SPACE (U+200B)"),
        ("a" * 65 + "@x.example", "is not an email address"),
        ("a@" + "x" * 64 + ".example", "is not an email address"),
        ("a@" + ("x" * 60 + ".") * 4 + "longer.example", "is not an email address"),
        ("a@[192.0.2.1]", "names a computer by number"),
        ('"alex jones"@x.example', "quoted part"),
        ('"a@b"@x.example', "quoted part"),
        ("siân@x.example", "not plain A to Z"),
        ("mailto:a@x.example", "without mailto:"),
        ("a@localhost", "is not an email address"),
        ("a@x.local", "is not an email address"),
        ("a..b@x.example", "is not an email address"),
        ("nobody", "must have an @-sign"),
        ("@x.example", "is not an email address"),
        ("a@", "is not an email address"),
        ("n/a", "must have an @-sign"),
    ],
)
def test_addresses_that_are_refused(tmp_path: Path, written: str, reason: str) -> None:
    (fault,) = only(tmp_path, "officers", "email", written)
    assert fault.startswith("officers.csv, line 2, column email: ")
    assert reason in fault


@pytest.mark.parametrize(
    ("hidden", "name", "place"),
    [
        ("\u202e", "RIGHT-TO-LEFT OVERRIDE (U+202E)", 4),
        ("\u202a", "LEFT-TO-RIGHT EMBEDDING (U+202A)", 4),
        ("\u2066", "LEFT-TO-RIGHT ISOLATE (U+2066)", 4),
        ("\u2069", "POP DIRECTIONAL ISOLATE (U+2069)", 4),
        ("\u200e", "LEFT-TO-RIGHT MARK (U+200E)", 4),
        ("\u200f", "RIGHT-TO-LEFT MARK (U+200F)", 4),
        ("\u061c", "ARABIC LETTER MARK (U+061C)", 4),
        ("\u200b", "ZERO WIDTH SPACE (U+200B)", 4),
        ("\u200d", "ZERO WIDTH JOINER (U+200D)", 4),
        ("\u2060", "WORD JOINER (U+2060)", 4),
        ("\ufeff", "ZERO WIDTH NO-BREAK SPACE (U+FEFF)", 4),
        ("\u00ad", "SOFT HYPHEN (U+00AD)", 4),
        ("\u2028", "LINE SEPARATOR (U+2028)", 4),
        ("\x00", "NULL (U+0000)", 4),
        ("\x07", "BELL (U+0007)", 4),
        ("\x01", "CONTROL CHARACTER (U+0001)", 4),
        ("\u3164", "HANGUL FILLER (U+3164)", 4),
        ("\u034f", "COMBINING GRAPHEME JOINER (U+034F)", 4),
        ("\ufe0f", "VARIATION SELECTOR-16 (U+FE0F)", 4),
        ("\u2800", "BRAILLE PATTERN BLANK (U+2800)", 4),
        ("\t", "TAB (U+0009)", 4),
        ("\n", "LINE FEED (U+000A)", 4),
        ("\ue000", "PRIVATE USE CHARACTER (U+E000)", 4),
        ("\ufffd", "REPLACEMENT CHARACTER (U+FFFD)", 4),
    ],
)
@pytest.mark.parametrize(
    ("file", "column"),
    [("authorities", "name"), ("officers", "family_name"), ("remarks", "text")],
)
def test_characters_that_do_not_show(
    tmp_path: Path, file: str, column: str, hidden: str, name: str, place: int
) -> None:
    (fault,) = only(tmp_path, file, column, f"abc{hidden}def")
    assert fault.startswith(f"{file}.csv, line 2, column {column}: character {place} is {name}")


@pytest.mark.parametrize(
    ("file", "column", "written", "reason"),
    [
        ("authorities", "code", "E07 000243", "is not a code"),
        ("authorities", "code", "../../etc", "is not a code"),
        ("authorities", "name", "", "is empty."),
        ("authorities", "name", "x" * 151, "151 characters long; at most 150"),
        ("authorities", "kind", "districts", "did you mean district?"),
        ("authorities", "kind", "London Borough", "did you mean london_borough?"),
        ("authorities", "noun", "council", "did you mean Council?"),
        ("authorities", "active_to", "31/03/2020", "write for example 2020-03-31."),
        ("authorities", "successor_code", "E07000243", "its own successor"),
        ("officers", "role", "Chief Executive", "did you mean chief_executive?"),
        ("officers", "family_name", "SiÃ¢n", "probably “Siân”"),
        ("decisions", "decided_on", "2019-02-30", "is not a day of the calendar"),
        ("decisions", "decided_on", "20191105", "is not a date as YYYY-MM-DD"),
        ("decisions", "decided_on", "2019-W45-2", "is not a date as YYYY-MM-DD"),
        ("decisions", "decided_on", "05.11.2019", "write for example 2019-11-05."),
        ("decisions", "decided_on", "43774", "format the column as text"),
        ("decisions", "decided_on", "２０１９-11-05", "is not a date as YYYY-MM-DD"),
        ("decisions", "decided_on", "2019-11-05T00:00:00", "is not a date as YYYY-MM-DD"),
        ("decisions", "decided_on", "0219-11-05", "outside the years"),
        ("decisions", "decided_on", "1919-11-05", "before 1974"),
        ("decisions", "decided_on", "2019-05-31", "is before received_on, 2019-06-01"),
        ("decisions", "decided_on", "", "is empty."),
        ("decisions", "outcome", "Upheld", "did you mean upheld?"),
        ("decisions", "outcome", "not upheld", "did you mean not_upheld?"),
        ("decisions", "outcome", "advise_given", "did you mean advice_given?"),
        ("decisions", "outcome", "zzz", "is not one of upheld, not_upheld"),
        ("decisions", "remedied_early", "yes", "neither 0 nor 1; write 1."),
        ("decisions", "remedied_early", "2", "neither 0 nor 1."),
        ("compliance", "outcome", "complied late", "did you mean complied_late?"),
        ("compliance", "case_reference", "", "is empty."),
        ("remarks", "year", "2020.0", "is not a whole number"),
        ("remarks", "year", "20", "is not a whole number from 1975"),
        ("remarks", "position", "-1", "is not a whole number"),
        ("remarks", "position", "１", "is not a whole number"),
        ("remarks", "text", "x" * 5001, "at most 5,000"),
        ("published_averages", "percent", "101", "from 0 to 100"),
        ("published_averages", "percent", "45%", "is not a whole number"),
        ("published_averages", "percent", "1,0", "is not a whole number"),
        ("published_averages", "measure", "uphold", "did you mean upheld?"),
        ("editions", "period_end", "2019-03-31", "is before period_start, 2019-04-01"),
        ("editions", "signatory_posts", "Ombudsman", "is not JSON at character 1"),
        ("editions", "signatory_posts", '"Ombudsman"', "is not a JSON list of texts"),
        ("editions", "signatory_posts", '["a", 1]', "is not a JSON list of texts"),
        ("editions", "signatory_posts", '["a", " "]', "holds an empty text"),
        ("editions", "signatory_posts", '["a\\u202e"]', "RIGHT-TO-LEFT OVERRIDE"),
        ("editions", "signatory_posts", "[" * 100_000, "is not JSON"),
        ("editions", "facts", "[]", "is not a JSON object"),
        ("editions", "facts", '{"a": 1, "a": 2}', "gives “a” twice"),
        ("editions", "facts", '{"a": 1.5}', "neither a whole number nor a text"),
        ("editions", "facts", '{"a": true}', "neither a whole number nor a text"),
        ("editions", "facts", '{"a": null}', "neither a whole number nor a text"),
        ("editions", "facts", '{"a": NaN}', "neither a whole number nor a text"),
        ("editions", "facts", '{"more courses": 47}', "cannot be a fact's name"),
        ("editions", "facts", '{"items": 47}', "cannot be a fact's name"),
        ("editions", "facts", "{“a”: 1}", "straight quotation marks"),
        ("editions", "copied_roles", '["link officer"]', "did you mean link_officer?"),
        ("editions", "copied_roles", '["chief_executive"]', "needs no copy"),
        ("editions", "copied_roles", '["leader", "leader"]', "holds a role twice"),
        ("editions", "prepare_on", "2020-07-23", "is after 2020-07-22"),
        ("editions", "dispatch_at", "2020-07-22", "is not a time as"),
        ("editions", "dispatch_at", "2020-07-22T25:00", "is not a time as"),
        ("editions", "dispatch_at", "2020-03-29T01:30", "does not exist in London"),
        ("editions", "dispatch_at", "2020-10-25T01:30", "comes twice in London"),
    ],
)
def test_cells_that_are_refused(
    tmp_path: Path, file: str, column: str, written: str, reason: str
) -> None:
    (fault,) = only(tmp_path, file, column, written)
    assert fault.startswith(f"{file}.csv, line 2, column {column}: ")
    assert reason in fault
    assert len(fault) < 500


def test_cells_that_contradict_each_other(tmp_path: Path) -> None:
    dates = {"active_from": "2020-04-01", "active_to": "2020-03-31"}
    write(tmp_path, "authorities", [{**GOOD["authorities"], **dates}])
    write(tmp_path, "officers", [{**GOOD["officers"], **dates, "family_name": ""}])
    write(
        tmp_path,
        "decisions",
        [{**GOOD["decisions"], "outcome": "not_upheld", "remedied_early": "1"}],
    )
    assert faults(tmp_path) == (
        "authorities.csv, line 2, column active_to: 2020-03-31 is before active_from, 2020-04-01.",
        "officers.csv, line 2, column active_to: 2020-03-31 is before active_from, 2020-04-01.",
        "officers.csv, line 2, column honorific: “Mr” stands without a name; give the name, "
        "or leave all three empty if the post is vacant.",
        "decisions.csv, line 2, column remedied_early: is 1, but the outcome is not_upheld; "
        "only an upheld case counts as remedied.",
    )


def test_all_faults_are_reported_with_their_lines(tmp_path: Path) -> None:
    rows = [
        {**GOOD["decisions"], "case_reference": f"19 000 00{n}", "outcome": outcome}
        for n, outcome in enumerate(["upheld", "wrong", "upheld", "worse"])
    ]
    rows.append({**rows[1], "decided_on": "x", "outcome": "upheld"})
    write(tmp_path, "decisions", rows)
    write(tmp_path, "remarks", [{**GOOD["remarks"], "year": "x", "position": "y"}])
    found = faults(tmp_path)
    assert [fault.split(": ")[0] for fault in found] == [
        "decisions.csv, line 3, column outcome",
        "decisions.csv, line 5, column outcome",
        "decisions.csv, line 6, column decided_on",
        "decisions.csv, line 6, column case_reference",
        "remarks.csv, line 2, column year",
        "remarks.csv, line 2, column position",
    ]
    assert "already on line 3" in found[3]


@pytest.mark.parametrize(
    ("file", "changed", "words"),
    [
        ("authorities", {"code": "e07000243"}, "already on line 2, written E07000243"),
        ("decisions", {"case_reference": "19001234"}, "already on line 2, written 19 001 234"),
        ("decisions", {}, "19 001 234 is already on line 2"),
        ("compliance", {}, "already on line 2"),
        ("remarks", {}, "2020 E07000243 1 is already on line 2"),
        ("editions", {}, "2020 is already on line 2"),
        ("published_averages", {"percent": "46"}, "2020 district upheld is already on line 2"),
        ("officers", {"active_to": "2020-01-01"}, "the same officer in the same role is on line 2"),
    ],
)
def test_the_same_row_twice(
    tmp_path: Path, file: str, changed: Mapping[str, str], words: str
) -> None:
    write(tmp_path, file, [GOOD[file], {**GOOD[file], **changed}])
    (fault,) = faults(tmp_path)
    assert fault.startswith(f"{file}.csv, line 3, column ")
    assert words in fault


def test_lines_are_those_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "remarks.csv").write_text(
        'year,authority_code,position,text\n2020,E1,1,"two\nlines"\n\n2020,E1,x,one\n',
        encoding="utf-8",
    )
    found = faults(tmp_path)
    assert [fault.split(",")[1] for fault in found] == [" line 2", " line 5"]
    assert "give each paragraph a row of its own" in found[0]


HEADER = "case_reference,authority_code,recorded_on,outcome\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (b"\n\n", "is empty"),
        (HEADER.replace(",", ";").encode(), "separated by semicolons"),
        (HEADER.replace(",", "\t").encode(), "separated by tabs"),
        (b"case_reference,authority_code,outcome\n", "the column recorded_on is missing"),
        (
            b"case_reference,authority_code,recorded,outcome\n",
            "there is no column “recorded”; did you mean recorded_on.",
        ),
        (HEADER.strip().encode() + b",colour\n", "there is no column “colour” here"),
        (HEADER.strip().encode() + b",outcome\n", "the column outcome is there twice"),
        (b"Case_Reference,authority_code,recorded_on,outcome\n", "did you mean case_reference"),
        (b"case_reference,,authority_code,recorded_on,outcome\n", "column 2 has no name"),
        (b"PK\x03\x04rest of a workbook", "is a workbook that was named .csv"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "is a workbook that was named .csv"),
        (HEADER.encode("utf-16"), "is encoded as UTF-16"),
        (HEADER.replace("\n", "\r").encode() * 2, "old Macintosh files"),
        (HEADER.encode() + b'"19,E1,2019-05-01,complied\n', "never closed"),
        (HEADER.encode() + b'"19"x,E1,2019-05-01,complied\n', "a quotation mark stands within"),
        (HEADER.encode() + b"19,E1,2019-05-01,complied,oh\n", "has 5 cells"),
        (HEADER.encode() + b"19,E1,2019-05-01\n", "has only 3 cells"),
        (HEADER.encode() + b"x" * 1_100_000, "over 1,024 KB long"),
        (b"\x00" * 100, "holds NUL bytes at its beginning"),
        (HEADER.encode("utf-16-le"), "encoded as UTF-16"),
        (b"19 001 234,E1,2019-05-01,complied\n", "the first line must name the columns"),
        (b"year,kind,measure,percent\n", "these are the columns of published_averages"),
        (HEADER.encode() * 2, "line 2: names the columns again"),
        (HEADER.encode() + b"1\x009,E1,2019-05-01,complied\n", "NULL (U+0000)"),
    ],
)
def test_files_that_are_no_such_table(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "compliance.csv").write_bytes(content)
    (fault,) = faults(tmp_path)
    assert fault.startswith("compliance.csv")
    assert words in fault


def test_windows_1252_is_named_once_and_the_other_faults_too(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "officers",
        [
            {**GOOD["officers"], "given_name": "Siân"},
            {**GOOD["officers"], "given_name": "Zoë", "role": "boss"},
        ],
    )
    text = path.read_text(encoding="utf-8-sig")
    path.write_bytes(text.encode("cp1252"))
    first, second = faults(tmp_path)
    assert "officers.csv, line 2: the byte 0xE2 is not UTF-8" in first
    assert "where it is “â”" in first
    assert "(1 more line is like it.)" in first
    assert second.startswith("officers.csv, line 3, column role: “boss”")


def test_a_file_over_the_limit(tmp_path: Path) -> None:
    with (tmp_path / "decisions.csv").open("wb") as file:
        file.truncate(FILE_LIMIT + 1)  # sparse: takes no room
    (fault,) = faults(tmp_path)
    assert "decisions.csv is 536 MB long" in fault


@pytest.mark.parametrize("make", ["missing", "empty", "workbook", "csv", "others"])
def test_folders_that_hold_nothing(tmp_path: Path, make: str) -> None:
    folder = tmp_path / "data"
    match make:
        case "missing":
            words = "There is no folder"
        case "empty":
            folder.mkdir()
            words = "holds none of the files authorities.csv"
        case "workbook":
            folder = tmp_path / "BOOK.xlsx"
            folder.write_bytes(b"PK")
            words = "is a file. Give the folder"
        case "csv":
            folder = write(tmp_path, "decisions", [GOOD["decisions"]])
            words = "Give the folder"
        case _:
            folder.mkdir()
            write(folder, "decision", [GOOD["decisions"]])
            words = "decision.csv is ignored; did you mean decisions.csv?"
    with pytest.raises(Refused) as raised:
        read_folder(folder)
    assert words in str(raised.value)


def test_unknown_files_are_noted(tmp_path: Path) -> None:
    (tmp_path / "__pycache__").mkdir()  # of a program that lies beside the data
    good(tmp_path, "compliance")
    (tmp_path / ".DS_Store").touch()
    (tmp_path / "notes.txt").touch()  # what explains the data is no news
    (tmp_path / "officers.ods").touch()
    (tmp_path / "Officers.csv").touch()
    assert read_folder(tmp_path).notes == (
        "Officers.csv is ignored; did you mean officers.csv?",
        "officers.ods is ignored.",
    )


def test_a_folder_in_place_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "decisions.csv").mkdir()
    assert faults(tmp_path) == ("decisions.csv is not a file; put the file itself there.",)


def test_an_edition_whose_year_is_not_its_periods_is_noted(tmp_path: Path) -> None:
    write(tmp_path, "editions", [{**GOOD["editions"], "year": "2021"}])
    (note,) = read_folder(tmp_path).notes
    assert "the letter of 2021 ends on 2020-03-31" in note


@given(content=st.binary(max_size=400))
@settings(max_examples=150, deadline=None)
def test_no_bytes_break_the_reader(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    folder = tmp_path_factory.mktemp("bytes")
    (folder / "remarks.csv").write_bytes(b"year,authority_code,position,text\n" + content)
    match attempt(folder):
        case BadData() as bad:
            assert bad.faults
        case rows:
            assert all(hidden_character(row["text"]) is None for row in rows)


@given(text=st.text(max_size=60))
@settings(max_examples=150, deadline=None)
def test_every_text_is_kept_whole_or_refused(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    folder = tmp_path_factory.mktemp("text")
    try:
        text.encode()
    except UnicodeEncodeError:
        return
    write(folder, "remarks", [{**GOOD["remarks"], "text": f"a{text}z"}])
    match attempt(folder):
        case BadData() as bad:
            (fault,) = bad.faults
            assert fault.startswith("remarks.csv, line 2, column text: ")
        case rows:
            assert [row["text"] for row in rows] == [unicodedata.normalize("NFC", f"a{text}z")]


# Storing --------------------------------------------------------------------------------------


def test_the_sample_is_stored_and_stored_again_without_change(db: Database) -> None:
    loaded = import_folder(db, SAMPLE)
    assert loaded.counts["authorities"] == Counted(added=354)
    assert loaded.notes == (
        "decisions.csv: 12 of 11,879 rows lie outside the period of every edition and count in no "
        "letter yet; the first is on line 537, decided_on 2020-04-01.",
        "compliance.csv: 2 of 2,787 rows lie outside the period of every edition and count in no "
        "letter yet; the first is on line 663, recorded_on 2019-03-31.",
        "authorities.csv: 1 authority (E06000053) without any decision, which its letter will say.",
    )
    with db.read() as connection:
        for table in schema.STATISTICS:
            count = connection.scalar(sa.select(sa.func.count()).select_from(table))
            assert loaded.counts[table.name] == Counted(added=count or 0)
        chief = connection.execute(
            sa.select(schema.officers).where(
                schema.officers.c.authority_code == "E07000243",
                schema.officers.c.role == "chief_executive",
            )
        ).one()
        welsh = connection.scalars(
            sa.select(schema.officers.c.family_name).where(
                schema.officers.c.authority_code == "E06000023"
            )
        ).all()
        edition = connection.execute(sa.select(schema.editions)).one()
    assert (chief.honorific, chief.given_name, chief.family_name) == ("Mr", None, "Partridge")
    assert "Llŷr" in welsh  # composed
    assert edition.facts["people"] == 1400
    assert edition.copied_roles is None

    for replace in (False, True):
        again = import_folder(db, SAMPLE, replace=replace)
        assert all(
            counted == Counted(unchanged=loaded.counts[name].added)
            for name, counted in again.counts.items()
        )


def test_a_row_with_a_known_key_replaces_it(db: Database, tmp_path: Path) -> None:
    good(tmp_path)
    import_folder(db, tmp_path)
    changes = {
        "authorities": {"name": "Stevenage Council"},
        "officers": {"family_name": "Partridge-Jones"},
        "decisions": {"outcome": "not_upheld"},
        "compliance": {"outcome": "complied_late"},
        "remarks": {"text": "Other words."},
        "editions": {"facts": '{"delegates": 179}', "dispatch_at": "2020-07-22T09:30:00+01:00"},
        "published_averages": {"percent": "46"},
    }
    for name, changed in changes.items():
        write(tmp_path, name, [{**GOOD[name], **changed}])
    loaded = import_folder(db, tmp_path)
    assert set(loaded.counts.values()) == {Counted(replaced=1)}
    assert stored(db, schema.authorities)[0]["name"] == "Stevenage Council"
    assert stored(db, schema.officers)[0]["family_name"] == "Partridge-Jones"
    assert stored(db, schema.decisions)[0]["outcome"] == "not_upheld"
    (edition,) = stored(db, schema.editions)
    assert edition["facts"] == {"delegates": 179}
    assert edition["dispatch_at"] == datetime(2020, 7, 22, 8, 30, tzinfo=UTC)
    assert all(len(stored(db, table)) == 1 for table in schema.STATISTICS)


def test_nothing_is_deleted_unless_asked(db: Database, tmp_path: Path) -> None:
    two = [GOOD["decisions"], {**GOOD["decisions"], "case_reference": "19 000 002"}]
    good(tmp_path, "authorities", "remarks", "officers")
    write(tmp_path, "decisions", two)
    import_folder(db, tmp_path)

    part = tmp_path / "part"
    part.mkdir()
    write(part, "decisions", [{**two[1], "outcome": "not_upheld"}])
    assert import_folder(db, part).counts == {"decisions": Counted(replaced=1)}
    assert len(stored(db, schema.decisions)) == 2

    loaded = import_folder(db, part, replace=True)
    assert loaded.counts == {"decisions": Counted(unchanged=1, removed=1)}
    assert [row["case_reference"] for row in stored(db, schema.decisions)] == ["19 000 002"]
    assert len(stored(db, schema.remarks)) == 1  # had no file

    write(part, "officers", [{**GOOD["officers"], "email": "other@stevenage.gov.example"}])
    loaded = import_folder(db, part, replace=True)
    assert loaded.counts["officers"] == Counted(added=1, removed=1)
    assert loaded.notes == ()
    assert [row["email"] for row in stored(db, schema.officers)] == ["other@stevenage.gov.example"]


def test_everything_or_nothing(db: Database, tmp_path: Path) -> None:
    good(tmp_path)
    write(
        tmp_path,
        "published_averages",
        [GOOD["published_averages"], {**GOOD["published_averages"], "percent": "many"}],
    )
    assert len(refused(db, tmp_path)) == 2
    assert all(stored(db, table) == [] for table in schema.STATISTICS)


def test_what_the_database_refuses_leaves_nothing_behind(db: Database, tmp_path: Path) -> None:
    good(tmp_path)
    tables = read_folder(tmp_path)
    broken = dict(tables.relations)
    (average,) = broken["published_averages"].rows
    broken["published_averages"] = importer.Rows(
        rows=({**average, "percent": 400},),
        lines=(2,),
        origin=importer.CsvFile(name="published_averages.csv"),
    )
    with pytest.raises(sa.exc.IntegrityError):
        load(db, importer.Tables(relations=broken))
    assert all(stored(db, table) == [] for table in schema.STATISTICS)


def test_faults_within_and_between_files_come_together(db: Database, tmp_path: Path) -> None:
    write(tmp_path, "authorities", [{**GOOD["authorities"], "kind": "shire"}])
    write(tmp_path, "officers", [GOOD["officers"], {**GOOD["officers"], "authority_code": "E1"}])
    good(tmp_path, "remarks")
    kind, officer = refused(db, tmp_path)
    assert kind.startswith("authorities.csv, line 2, column kind: ")
    # The code on the faulty line is known all the same: no fault follows from another.
    assert officer == (
        "officers.csv, line 3, column authority_code: there is no authority E1; "
        "add it to authorities.csv."
    )


@pytest.mark.parametrize("name", ["officers", "decisions", "compliance", "remarks"])
def test_unknown_authorities(db: Database, tmp_path: Path, name: str) -> None:
    good(tmp_path, name)
    assert refused(db, tmp_path) == (
        f"{name}.csv: no authority is known yet; import authorities.csv first or together with it.",
    )
    good(tmp_path, "authorities")
    import_folder(db, tmp_path)
    (tmp_path / "authorities.csv").unlink()
    assert import_folder(db, tmp_path).counts == {name: Counted(unchanged=1)}

    write(tmp_path, name, [{**GOOD[name], "authority_code": "e07000243"}])
    assert refused(db, tmp_path) == (
        f"{name}.csv, line 2, column authority_code: there is no authority e07000243; "
        "did you mean E07000243?",
    )


def test_successors_are_known(db: Database, tmp_path: Path) -> None:
    row = {**GOOD["authorities"], "active_to": "2020-03-31", "successor_code": "E06000060"}
    write(tmp_path, "authorities", [row])
    (fault,) = refused(db, tmp_path)
    assert "column successor_code: there is no authority E06000060" in fault
    write(tmp_path, "authorities", [row, {**GOOD["authorities"], "code": "E06000060"}])
    assert import_folder(db, tmp_path).counts == {"authorities": Counted(added=2)}


def test_one_spelling_for_a_code_and_a_case(db: Database, tmp_path: Path) -> None:
    good(tmp_path)
    import_folder(db, tmp_path)
    write(tmp_path, "authorities", [{**GOOD["authorities"], "code": "e07000243"}])
    write(tmp_path, "decisions", [{**GOOD["decisions"], "case_reference": "19001234"}])
    code, case = refused(db, tmp_path)
    assert code.endswith("e07000243 is stored as E07000243; write it in the same way.")
    assert case.endswith("19001234 is stored as 19 001 234; write it in the same way.")


def test_a_case_belongs_to_one_authority(db: Database, tmp_path: Path) -> None:
    write(tmp_path, "authorities", [GOOD["authorities"], {**GOOD["authorities"], "code": "E1"}])
    good(tmp_path, "decisions")
    case = {**GOOD["compliance"], "case_reference": "19 001 234", "authority_code": "E1"}
    write(tmp_path, "compliance", [case])
    words = "19 001 234 belongs to {} here and to {} in {}; correct the one that is wrong."
    (fault,) = refused(db, tmp_path)
    assert fault.startswith("compliance.csv, line 2, column authority_code: ")
    assert fault.endswith(words.format("E1", "E07000243", "decisions"))

    (tmp_path / "decisions.csv").unlink()
    import_folder(db, tmp_path)
    (tmp_path / "compliance.csv").unlink()
    good(tmp_path, "decisions")
    (fault,) = refused(db, tmp_path)
    assert fault.startswith("decisions.csv, line 2, column authority_code: ")
    assert fault.endswith(words.format("E07000243", "E1", "compliance"))


def test_replacing_the_register_leaves_no_orphans(db: Database, tmp_path: Path) -> None:
    good(tmp_path)
    import_folder(db, tmp_path)
    part = tmp_path / "part"
    part.mkdir()
    write(part, "authorities", [{**GOOD["authorities"], "code": "E1"}])
    found = refused(db, part, replace=True)
    assert [fault.split(" that are")[0] for fault in found] == [
        f"authorities.csv: E07000243 is left out, but {name}"
        for name in ("officers", "decisions", "compliance", "remarks")
    ]
    for name in ("officers", "decisions", "compliance", "remarks"):
        write(part, name, [{**GOOD[name], "authority_code": "E1"}])
    import_folder(db, part, replace=True)
    assert [row["code"] for row in stored(db, schema.authorities)] == ["E1"]


def test_an_officer_is_given_a_last_day(db: Database, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    good(folder, "authorities", "officers")
    import_folder(db, folder)
    successor = {
        **GOOD["officers"],
        "family_name": "Heron",
        "email": "heron@stevenage.gov.example",
        "active_from": "2020-07-01",
    }
    write(folder, "officers", [successor])
    (note,) = import_folder(db, folder).notes
    assert note == (
        "E07000243 has two chief executives at the same time, "
        "Mr Partridge (chief.executive@stevenage.gov.example) and "
        "Mr Heron (heron@stevenage.gov.example): letters name both and go to both. "
        "If one has left, import that row again with its active_to."
    )
    write(folder, "officers", [{**GOOD["officers"], "active_to": "2020-06-30"}, successor])
    loaded = import_folder(db, folder)
    assert loaded.counts["officers"] == Counted(replaced=1, unchanged=1)
    assert loaded.notes == ()


def test_a_post_held_jointly_at_one_address(db: Database, tmp_path: Path) -> None:
    good(tmp_path, "authorities")

    def people(*names: str) -> None:
        write(tmp_path, "officers", [{**GOOD["officers"], "family_name": name} for name in names])

    def held() -> list[str]:
        return sorted(row["family_name"] for row in stored(db, schema.officers))

    people("Heron", "Partridge")
    assert import_folder(db, tmp_path).counts["officers"] == Counted(added=2)
    people("Heron")  # says nothing about the other
    assert import_folder(db, tmp_path).counts["officers"] == Counted(unchanged=1)
    assert held() == ["Heron", "Partridge"]
    people("Wren")  # instead of whom?
    (fault,) = refused(db, tmp_path)
    assert "several people are stored for this role at this address" in fault
    people("Heron", "Wren")
    assert import_folder(db, tmp_path).counts["officers"] == Counted(replaced=1, unchanged=1)
    assert held() == ["Heron", "Wren"]
    people("Finch")
    loaded = import_folder(db, tmp_path, replace=True)
    assert loaded.counts["officers"] == Counted(replaced=1, removed=1)
    assert held() == ["Finch"]


def test_decisions_of_other_years_are_taken(db: Database, tmp_path: Path) -> None:
    good(tmp_path)
    early = {"received_on": "2003-01-01", "decided_on": "2004-05-06"}
    write(tmp_path, "decisions", [{**GOOD["decisions"], **early}])
    assert import_folder(db, tmp_path).counts["decisions"] == Counted(added=1)


def test_many_rows(db: Database, tmp_path: Path) -> None:
    number = 120_000
    good(tmp_path, "authorities")
    with (tmp_path / "decisions.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(GOOD["decisions"])
        for n in range(number):
            writer.writerow([f"{n:09}", *list(GOOD["decisions"].values())[1:]])
    assert import_folder(db, tmp_path).counts["decisions"] == Counted(added=number)
    with db.read() as connection:
        count = sa.select(sa.func.count()).select_from(schema.decisions)
        assert connection.scalar(count) == number


def test_two_imports_at_once_come_one_after_the_other(db_url: str, tmp_path: Path) -> None:
    """Both add the same rows; whoever comes second finds them there, and neither fails."""
    good(tmp_path)
    start = threading.Barrier(2)
    results: list[Mapping[str, Counted]] = []

    def run() -> None:
        db = Database(db_url)
        start.wait()
        results.append(import_folder(db, tmp_path).counts)
        db.close()

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(set(counts.values()) == {Counted(added=1)} for counts in results) == [False, True]
    assert sum(set(counts.values()) == {Counted(unchanged=1)} for counts in results) == 1


def test_every_letter_of_the_sample_can_be_composed(db: Database) -> None:
    import_folder(db, SAMPLE)
    with source.pull(db, 2020) as pull:
        letters = {
            record.authority.code: compose(record, pull.edition, pull.averages)
            for record in pull.records
        }
    assert len(letters) == 353
    assert [letter.fault for letter in letters.values() if letter.fault] == []
    assert all(any(to["kind"] == "to" for to in one.recipients) for one in letters.values())

    stevenage = letters["E07000243"]
    assert stevenage.fields["address_lines"] == [
        "Mr Partridge",
        "Chief Executive",
        "Stevenage Borough Council",
    ]
    assert {
        measure: (figure["part"], figure["whole"], figure["percent"], figure["average"])
        for measure, figure in stevenage.figures.items()
    } == {"upheld": (1, 1, 100, 45), "compliance": (1, 1, 100, 99), "remedy": (0, 1, 0, 20)}
    watford = letters["E07000103"].figures["upheld"]
    assert (watford["part"], watford["whole"], watford["average"]) == (5, 9, 45)
    assert letters["E08000025"].figures["compliance"]["percent"] == 99

    def greeting(code: str) -> str:
        return str(letters[code].fields["salutation"])

    assert greeting("E07000008") == "Alex Jones"
    assert greeting("E07000009") == "Chief Executive"
    assert greeting("E06000022") == "Ms Fairweather and Mr Iqbal-Moore"
    assert greeting("E09000001") == "Sir Idris"
    assert greeting("E07000085") == "Ms O'Halloran"
    assert greeting("E06000031") == "Mrs Pargeter"
    assert greeting("E06000023") == "Ms Llŷr"
    assert greeting("E10000002") == "Ms Quartermaine"
    assert letters["E10000002"].fields["succession"]
    assert len(letters["E07000235"].recipients) == len(
        {to["address"] for to in letters["E07000235"].recipients}
    )


def test_the_documentation_names_the_columns_as_they_are() -> None:
    text = (PROJECT / "docs" / "data.md").read_text(encoding="utf-8")
    for relation in RELATIONS:
        section = text.split(f"\n### {relation.name}\n")[1].split("\n#")[0]
        documented = {
            name: mark
            for cell in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
            for names, mark in re.findall(r"((?:`\w+`(?:, )?)+)((?: [*+])?)", cell)
            for name in re.findall(r"`(\w+)`", names)
        }
        assert documented == {
            column.name: "" if column.may_be_absent else " +" if column.may_be_empty else " *"
            for column in relation.columns
        }


# What rows say of each other -------------------------------------------------------------------


def test_a_decision_is_held_against_stored_compliance(db: Database, tmp_path: Path) -> None:
    """Also where compliance.csv is given, and says nothing of the case."""
    write(tmp_path, "authorities", [GOOD["authorities"], {**GOOD["authorities"], "code": "E1"}])
    case = {**GOOD["compliance"], "case_reference": "19 001 234", "authority_code": "E1"}
    write(tmp_path, "compliance", [case])
    import_folder(db, tmp_path)

    good(tmp_path, "decisions", "compliance")
    expected = (
        "decisions.csv, line 2, column authority_code: 19 001 234 belongs to E07000243 here and to "
        "E1 in compliance; correct the one that is wrong.",
    )
    assert refused(db, tmp_path) == expected
    (tmp_path / "compliance.csv").unlink()
    assert refused(db, tmp_path) == expected
    # What is replaced is no longer there to contradict.
    good(tmp_path, "compliance")
    assert import_folder(db, tmp_path, replace=True).counts["compliance"] == Counted(
        added=1, removed=1
    )


def test_one_spelling_for_a_case_in_both_tables(db: Database, tmp_path: Path) -> None:
    good(tmp_path, "authorities", "decisions")
    write(tmp_path, "compliance", [{**GOOD["compliance"], "case_reference": "19001234"}])
    words = "column case_reference: {} is written {} in {}; write it in the same way."
    (fault,) = refused(db, tmp_path)
    assert fault.endswith(words.format("19001234", "19 001 234", "decisions"))
    (tmp_path / "decisions.csv").unlink()
    import_folder(db, tmp_path)
    (tmp_path / "compliance.csv").unlink()
    good(tmp_path, "decisions")
    (fault,) = refused(db, tmp_path)
    assert fault.endswith(words.format("19 001 234", "19001234", "compliance"))


def test_chains_of_successors_end(db: Database, tmp_path: Path) -> None:
    def register(**successors: str) -> None:
        write(
            tmp_path,
            "authorities",
            [
                {**GOOD["authorities"], "code": code, "successor_code": successor}
                for code, successor in successors.items()
            ],
        )

    register(E1="E2", E2="E3", E3="")
    import_folder(db, tmp_path)
    register(E0="E1", E1="E2", E2="E3", E3="E1")
    assert refused(db, tmp_path) == (
        "authorities.csv, line 3, column successor_code: E1 is succeeded by E2 is succeeded by E3 "
        "is succeeded by E1, so there is nobody to write to; the last of them has no "
        "successor_code.",
    )
    register(E3="E2")  # closes the circle with what is stored
    (fault,) = refused(db, tmp_path)
    assert "E3 is succeeded by E2 is succeeded by E3" in fault
    register(E1="E2", E2="E1", E4="E5", E5="E4")
    assert len(refused(db, tmp_path)) == 2
    register(E3="E2", E2="")
    assert import_folder(db, tmp_path).counts["authorities"] == Counted(replaced=2)


@pytest.mark.parametrize("written", ["0020-07-22T09:00", "1066-10-14T09:00", "9999-12-31T23:59"])
def test_a_dispatch_in_an_impossible_year(tmp_path: Path, written: str) -> None:
    (fault,) = only(tmp_path, "editions", "dispatch_at", written)
    assert fault == (
        f"editions.csv, line 2, column dispatch_at: {written} lies outside the years 1974 to 2199; "
        "check the year."
    )


@pytest.mark.parametrize(
    ("written", "noted"),
    [
        ("2020-07-22T09:00", False),
        ("2020-08-05T09:00", False),
        ("2020-08-06T09:00", True),
        ("2020-07-07T09:00", True),
        ("2021-07-22T09:00", True),
    ],
)
def test_a_dispatch_far_from_the_letters_date_is_noted(
    tmp_path: Path, written: str, noted: bool
) -> None:
    write(tmp_path, "editions", [{**GOOD["editions"], "dispatch_at": written}])
    notes = read_folder(tmp_path).notes
    assert notes == (
        (
            f"editions.csv, line 2, column dispatch_at: the letters of 2020 are to be sent on "
            f"{written[:10]} and are dated 2020-07-22; check both.",
        )
        if noted
        else ()
    )


def test_what_looks_odd_is_noted(db: Database, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    codes = ("E1", "E2", "E3", "E4")
    register = [{**GOOD["authorities"], "code": code} for code in codes]
    register[3] |= {"active_to": "2019-12-31", "successor_code": "E1"}
    write(folder, "authorities", [*register, {**register[0], "code": "E5"}])
    chief = GOOD["officers"]
    write(
        folder,
        "officers",
        [
            {**chief, "authority_code": "E1"},
            {**chief, "authority_code": "E2", "email": ""},
            {**chief, "authority_code": "E5"},
        ],
    )
    decision = GOOD["decisions"]
    write(
        folder,
        "decisions",
        [
            {**decision, "case_reference": f"19 00{n}", "authority_code": code, "decided_on": day}
            for n, (code, day) in enumerate(
                [
                    ("E1", "2019-11-05"),
                    ("E2", "2020-04-01"),
                    ("E3", "2019-11-05"),
                    ("E4", "2199-11-05"),
                ]
            )
        ],
    )
    good(folder, "editions")
    assert import_folder(db, folder).notes == (
        "decisions.csv, line 5, column decided_on: 2199-11-05 lies in the future; check the year.",
        "decisions.csv: 2 of 4 rows lie outside the period of every edition and count in no letter "
        "yet; the first is on line 3, decided_on 2020-04-01.",
        "officers.csv, line 3, column email: the chief executive of E2 has no address; there is "
        "no letter until there is one.",
        "decisions.csv: 1 authority (E3) without any officer; there is no letter to them until "
        "officers.csv has a chief executive.",
        "authorities.csv: 1 authority (E5) without any decision, which its letter will say.",
    )


def test_the_same_file_three_times_with_corrections(db: Database, tmp_path: Path) -> None:
    good(tmp_path, "authorities")
    cases = [{**GOOD["decisions"], "case_reference": f"19 00{n}"} for n in range(4)]
    write(tmp_path, "decisions", cases)
    assert import_folder(db, tmp_path).counts["decisions"] == Counted(added=4)
    cases[1] |= {"outcome": "not_upheld"}
    cases.append({**GOOD["decisions"], "case_reference": "19 009"})
    write(tmp_path, "decisions", cases)
    assert import_folder(db, tmp_path).counts["decisions"] == Counted(
        added=1, replaced=1, unchanged=3
    )
    cases[1] |= {"outcome": "upheld"}
    write(tmp_path, "decisions", cases[:4])
    assert import_folder(db, tmp_path).counts["decisions"] == Counted(replaced=1, unchanged=3)
    assert import_folder(db, tmp_path, replace=True).counts["decisions"] == Counted(
        unchanged=4, removed=1
    )


def test_files_that_cannot_be_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "decisions.csv")  # to open it would be to wait for ever
    (tmp_path / "officers.csv").symlink_to("officers.csv")
    (tmp_path / "remarks.csv").symlink_to("nowhere.csv")
    fix = "Put a file there that whoever runs this may read."
    assert faults(tmp_path) == (
        f"officers.csv cannot be read: Too many levels of symbolic links. {fix}",
        "decisions.csv is not a file; put the file itself there.",
        f"remarks.csv cannot be read: No such file or directory. {fix}",
    )


@pytest.mark.parametrize("name", ["Null", "NA", "None", "TRUE", "Llŷr-Ŵyn", "O’Hara & <Sons>"])
def test_surnames_are_surnames(tmp_path: Path, name: str) -> None:
    write(tmp_path, "officers", [{**GOOD["officers"], "family_name": name}])
    assert read_folder(tmp_path).relations["officers"].rows[0]["family_name"] == name
