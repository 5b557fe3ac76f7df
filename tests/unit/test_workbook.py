"""The workbooks enclosed with a letter: this authority's cases, as words, always the same."""

import io
import zipfile
from collections.abc import Callable
from datetime import date, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl import Workbook, load_workbook  # type: ignore[import-untyped]
from openpyxl.workbook.defined_name import DefinedName  # type: ignore[import-untyped]

from pipeline import workbook
from pipeline.errors import LetterFault
from pipeline.message import workbook_filename

CODE, OTHER = "E07000243", "E07000103"
FIELDS: dict[str, Any] = {
    "authority": "Stevenage Borough Council",
    "letter_year": "2020",
    "period_start": "1 April 2019",
    "period_end": "31 March 2020",
    "signatory": "Michael King",
    "upheld": {"part": "1", "whole": "2"},
    "remedy": {"part": "1", "whole": "1"},
    "compliance": {"part": "2", "whole": "3"},
}
DECISIONS: list[list[Any]] = [
    ["19 000 001", "2019-05-01", "2019-06-01", "Housing", "upheld", True, CODE],
    ["19 000 002", None, "2019-07-01", "=cmd|' /C calc'!A0", "not_upheld", False, CODE],
    ["0019", "2019-05-01", "2020-03-31", "@SUM(A1)", "referred_back", False, CODE],
]
COMPLIANCE: list[list[Any]] = [
    ["18 000 001", "2019-05-01", "complied", CODE],
    ["18 000 002", "2019-06-01", "complied_late", CODE],
    ["18 000 003", "2019-07-01", "not_complied", CODE],
]


def opened(data: bytes) -> Any:
    return load_workbook(io.BytesIO(data)).active


def test_every_case_is_there_with_real_days_and_words_that_are_words() -> None:
    sheet = opened(workbook.made("decisions", CODE, FIELDS, DECISIONS))
    rows = list(sheet.iter_rows(values_only=True))
    assert rows[0] == (
        "Case reference", "Received", "Decided", "Category", "Outcome",
        "Satisfactory remedy before",
    )  # fmt: skip
    assert rows[1] == (
        "19 000 001", datetime(2019, 5, 1), datetime(2019, 6, 1), "Housing", "Upheld", "Yes",  # noqa: DTZ001
    )  # fmt: skip
    assert rows[2] == (
        "19 000 002", None, datetime(2019, 7, 1), "=cmd|' /C calc'!A0", "Not upheld", None,  # noqa: DTZ001
    )  # fmt: skip
    assert rows[3][0] == "0019"
    assert len(rows) == 4
    words = [*sheet["A"], *sheet["D"], *sheet["E"]]
    assert {cell.data_type for cell in words} == {"s"}, "no formula, whatever they say"
    assert [cell.quotePrefix for cell in sheet["D"]] == [False, False, True, True]
    assert {cell.is_date for cell in sheet["C"][1:]} == {True}
    assert CODE not in str(rows), "whose they are is said by the title"


def test_a_reader_finds_headings_a_filter_and_what_it_is() -> None:
    book = load_workbook(io.BytesIO(workbook.made("compliance", CODE, FIELDS, COMPLIANCE)))
    sheet = book.active
    assert (sheet.title, sheet.freeze_panes, sheet.auto_filter.ref) == ("Compliance", "A2", "A1:C4")
    assert sheet.print_title_rows == "$1:$1"
    assert book.properties.title == (
        "Compliance with recommendations: Stevenage Borough Council, 1 April 2019 to 31 March 2020"
    )
    assert book.properties.language == "en-GB"
    assert [cell.value for cell in sheet["C"][1:]] == ["Complied", "Complied late", "Not complied"]
    assert all(14 <= one.width <= 60 for one in sheet.column_dimensions.values())


