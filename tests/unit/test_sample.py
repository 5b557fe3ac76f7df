"""The shipped sample, read as plain CSV: what is promised about it is true of the files."""

import csv
import importlib.util
import json
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import date
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import pytest

SAMPLE = Path(__file__).resolve().parents[2] / "sample"
START, END, LETTER_DATE = "2019-04-01", "2020-03-31", "2020-07-22"
STEVENAGE, WATFORD, BIRMINGHAM = "E07000243", "E07000103", "E08000025"
BUCKINGHAMSHIRE = "E06000060"
ABOLISHED = {"E10000002", "E07000004", "E07000005", "E07000006", "E07000007"}

Row = dict[str, str]


def rows(name: str) -> list[Row]:
    with (SAMPLE / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, strict=True))


AUTHORITIES = {row["code"]: row for row in rows("authorities")}
OFFICERS = rows("officers")
DECISIONS = rows("decisions")
COMPLIANCE = rows("compliance")


def codes_of(kind: str) -> set[str]:
    return {code for code, row in AUTHORITIES.items() if row["kind"] == kind}


def has_letter(row: Row) -> bool:
    return (not row["active_from"] or row["active_from"] <= END) and (
        not row["active_to"] or row["active_to"] >= START
    )


def outcomes(codes: Iterable[str]) -> Counter[str]:
    """Outcomes within the period, with `remedied` for the upheld cases put right early."""
    wanted = set(codes)
    count: Counter[str] = Counter()
    for row in DECISIONS:
        if row["authority_code"] in wanted and START <= row["decided_on"] <= END:
            count[row["outcome"]] += 1
            count["remedied"] += row["outcome"] == "upheld" and row["remedied_early"] == "1"
    for row in COMPLIANCE:
        if row["authority_code"] in wanted and START <= row["recorded_on"] <= END:
            count[row["outcome"]] += 1
            count["due"] += 1
    return count


def uphold(count: Counter[str]) -> Fraction:
    return Fraction(100 * count["upheld"], count["upheld"] + count["not_upheld"])


def complied(count: Counter[str]) -> Fraction:
    return Fraction(100 * (count["complied"] + count["complied_late"]), count["due"])


def remedied(count: Counter[str]) -> Fraction:
    return Fraction(100 * count["remedied"], count["upheld"])


def in_post(code: str, role: str, day: str = LETTER_DATE) -> list[Row]:
    return [
        row
        for row in OFFICERS
        if row["authority_code"] == code
        and row["role"] == role
        and (not row["active_from"] or row["active_from"] <= day)
        and (not row["active_to"] or row["active_to"] >= day)
    ]


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        ("district", 192),
        ("county", 26),
        ("unitary", 56),
        ("metropolitan", 36),
        ("london_borough", 33),
        ("national_park", 10),
    ],
)
def test_letters_by_kind(kind: str, number: int) -> None:
    assert sum(has_letter(AUTHORITIES[code]) for code in codes_of(kind)) == number


def test_the_register() -> None:
    assert len(rows("authorities")) == len(AUTHORITIES) == 354
    assert sum(map(has_letter, AUTHORITIES.values())) == 353
    assert len({row["name"] for row in AUTHORITIES.values()}) == 354
    prefixes = {
        "district": "E07",
        "county": "E10",
        "unitary": "E06",
        "metropolitan": "E08",
        "london_borough": "E09",
        "national_park": "E26",
    }
    for code, row in AUTHORITIES.items():
        assert re.fullmatch(r"E\d{8}", code)
        assert code.startswith(prefixes[row["kind"]])
        assert row["noun"] == ("Authority" if row["kind"] == "national_park" else "Council")
        assert row["name"] == " ".join(row["name"].split())


