"""The edges of a year: one authority, no decisions, forty thousand, halves of a per cent."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from pipeline import schema
from pipeline.database import Database
from tests.acceptance.site import Row, Site, part_of_the_sample, read_sample, write_folder
from tests.acceptance.test_annual_run import STEVENAGE, pages

COUNTIES, DISTRICTS = (
    [
        row["code"]
        for row in read_sample("authorities")
        if row["kind"] == kind and not row["successor_code"]
    ]
    for kind in ("county", "district")
)


def no_cases(tables: dict[str, list[Row]]) -> None:
    for name in ("decisions", "compliance", "remarks"):
        tables[name] = []


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """One letter as it is in the ledger, and the words of the page that its panels stand on."""

    figures: Any
    panels: str


def made(site: Site) -> dict[str, Made]:
    """Every letter that was made, by its authority's code."""
    database = Database(site.environment["LETTERS_DATABASE__URL"], read_only=True)
    table = schema.letters
    with database.read() as connection:
        rows = connection.execute(sa.select(table.c.authority_code, table.c.figures, table.c.pdf))
        found = {
            row.authority_code: Made(
                figures=row.figures,
                panels=" ".join(pages((site.archive / row.pdf).read_bytes())[-1].split()),
            )
            for row in rows
        }
    database.close()
    return found


# ------------------------------------------------------------------ corrected, opened, corrected


def decisions(upheld: int, of: int) -> list[Row]:
    """The same cases every time, of which so many are upheld."""
    columns = read_sample("decisions")[0]
    return [
        {
            **columns,
            "case_reference": f"19 777 {number:03}",
            "authority_code": STEVENAGE,
            "received_on": "2019-05-01",
            "decided_on": "2019-06-01",
            "outcome": "upheld" if number < upheld else "not_upheld",
            "remedied_early": "0",
        }
        for number in range(of)
    ]


def test_the_last_correction_before_a_run_counts_and_none_after_it(
    site: Site, tmp_path: Path
) -> None:
    """One authority is a whole edition, and the average of its kind is its own figure."""
    site.letters("import", str(part_of_the_sample(tmp_path / "data", [STEVENAGE], no_cases)))
    for upheld in (1, 4, 2):
        folder = write_folder(tmp_path / f"{upheld}", {"decisions": decisions(upheld, 7)})
        site.letters("import", str(folder))
    site.letters("run", "2020")
    expected = {
        "upheld": {"part": 2, "whole": 7, "percent": 29, "average": 29},
        "compliance": {"part": 0, "whole": 0, "percent": None, "average": None},
        "remedy": {"part": 0, "whole": 2, "percent": 0, "average": 0},
    }
    before = made(site)[STEVENAGE]
    assert before.figures == expected
    assert "29% of complaints we investigated were upheld." in before.panels
    mail = site.mail()
    assert mail

    late = write_folder(tmp_path / "late", {"decisions": decisions(7, 7)})
    site.letters("import", str(late))
    site.letters("run", "2020")
    assert made(site)[STEVENAGE] == before
    assert site.json("show", STEVENAGE, "--year", "2020")["figures"] == expected
    assert site.mail() == mail


# ------------------------------------------------------------------------------- nothing to do


def test_a_year_in_which_every_letter_has_a_fault(site: Site, tmp_path: Path) -> None:
    def nobody(tables: dict[str, list[Row]]) -> None:
        tables["officers"] = []

    site.letters("import", str(part_of_the_sample(tmp_path / "data", DISTRICTS[:3], nobody)))
    for _ in range(2):  # and running again says it again
        done = site.letters("run", "2020", expect=1)
        assert "has no chief executive" in " ".join(done.stdout.split())
    assert not site.maildir.exists() or site.mail() == []
    assert list(site.archive.rglob("2020/*.pdf")) == []
    status = site.json("status", "2020")
    assert [one["state"] for one in status["letters"]] == ["fault"] * 3
    assert sum(status["counts"].values()) == 0
    assert "chief executive" in site.letters("show", DISTRICTS[2], "--year", "2020").stdout


def test_a_year_without_an_edition(site: Site, tmp_path: Path) -> None:
    def no_edition(tables: dict[str, list[Row]]) -> None:
        tables["editions"] = []

    data = part_of_the_sample(tmp_path / "data", [STEVENAGE], no_edition)
    (data / "editions.csv").unlink(missing_ok=True)
    site.letters("import", str(data))
    refused = " ".join(site.letters("run", "2020", expect=2).stderr.split())
    assert "no edition of 2020 (there is none at all)" in refused
    assert "letters import" in refused
    assert "There are no letters of 2020" in site.letters("status", "2020", expect=2).stderr
    assert not site.archive.exists() or list(site.archive.rglob("*.pdf")) == []


def test_an_edition_without_any_decisions(site: Site, tmp_path: Path) -> None:
    codes = [DISTRICTS[0], COUNTIES[0]]
    site.letters("import", str(part_of_the_sample(tmp_path / "data", codes, no_cases)))
    site.letters("run", "2020")
    nothing = {"part": 0, "whole": 0, "percent": None, "average": None}
    found = made(site)
    for code in codes:
        assert found[code].figures == dict.fromkeys(("upheld", "compliance", "remedy"), nothing)
        said = found[code].panels
        assert "We did not complete any detailed investigations about your authority" in said
        assert "No recommendations were due for compliance in this period." in said
        assert "We did not uphold any complaints about your authority in this period." in said
        assert "similar authorities" not in said
        assert not re.search(r"\d%(?! should)", said)