def test_the_same_cases_give_the_same_bytes_and_no_time() -> None:
    first = workbook.made("decisions", CODE, FIELDS, DECISIONS)
    assert workbook.made("decisions", CODE, FIELDS, DECISIONS) == first
    with zipfile.ZipFile(io.BytesIO(first)) as book:
        assert {one.date_time[0] for one in book.infolist()} == {1980}
        core = book.read("docProps/core.xml")
        assert core.count(b"2000-01-01T00:00:00Z") == 2
        assert core.count(b"T00:00:00Z") == core.count(b"dcterms:W3CDTF") == 2
    other = [*DECISIONS[:2], [*DECISIONS[2][:3], "Other", *DECISIONS[2][4:]]]
    assert workbook.made("decisions", CODE, FIELDS, other) != first


def test_an_authority_without_cases_gets_the_headings() -> None:
    nothing = {"part": "0", "whole": "0"}
    none = {**FIELDS, "upheld": nothing, "remedy": nothing, "compliance": nothing}
    for kind, columns in (("decisions", 6), ("compliance", 3)):
        sheet = opened(workbook.made(kind, CODE, none, []))
        assert (sheet.max_row, sheet.max_column) == (1, columns)


def with_last(**changed: Any) -> list[Any]:
    names = ("reference", "received", "decided", "category", "outcome", "early", "whose")
    last = dict(zip(names, DECISIONS[2], strict=True)) | changed
    return [*DECISIONS[:2], list(last.values())]


@pytest.mark.parametrize(
    ("cases", "said"),
    [
        (with_last(whose=OTHER), "another authority (E07000103)"),
        (with_last(reference="19 000 001"), "there twice: 19 000 001"),
        (DECISIONS[:1], "The letter counts 2 (upheld.whole), and the decisions"),
        ([[*DECISIONS[0][:5], False, CODE], *DECISIONS[1:]], "counts 1 (remedy.part)"),
        (with_last(category="a\x07b"), "The case 0019 holds in category what no workbook can"),
        (with_last(category="x\ufffe"), "what no workbook can"),
        (with_last(category="\ud800"), "what no workbook can"),
        (with_last(reference="\U0001f600" * 16_384), "more than 32,767 characters"),
        (with_last(received="soon"), "The case 0019 has no date in received_on but 'soon'"),
        (with_last(received="0202-01-01"), "no date in received_on but '0202-01-01'"),
    ],
)
def test_what_may_not_be_sent_is_that_letters_fault(cases: list[Any], said: str) -> None:
    with pytest.raises(LetterFault) as fault:
        workbook.made("decisions", CODE, FIELDS, cases)
    assert said in str(fault.value)


@pytest.mark.parametrize(
    ("measure", "part", "whole"), [("compliance", "1", "3"), ("compliance", "2", "4")]
)
def test_compliance_counts_what_the_letter_counts(measure: str, part: str, whole: str) -> None:
    fields = {**FIELDS, measure: {"part": part, "whole": whole}}
    with pytest.raises(LetterFault, match=f"The letter counts .*{measure}"):
        workbook.made("compliance", CODE, fields, COMPLIANCE)


def edited(change: Callable[[Any], None]) -> bytes:
    """The workbook, as somebody saves it who has changed something in it."""
    book = load_workbook(io.BytesIO(workbook.made("decisions", CODE, FIELDS, DECISIONS)))
    change(book)
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def repacked(name: str, change: Callable[[bytes], bytes]) -> bytes:
    """The workbook with one of its parts changed, or another one put in."""
    file = io.BytesIO()
    made = workbook.made("decisions", CODE, FIELDS, DECISIONS)
    with zipfile.ZipFile(io.BytesIO(made)) as book, zipfile.ZipFile(file, "w") as other:
        for each in book.namelist():
            if each != name:
                other.writestr(each, book.read(each))
        other.writestr(name, change(book.read(name) if name in book.namelist() else b""))
    return file.getvalue()


def _smuggle(book: Any) -> None:
    book.active.append(["99 999 999", None, date(2019, 7, 1), "x", "Upheld", "Yes"])


def _blank(book: Any) -> None:
    book.active.append([None, None, None, "a category without a case"])


def _hide(book: Any) -> None:
    book.active.row_dimensions[2].hidden = True