def test_abolished_authorities_and_their_successor() -> None:
    assert {code for code, row in AUTHORITIES.items() if row["active_to"]} == ABOLISHED
    for code in ABOLISHED:
        assert AUTHORITIES[code]["active_to"] == "2020-03-31"
        assert AUTHORITIES[code]["successor_code"] == BUCKINGHAMSHIRE
        assert in_post(code, "chief_executive") == []
    assert AUTHORITIES[BUCKINGHAMSHIRE]["active_from"] == "2020-04-01"
    assert not has_letter(AUTHORITIES[BUCKINGHAMSHIRE])
    (chief,) = in_post(BUCKINGHAMSHIRE, "chief_executive")
    assert chief["email"]
    new = {code for code, row in AUTHORITIES.items() if row["active_from"] == "2019-04-01"}
    assert new == {"E06000058", "E06000059", "E07000244", "E07000245", "E07000246"}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("district", (45, 99, 20)),
        ("county", (66, 99, 11)),
        ("unitary", (60, 99, 13)),
        ("metropolitan", (64, 99, 12)),
        ("london_borough", (70, 99, 16)),
    ],
)
def test_pooled_averages(kind: str, expected: tuple[int, int, int]) -> None:
    count = outcomes(codes_of(kind))
    for measure, percent in zip((uphold, complied, remedied), expected, strict=True):
        exact = measure(count)
        # No single corrected case may tip an average: it stays away from the roundings' edges.
        # (99.5 to 100 rounds to 100 and prints as 99: a shortfall never reads 100%.)
        high = Fraction(9998, 100) if percent == 99 else percent + Fraction(3, 10)
        assert percent - Fraction(3, 10) < exact < high, (measure.__name__, float(exact))


def test_an_average_that_would_round_up_to_all() -> None:
    exact = complied(outcomes(codes_of("county")))
    assert Fraction(995, 10) <= exact < 100


def test_stevenage_as_in_the_letter_of_record() -> None:
    count = outcomes([STEVENAGE])
    assert (count["upheld"], count["not_upheld"], count["remedied"]) == (1, 0, 0)
    assert (count["due"], count["complied"]) == (1, 1)
    (chief,) = in_post(STEVENAGE, "chief_executive")
    assert (chief["honorific"], chief["given_name"], chief["family_name"], chief["post"]) == (
        "Mr",
        "",
        "Partridge",
        "Chief Executive",
    )
    assert AUTHORITIES[STEVENAGE]["name"] == "Stevenage Borough Council"
    assert not [row for row in rows("remarks") if row["authority_code"] == STEVENAGE]


def test_watford() -> None:
    count = outcomes([WATFORD])
    assert (count["upheld"], count["not_upheld"]) == (5, 4)
    days = {row["decided_on"] for row in DECISIONS if row["authority_code"] == WATFORD}
    assert {START, END} <= days  # the period's first and last day count
    assert min(days) < START
    assert max(days) > END


def test_authorities_at_the_edges() -> None:
    birmingham = complied(outcomes([BIRMINGHAM]))
    assert Fraction(995, 10) < birmingham < 100  # would round to 100
    for nothing in ("E06000053", "E26000007"):
        assert sum(outcomes([nothing]).values()) == 0
    rutland = outcomes(["E06000017"])
    assert rutland["not_upheld"] > 0
    assert rutland["upheld"] == rutland["due"] == 0
    uninvestigated = [
        code
        for code in codes_of("district")
        if (count := outcomes([code]))["upheld"] + count["not_upheld"] == 0
        and count["referred_back"]
    ]
    assert uninvestigated


def test_every_letter_can_be_addressed() -> None:
    for code, row in AUTHORITIES.items():
        addressed = BUCKINGHAMSHIRE if code in ABOLISHED else code
        chiefs = in_post(addressed, "chief_executive")
        assert 1 <= len(chiefs) <= 2, row["name"]
        assert all(chief["email"] and chief["post"] for chief in chiefs)


def test_addresses_reach_nobody() -> None:
    assert all(
        re.fullmatch(r"[a-z0-9.-]+@([a-z0-9-]+\.)+example", row["email"]) for row in OFFICERS
    )
    text = "".join(path.read_text(encoding="utf-8") for path in SAMPLE.iterdir() if path.is_file())
    found = re.findall(r"[\w.+-]+@[\w.-]*\w", text)
    assert found
    assert {address.rpartition(".")[2] for address in found} == {"example"}


