"""What people type, and which of the sample's authorities they mean by it."""

import csv
from pathlib import Path

import pytest

from pipeline.register import Entry, look_up, short_name

SAMPLE = Path(__file__).resolve().parent.parent.parent / "sample" / "authorities.csv"

with SAMPLE.open(encoding="utf-8-sig", newline="") as file:
    ENTRIES = [Entry(code=row["code"], name=row["name"]) for row in csv.DictReader(file)]


def names(typed: str) -> list[str]:
    return [one.name for one in look_up(typed, ENTRIES).entries]


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("E07000243", "Stevenage Borough Council"),
        (" e07000243 ", "Stevenage Borough Council"),
        ("0243", "Stevenage Borough Council"),
        ("stevenage", "Stevenage Borough Council"),
        ("STEVENAGE", "Stevenage Borough Council"),
        ("steven", "Stevenage Borough Council"),
        ("Stevenage Borough", "Stevenage Borough Council"),
        ("the borough council of Stevenage", "Stevenage Borough Council"),
        ("kings lynn", "Borough Council of King's Lynn and West Norfolk"),
        ("King’s Lynn & West Norfolk", "Borough Council of King's Lynn and West Norfolk"),
        ("kings-lynn-and-west-norfolk", "Borough Council of King's Lynn and West Norfolk"),
        ("kings lyn", "Borough Council of King's Lynn and West Norfolk"),
        ("hammersmith and fulham", "London Borough of Hammersmith & Fulham"),
        ("Hammersmith&Fulham", "London Borough of Hammersmith & Fulham"),
        ("fulham", "London Borough of Hammersmith & Fulham"),
        ("telford wrekin", "Telford & Wrekin Council"),
        ("stockton on tees", "Stockton-on-Tees Borough Council"),
        ("stocktonontees", "Stockton-on-Tees Borough Council"),
        ("BARROW IN FURNESS", "Barrow-in-Furness Borough Council"),
        ("St. Albans", "St Albans City and District Council"),
        ("Bournémouth", "Bournemouth, Christchurch and Poole Council"),
        ("poole", "Bournemouth, Christchurch and Poole Council"),
        ("scilly", "Council of the Isles of Scilly"),
        ("westminster", "City of Westminster"),
        ("city of london", "City of London Corporation"),
        ("wycombe", "Wycombe District Council"),
        ("peak district", "Peak District National Park Authority"),
        # exact names beat parts
        ("Buckinghamshire Council", "Buckinghamshire Council"),
        ("Buckinghamshire County Council", "Buckinghamshire County Council"),
        ("buckinghamshire county", "Buckinghamshire County Council"),
        ("durham", "Durham County Council"),
        ("york", "City of York Council"),
        ("rother", "Rother District Council"),
        ("wyre", "Wyre Borough Council"),
        ("new forest", "New Forest District Council"),
        ("leicester", "Leicester City Council"),
        # a word that tells two apart has to be right
        ("leicester county council", "Leicestershire County Council"),
        # whole words beat parts of words
        ("dean", "Forest of Dean District Council"),
    ],
)
def test_one_authority_is_meant(typed: str, name: str) -> None:
    assert names(typed) == [name]


@pytest.mark.parametrize(
    ("typed", "several"),
    [
        (
            "richmond",
            ["London Borough of Richmond upon Thames", "Richmondshire District Council"],
        ),
        ("buckinghamshire", ["Buckinghamshire Council", "Buckinghamshire County Council"]),
        ("isle", ["Council of the Isles of Scilly", "Isle of Wight Council"]),
        ("chester", ["Cheshire West and Chester Council", "Chesterfield Borough Council"]),
        ("sussex", ["East Sussex County Council", "Mid Sussex District Council",
                    "West Sussex County Council"]),
    ],
)  # fmt: skip
def test_several_may_be_meant(typed: str, several: list[str]) -> None:
    assert names(typed) == several


@pytest.mark.parametrize(
    ("typed", "suggested"),
    [
        ("stevenge", "Stevenage Borough Council"),
        ("Stevenidge Borough Council", "Stevenage Borough Council"),
        ("stevenage district council", "Stevenage Borough Council"),
        ("hamersmith", "London Borough of Hammersmith & Fulham"),
        ("kigns lynn", "Borough Council of King's Lynn and West Norfolk"),
        ("bornemouth", "Bournemouth, Christchurch and Poole Council"),
        ("E0700243", "Stevenage Borough Council"),
        ("E07000999", None),
        ("Atlantis", None),
    ],
)
def test_what_is_not_there_is_never_guessed_at(typed: str, suggested: str | None) -> None:
    match = look_up(typed, ENTRIES)
    assert match.entries == ()
    assert not match.exact
    if suggested is not None:
        assert match.near[0].name == suggested
    assert len(match.near) <= 5


@pytest.mark.parametrize("typed", ["", "  ", "'", "&", "-", "\x00", "—"])
def test_nothing_that_says_anything_finds_nothing(typed: str) -> None:
    match = look_up(typed, ENTRIES)
    assert (match.entries, match.near) == ((), ())


def test_every_code_and_name_finds_its_own_however_it_is_written() -> None:
    for one in ENTRIES:
        plain = one.name.replace("&", "and").replace("'", "").replace("-", " ")
        for typed in (one.code, one.code.lower(), one.name, one.name.upper(), plain):
            match = look_up(typed, ENTRIES)
            assert (match.entries, match.exact) == ((one,), True), typed


def test_every_short_name_finds_its_own() -> None:
    for one in ENTRIES:
        short = short_name(one.name)
        assert short
        assert " " not in short
        assert one in look_up(short, ENTRIES).entries
    assert short_name("London Borough of Camden") == "camden"
    assert short_name("St Albans City and District Council") == "st-albans"
    assert short_name("City of London Corporation") == "city-of-london-corporation"
    assert short_name("London Borough of Hammersmith & Fulham") == "hammersmith-and-fulham"


def test_only_a_code_or_a_full_name_is_exact() -> None:
    assert not look_up("stevenage", ENTRIES).exact
    assert look_up("stevenage borough council", ENTRIES).exact
    twice = [Entry(code="A", name="Eden Council"), Entry(code="B", name="Eden Council")]
    assert look_up("eden council", twice).entries == tuple(twice)
    assert look_up("b", twice).entries == (twice[1],)
