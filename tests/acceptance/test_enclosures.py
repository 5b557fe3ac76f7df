"""Workbooks of each authority's own cases, enclosed where the edition says so."""

import csv
import hashlib
import io
import re
import stat
from pathlib import Path

import openpyxl  # type: ignore[import-untyped]

from tests.acceptance.site import Row, Site, part_of_the_sample

STEVENAGE, WATFORD = "E07000243", "E07000103"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


def enclosing(tables: dict[str, list[Row]]) -> None:
    for row in tables["editions"]:
        row["enclosures"] = '["decisions", "compliance"]'


def own(data: Path, file: str, day: str, code: str) -> list[str]:
    """The references of an authority's cases in the period, as they were imported."""
    with (data / file).open(encoding="utf-8-sig") as lines:
        return sorted(
            row["case_reference"]
            for row in csv.DictReader(lines)
            if row["authority_code"] == code and "2019-04-01" <= row[day] <= "2020-03-31"
        )


def references(book: bytes) -> list[str]:
    sheet = openpyxl.load_workbook(io.BytesIO(book)).active
    return sorted(str(row[0]) for row in sheet.iter_rows(min_row=2, values_only=True))


def test_each_authority_gets_its_own_cases_and_nobody_elses(site: Site, tmp_path: Path) -> None:
    data = part_of_the_sample(tmp_path / "data", [STEVENAGE, WATFORD], enclosing)
    site.letters("import", str(data))
    site.letters("run", "2020")
    expected = {
        code: [
            own(data, "decisions.csv", "decided_on", code),
            own(data, "compliance.csv", "recorded_on", code),
        ]
        for code in (STEVENAGE, WATFORD)
    }
    mails = site.mail()
    assert len(mails) == 4  # a chief executive and a link officer each
    for mail in mails:
        code = STEVENAGE if "stevenage" in mail.recipient else WATFORD
        name = "Stevenage" if code == STEVENAGE else "Watford"
        pdf, *books = mail.message.iter_attachments()
        assert pdf.get_content_type() == "application/pdf"
        assert [one.get_content_type() for one in books] == [XLSX, XLSX]
        assert [one.get_filename() for one in books] == [
            f"Decisions 2019-20 - {name} Borough Council.xlsx",
            f"Compliance 2019-20 - {name} Borough Council.xlsx",
        ]
        assert [references(one.get_content()) for one in books] == expected[code]
        words = mail.message.get_body(("plain",))
        assert words is not None
        assert "workbooks that list each case that we decided" in " ".join(
            words.get_content().split()
        )
    _a_person_finds_them(site, tmp_path)
    _they_are_nowhere_else(
        site, [one for all_ in expected.values() for some in all_ for one in some]
    )
    told = site.letters("verify", "2020").stdout
    assert "4 enclosures (.xlsx), whole" in " ".join(told.split())


def _a_person_finds_them(site: Site, tmp_path: Path) -> None:
    shown = site.json("show", STEVENAGE)["enclosures"]
    assert [one["kind"] for one in shown] == ["decisions", "compliance"]
    told = site.letters("show", STEVENAGE).stdout
    folder = tmp_path / "books"
    folder.mkdir()
    done = site.json("letter", STEVENAGE, "--enclosures", str(folder))
    assert done["enclosure_copies"] == [str(folder / one["filename"]) for one in shown]
    for one in shown:
        assert one["filename"] in told
        copy = folder / one["filename"]
        assert copy.read_bytes() == (site.archive / one["file"]).read_bytes()
        assert hashlib.sha256(copy.read_bytes()).hexdigest() == one["sha256"]
        assert stat.S_IMODE(copy.stat().st_mode) == 0o600


def _they_are_nowhere_else(site: Site, cases: list[str]) -> None:
    """No reference of a case is in what is exported, counted or logged."""
    said = [
        site.letters("export", "2020").stdout,
        site.letters("metrics").stdout,
        *(path.read_text() for path in site.folder.rglob("*.log")),
    ]
    assert cases
    known = re.compile("|".join(re.escape(one) for one in cases))
    assert [known.findall(one) for one in said] == [[]] * len(said)
