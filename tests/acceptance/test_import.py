"""Statistics brought in through the real command: from a folder or a workbook, and on record."""

import csv
import hashlib
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from openpyxl import Workbook  # type: ignore[import-untyped]

from pipeline import schema
from pipeline.database import Database
from tests.acceptance.site import Row, Site, part_of_the_sample

STEVENAGE, WATFORD = "E07000243", "E07000103"


def on_record(site: Site) -> list[Any]:
    """What the ledger's story says of imports."""
    ledger = Database(site.environment["LETTERS_DATABASE__URL"])
    e = schema.events
    try:
        with ledger.read() as connection:
            return list(
                connection.execute(
                    sa.select(e).where(e.c.kind == "statistics_imported").order_by(e.c.id)
                ).all()
            )
    finally:
        ledger.close()


def as_workbook(folder: Path, path: Path) -> Path:
    """The same rows, a sheet for each file."""
    book = Workbook()
    book.remove(book.active)
    for file in sorted(folder.glob("*.csv")):
        sheet = book.create_sheet(file.stem)
        with file.open(encoding="utf-8", newline="") as lines:
            for row in csv.reader(lines):
                sheet.append([cell or None for cell in row])
    book.save(path)
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return part_of_the_sample(tmp_path / "data", [STEVENAGE, WATFORD])


def test_who_imported_what_is_on_record(site: Site, data: Path) -> None:
    loaded = site.json("import", str(data), "--by", "Ann Other")
    assert loaded["open_runs"] == []
    [event] = on_record(site)
    assert (event.person, event.run_id, event.letter_id) == ("Ann Other", None, None)
    assert event.data["path"] == str(data)
    assert event.data["replace"] is False
    assert event.data["counts"] == loaded["counts"]
    assert event.data["counts"]["authorities"]["added"] == 2
    assert {one["name"]: one["sha256"] for one in event.data["sources"]} == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in data.glob("*.csv")
    }
    # again, by whoever is logged in
    site.letters("import", str(data), "--replace")
    first, again = on_record(site)
    assert first == event
    assert again.person
    assert (again.data["replace"], again.data["counts"]["authorities"]["unchanged"]) == (True, 2)


def test_a_workbook_does_as_well_as_a_folder(site: Site, data: Path, tmp_path: Path) -> None:
    book = as_workbook(data, tmp_path / "statistics.xlsx")
    from_book = site.json("import", str(book))
    [event] = on_record(site)
    digest = hashlib.sha256(book.read_bytes()).hexdigest()
    assert {one["sha256"] for one in event.data["sources"]} == {digest}
    from_folder = site.json("import", str(data))
    for name, counts in from_folder["counts"].items():
        assert counts["added"] == counts["replaced"] == 0
        assert counts["unchanged"] == from_book["counts"][name]["added"]


def test_what_was_refused_leaves_nothing_on_record(site: Site, data: Path) -> None:
    site.letters("import", str(data))
    with (data / "officers.csv").open("a", encoding="utf-8") as file:
        file.write("E99999999,chief_executive,,,,,nobody@nowhere.example,,\n")
    said = site.letters("import", str(data), expect=1).stderr
    assert "Nothing was imported" in said
    assert "E99999999" in said
    assert len(on_record(site)) == 1
    assert "nowhere" in site.letters("import", "/nowhere", expect=2).stderr
    assert len(on_record(site)) == 1


def test_an_open_run_says_how_to_take_it_in(site: Site, data: Path, tmp_path: Path) -> None:
    site.letters("import", str(data))
    site.letters("run", "2020", env={"LETTERS_APPROVAL__PEOPLE": "1"}, expect=1)

    def corrected(tables: dict[str, list[Row]]) -> None:
        tables["officers"][0]["family_name"] = "Newcome"

    again = part_of_the_sample(tmp_path / "again", [STEVENAGE, WATFORD], corrected)
    # nothing new is no news
    assert "refresh" not in site.letters("import", str(data)).stdout
    said = site.letters("import", str(again)).stdout
    assert (
        "The run of 2020 is open and keeps what it was opened with; to take this in: "
        "letters refresh 2020" in said
    )
    assert site.json("import", str(data))["open_runs"] == [2020]
    site.letters("cancel", "2020", "--reason", "given up", "--yes")
    assert site.json("import", str(again))["open_runs"] == []
