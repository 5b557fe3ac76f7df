"""The workbooks enclosed with a letter: this authority's cases, as words, always the same."""

import io
import zipfile
from datetime import datetime
from typing import Any

import pytest
from openpyxl import load_workbook  # type: ignore[import-untyped]

from pipeline import workbook
from pipeline.errors import LetterFault
from pipeline.message import workbook_filename

CODE = "E07000243"
FIELDS: dict[str, Any] = {
    "authority": "Stevenage Borough Council",
    "letter_year": "2020",
    "period_end": "31 March 2020",
    "signatory": "Michael King",
    "upheld": {"part": "1", "whole": "2"},
    "compliance": {"part": "1", "whole": "1"},
}
DECISIONS: list[list[Any]] = [
    ["19 000 001", "2019-05-01", "2019-06-01", "Housing", "upheld", True, CODE],
    ["19 000 002", None, "2019-07-01", "=cmd|' /C calc'!A0", "not_upheld", False, CODE],
    ["0019", "2019-05-01", "2020-03-31", "@SUM(A1)", "referred_back", False, CODE],
]


def opened(data: bytes) -> Any:
    return load_workbook(io.BytesIO(data)).active


def test_every_case_is_there_with_real_days_and_words_that_are_words() -> None:
    sheet = opened(workbook.made("decisions", CODE, FIELDS, DECISIONS))
    rows = list(sheet.iter_rows(values_only=True))
    assert rows[0] == (
        "Case reference", "Received", "Decided", "Category", "Outcome", "Remedied early",
    )  # fmt: skip
    assert rows[1] == (
        "19 000 001", datetime(2019, 5, 1), datetime(2019, 6, 1), "Housing", "Upheld", "Yes",  # noqa: DTZ001
    )  # fmt: skip
    assert rows[2][1] is None
    assert rows[3][0] == "0019"
    assert [cell.data_type for cell in sheet["D"]] == ["s"] * 4, "no formula, whatever they say"
    assert rows[2][3].startswith("=cmd")
    assert sheet.freeze_panes == "A2"
    assert CODE not in str(rows), "whose they are is said by the letter"


def test_the_same_cases_give_the_same_bytes_and_no_time() -> None:
    first = workbook.made("decisions", CODE, FIELDS, DECISIONS)
    assert workbook.made("decisions", CODE, FIELDS, DECISIONS) == first
    with zipfile.ZipFile(io.BytesIO(first)) as book:
        assert {one.date_time[0] for one in book.infolist()} == {1980}
        assert b"2000-01-01T00:00:00Z" in book.read("docProps/core.xml")
    other = [*DECISIONS[:2], [*DECISIONS[2][:3], "Other", *DECISIONS[2][4:]]]
    assert workbook.made("decisions", CODE, FIELDS, other) != first


def test_an_authority_without_cases_gets_the_headings() -> None:
    none = {**FIELDS, "upheld": {"part": "0", "whole": "0"}}
    sheet = opened(workbook.made("decisions", CODE, none, []))
    assert sheet.max_row == 1


@pytest.mark.parametrize(
    ("cases", "said"),
    [
        ([*DECISIONS[:2], [*DECISIONS[2][:-1], "E07000103"]], "another authority (E07000103)"),
        (DECISIONS[:1], "The letter counts 2 (upheld.whole), and the decisions"),
        (
            [*DECISIONS[:2], [*DECISIONS[2][:3], "a\x07b", *DECISIONS[2][4:]]],
            "no workbook can hold",
        ),
        ([*DECISIONS[:2], ["x", "soon", *DECISIONS[2][2:]]], "has no date in received_on"),
    ],
)
def test_what_may_not_be_sent_is_that_letters_fault(cases: list[Any], said: str) -> None:
    with pytest.raises(LetterFault) as fault:
        workbook.made("decisions", CODE, FIELDS, cases)
    assert said in str(fault.value)


def test_a_row_that_was_smuggled_in_is_found_when_it_is_read_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    more = [*DECISIONS, ["99 999 999", None, "2019-07-01", "x", "upheld", False, CODE]]
    written = workbook._written
    monkeypatch.setattr(workbook, "_written", lambda kind, fields, _: written(kind, fields, more))
    with pytest.raises(LetterFault, match="does not hold the 3 cases of this authority and no"):
        workbook.made("decisions", CODE, FIELDS, DECISIONS)


def test_its_name_is_plain_and_bounded() -> None:
    assert workbook_filename("decisions", 2020, "Council of the Isles of Scilly") == (
        "Decisions 2020 - Council of the Isles of Scilly.xlsx"
    )
    assert len(workbook_filename("compliance", 2020, "Ynys Môn " * 40)) <= 120