def _another_sheet(book: Any) -> None:
    book.create_sheet("More").sheet_state = "hidden"


def _named(book: Any) -> None:
    book.defined_names["all"] = DefinedName("all", attr_text="Decisions!$A$1")


def _to_elsewhere(part: bytes) -> bytes:
    return part.replace(b"/>", b' TargetMode="External"/>', 1)


def _linked(book: Any) -> None:
    book.active["A2"].hyperlink = "https://elsewhere.example/"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (edited(_smuggle), "it has 4 rows. Not among the cases: 99 999 999."),
        (edited(_blank), "Not among the cases: None."),
        (edited(lambda book: book.active.delete_rows(3)), "as they were pulled: 19 000 002."),
        (edited(lambda book: book.active.cell(2, 4, "Planning")), "Not among the cases: 19 000"),
        (edited(lambda book: book.active.cell(1, 2, "Other")), "has other headings"),
        (edited(lambda book: book.active.cell(2, 4, "=1+1")), "a formula, a link or a note in D2"),
        (edited(lambda book: book.active.cell(2, 8, "more")), "has other headings"),
        (edited(lambda book: book.active.cell(2, 1, True)), "a note in A2"),
        (edited(_hide), "that are hidden"),
        (edited(_another_sheet), "holds what none does: xl/worksheets/sheet2.xml"),
        (edited(_named), "that are hidden"),
        (edited(_linked), "holds what none does: xl/worksheets/_rels"),
        (repacked("xl/vbaProject.bin", lambda _: b"macro"), "none does: xl/vbaProject.bin"),
        (repacked("xl/sharedStrings.xml", lambda _: b"<sst/>"), "none does: xl/sharedStrings.xml"),
        (repacked("_rels/.rels", _to_elsewhere), "links to something outside"),
        (b"PK no workbook", "cannot be read back"),
    ],
)  # fmt: skip
def test_whatever_else_is_in_a_workbook_is_found_when_it_is_read_back(
    data: bytes, said: str
) -> None:
    with pytest.raises(LetterFault) as fault:
        workbook.prove("decisions", CODE, DECISIONS, data)
    assert said in str(fault.value)


def test_another_workbook_of_the_same_cases_is_as_good() -> None:
    book = Workbook()
    for row in opened(workbook.made("decisions", CODE, FIELDS, DECISIONS)).iter_rows():
        for cell in row:
            copy = book.active.cell(cell.row, cell.column, cell.value)
            copy.number_format = cell.number_format
            if isinstance(cell.value, str):
                copy.data_type = "s"
    file = io.BytesIO()
    book.save(file)
    workbook.prove("decisions", CODE, DECISIONS, file.getvalue())


@settings(max_examples=60, deadline=None)
@given(
    st.text(
        st.characters(exclude_categories=["Cs"], exclude_characters="\ufffe\uffff").filter(
            lambda sign: sign >= " " or sign in "\t\r\n"
        ),
        max_size=40,
    )
)
def test_any_words_come_out_as_they_went_in(words: str) -> None:
    cases = [[*DECISIONS[0][:3], words, *DECISIONS[0][4:]], *DECISIONS[1:]]
    data = workbook.made("decisions", CODE, FIELDS, cases)
    [first, *_] = workbook.rows("decisions", data)
    assert first[3] == (words.replace("\r\n", "\n").replace("\r", "\n") or None)


def test_its_name_is_plain_and_bounded() -> None:
    scilly = {**FIELDS, "authority": "Council of the Isles of Scilly"}
    assert workbook_filename("decisions", scilly) == (
        "Decisions 2019-20 - Council of the Isles of Scilly.xlsx"
    )
    long = {**FIELDS, "authority": "Ynys Môn / ..\\" * 40, "period_start": "1 January 2020"}
    name = workbook_filename("compliance", long)
    assert name.startswith("Compliance 2020 - Ynys Mon")
    assert name.isascii()
    assert len(name) <= 120
    assert not set(name) & set('/\\:*?"<>|')