# -------------------------------------------------------------------------------------- counting

# Upheld, not upheld, remedied early; complied, complied late, not complied.
COUNTED: Mapping[str, tuple[int, int, int, int, int, int]] = {
    DISTRICTS[0]: (12_345, 27_655, 6_173, 8_000, 1_999, 1),  # forty thousand decided cases
    DISTRICTS[1]: (249, 1, 1, 1, 0, 299),  # 99.6%; one of 249; one of 300
    DISTRICTS[2]: (1, 299, 0, 299, 0, 1),  # 0.3%; none of one; 299 of 300
    DISTRICTS[3]: (1, 7, 1, 1, 0, 199),  # 12.5%, one of one, 0.5%
    COUNTIES[0]: (3, 5, 1, 199, 0, 1),  # 37.5%; a third; 99.5%
    COUNTIES[1]: (2, 6, 0, 200, 0, 0),  # the averages of the two: 5 of 16, 1 of 5, 399 of 400
}
SHARES: Mapping[str, tuple[int, int, int]] = {
    DISTRICTS[0]: (31, 99, 50),  # 30.8625, 99.99, 50.004
    DISTRICTS[1]: (99, 1, 1),
    DISTRICTS[2]: (1, 99, 0),
    DISTRICTS[3]: (13, 1, 100),
    COUNTIES[0]: (38, 99, 33),
    COUNTIES[1]: (25, 100, 0),
}
AVERAGES = {
    # 12,596 of 40,558; 10,300 of 10,800; 6,175 of 12,596
    "district": (31, 95, 49),
    "county": (31, 99, 20),
}


def cases(code: str) -> Iterator[tuple[sa.Table, list[dict[str, Any]]]]:
    upheld, not_upheld, early, complied, late, not_complied = COUNTED[code]
    first = date(2019, 4, 1)
    yield (
        schema.decisions,
        [
            {
                "case_reference": f"{code} {number}",
                "authority_code": code,
                "received_on": first,
                "decided_on": first + timedelta(days=number % 366),
                "category": "Housing",
                "outcome": "upheld" if number < upheld else "not_upheld",
                "remedied_early": number < early,
            }
            for number in range(upheld + not_upheld)
        ],
    )
    outcomes = ["complied"] * complied + ["complied_late"] * late + ["not_complied"] * not_complied
    yield (
        schema.compliance,
        [
            {
                "case_reference": f"{code} {number}",
                "authority_code": code,
                "recorded_on": first + timedelta(days=number % 366),
                "outcome": outcome,
            }
            for number, outcome in enumerate(outcomes)
        ],
    )


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Made]:
    """A year of few authorities, one of which has forty thousand decisions."""
    folder = tmp_path_factory.mktemp("counted")
    site = Site(folder)
    site.letters("import", str(part_of_the_sample(folder / "data", list(COUNTED), no_cases)))
    database = Database(site.environment["LETTERS_DATABASE__URL"])
    with database.write() as connection:
        for code in COUNTED:
            for table, rows in cases(code):
                connection.execute(sa.insert(table), rows)
    database.close()
    site.letters("run", "2020")
    return made(site)


@pytest.mark.parametrize("code", COUNTED)
def test_figures_are_exact_and_printed_as_they_are_rounded(
    counted: Mapping[str, Made], code: str
) -> None:
    upheld, not_upheld, early, complied, late, not_complied = COUNTED[code]
    parts = (upheld, complied + late, early)
    wholes = (upheld + not_upheld, complied + late + not_complied, upheld)
    averages = AVERAGES["district" if code in DISTRICTS else "county"]
    assert counted[code].figures == {
        measure: {"part": part, "whole": whole, "percent": percent, "average": average}
        for measure, part, whole, percent, average in zip(
            ("upheld", "compliance", "remedy"), parts, wholes, SHARES[code], averages, strict=True
        )
    }
    said = counted[code].panels
    for percent, average in zip(SHARES[code], averages, strict=True):
        assert re.search(rf"(?<!\d){percent}% of|In {percent}% of", said)
        assert f"This compares to an average of {average}% in similar authorities." in said
    for whole, noun in zip(
        wholes,
        ("detailed investigation", "compliance outcome", "detailed investigation"),
        strict=True,
    ):
        assert f"a total of {whole:,} {noun}{'' if whole == 1 else 's'} for the period" in said
    assert f"{upheld:,} upheld decision{'' if upheld == 1 else 's'}" in said


def test_forty_thousand_decisions_have_a_separator(counted: Mapping[str, Made]) -> None:
    said = counted[DISTRICTS[0]].panels
    assert "a total of 40,000 detailed investigations" in said
    assert "12,345 upheld decisions" in said
    assert "6,173 satisfactory remedy decisions" in said
    assert "a total of 10,000 compliance outcomes" in said