def test_the_officers_vary() -> None:
    chiefs = [row for row in OFFICERS if row["role"] == "chief_executive"]
    honorifics = {row["honorific"] for row in chiefs}
    assert {"", "Mr", "Ms", "Dr", "Sir", "Dame"} <= honorifics
    posts = {row["post"] for row in chiefs}
    assert {
        "Interim Chief Executive",
        "Chief Executive and Town Clerk",
        "Town Clerk and Chief Executive",
    } <= posts
    assert any(not row["given_name"] and not row["family_name"] for row in chiefs)  # vacant
    assert any(row["given_name"] == "Alex" and row["family_name"] == "Jones" for row in chiefs)
    names = {row["family_name"] for row in chiefs}
    assert {"Null", "O'Neill-Smythe"} <= names
    assert "Gwenllïan" in {row["given_name"] for row in chiefs}
    written = [row["given_name"] + row["family_name"] for row in chiefs]
    assert any(unicodedata.normalize("NFC", name) != name for name in written)

    pairs = [code for code in AUTHORITIES if len(in_post(code, "chief_executive")) == 2]
    assert len(pairs) >= 2
    retired = [row for row in chiefs if row["active_to"] and row["active_to"] < LETTER_DATE]
    assert any(in_post(row["authority_code"], "chief_executive") for row in retired)
    roles: dict[tuple[str, str], set[str]] = defaultdict(set)
    for row in OFFICERS:
        roles[row["authority_code"], row["email"]].add(row["role"])
    assert any(len(held) > 1 for held in roles.values())  # one address in two roles
    links = [code for code in AUTHORITIES if in_post(code, "link_officer")]
    assert 300 < len(links) < len(AUTHORITIES)


def test_cases_hang_together() -> None:
    references = [row["case_reference"] for row in DECISIONS]
    assert len(set(references)) == len(references)
    assert all(re.fullmatch(r"\d{2} \d{3} \d{3}", reference) for reference in references)
    due = [row["case_reference"] for row in COMPLIANCE]
    assert len(set(due)) == len(due)
    authority = {row["case_reference"]: row["authority_code"] for row in DECISIONS}
    upheld = {row["case_reference"] for row in DECISIONS if row["outcome"] == "upheld"}
    earlier = 0
    for row in COMPLIANCE:
        if row["case_reference"] in authority:
            assert authority[row["case_reference"]] == row["authority_code"]
            assert row["case_reference"] in upheld
        else:
            earlier += 1
    assert earlier
    for row in DECISIONS:
        assert row["authority_code"] in AUTHORITIES
        assert date.fromisoformat(row["received_on"]) <= date.fromisoformat(row["decided_on"])
        assert row["remedied_early"] == "0" or row["outcome"] == "upheld"
        assert row["category"]
    assert {row["outcome"] for row in DECISIONS} == {
        "upheld",
        "not_upheld",
        "advice_given",
        "referred_back",
        "closed_after_initial_enquiries",
        "incomplete_or_invalid",
    }
    assert {row["outcome"] for row in COMPLIANCE} == {"complied", "complied_late", "not_complied"}


def test_the_edition() -> None:
    (edition,) = rows("editions")
    assert (edition["year"], edition["letter_date"], edition["published_on"]) == (
        "2020",
        LETTER_DATE,
        "2020-07-29",
    )
    assert (edition["period_start"], edition["period_end"]) == (START, END)
    assert json.loads(edition["facts"]) == {
        "delegates": 178,
        "delegate_authorities": 143,
        "courses": 118,
        "people": 1400,
        "more_courses": 47,
    }
    assert edition["signatory"] == "Michael King"
    assert json.loads(edition["signatory_posts"]) == [
        "Local Government and Social Care Ombudsman",
        "Chair, Commission for Local Administration in England",
    ]
    assert rows("published_averages") == []


def test_remarks() -> None:
    remarks = rows("remarks")
    positions = defaultdict(list)
    for row in remarks:
        assert row["authority_code"] in AUTHORITIES
        assert row["text"].strip() == row["text"] != ""
        positions[row["authority_code"]].append(int(row["position"]))
    assert all(found == list(range(1, len(found) + 1)) for found in positions.values())
    assert {len(found) for found in positions.values()} == {1, 2, 3}


def test_small_enough_to_ship() -> None:
    assert sum(path.stat().st_size for path in SAMPLE.iterdir() if path.is_file()) < 1_500_000


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_sample", SAMPLE / "make_sample.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_generator_makes_the_shipped_files(tmp_path: Path) -> None:
    made = generator()
    made.make(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(made.FILES)
    for name in made.FILES:
        assert (tmp_path / name).read_bytes() == (SAMPLE / name).read_bytes(), name
