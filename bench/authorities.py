"""Invented authorities, as many as are wanted, in a statistics database of its own.

    python -m bench.authorities COUNT URL

writes them into the tables that a site fills with its own: names that no authority has, of the
kinds and in about the proportions of the English ones, officers at .example addresses, decisions
and compliance to count. The same COUNT is always the same authorities, and the first 100 of 10,000
are the 100. Most have figures for all three rings; some have nothing to divide by, as in life.
"""

import argparse
import random
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Any

import sqlalchemy as sa

from pipeline import migrate, schema
from pipeline.database import Database

YEAR = 2020
PERIOD = (date(2019, 4, 1), date(2020, 3, 31))

_FIRST = (
    "Alder", "Amber", "Ash", "Barn", "Beck", "Birch", "Black", "Brack", "Briar", "Brook", "Carl",
    "Chalk", "Clover", "Copper", "Cran", "Crow", "Dun", "Elder", "Elm", "Fern", "Flax", "Fox",
    "Gorse", "Hazel", "Hart", "Heather", "Hollin", "Iron", "Kel", "Lark", "Linden", "Maple", "Mar",
    "Mill", "Moss", "Nettle", "Oaken", "Orchard", "Pebble", "Quill", "Raven", "Reed", "Rowan",
    "Saltern", "Sedge", "Silver", "Thistle", "Thorn", "Willow", "Wren",
)  # fmt: skip
_SECOND = (
    "al", "an", "ar", "back", "bar", "ber", "bur", "den", "der", "ding", "el", "en", "er", "fall",
    "gar", "ham", "hol", "ing", "kin", "lan", "len", "ling", "low", "man", "mer", "min", "mor",
    "ning", "or", "over", "ring", "row", "sal", "sel", "stan", "ter", "ton", "under", "ven", "wen",
)  # fmt: skip
_THIRD = (
    "beck", "borough", "bourne", "bridge", "brook", "bury", "by", "castle", "chester", "cliff",
    "combe", "cote", "dale", "dean", "don", "fell", "field", "firth", "ford", "gate", "grove",
    "hampton", "haven", "heath", "hithe", "holme", "hurst", "keld", "leigh", "ley", "marsh", "mere",
    "minster", "mouth", "ness", "port", "ridge", "sett", "shaw", "stead", "stoke", "stow", "thorpe",
    "thwaite", "toft", "wick", "wold", "wood", "worth", "yard",
)  # fmt: skip
_PLACES = len(_FIRST) * len(_SECOND) * len(_THIRD)
_STRIDE = 61_843  # shares no factor with the number of places, so that every one comes once

_KINDS = (
    *(("district", "Borough Council", "Council"),) * 7,
    *(("district", "District Council", "Council"),) * 4,
    *(("unitary", "Council", "Council"),) * 3,
    *(("metropolitan", "Metropolitan Borough Council", "Council"),) * 2,
    *(("london_borough", "London Borough Council", "Council"),) * 2,
    ("county", "County Council", "Council"),
    ("national_park", "National Park Authority", "Authority"),
)
_GIVEN = ("Alex", "Bea", "Chloë", "Dev", "Eira", "Femi", "Grace", "Hana", "Idris", "Jo")
_FAMILY = ("Ashdown", "Bairstow", "Chaudhry", "Delacroix", "Eastlake", "Fenwick", "Garside")
_HONORIFICS = ("Mr", "Ms", "Mrs", "Dr", "")
_OUTCOMES = (
    *("upheld",) * 5,
    *("not_upheld",) * 3,
    "referred_back",
    "closed_after_initial_enquiries",
)
_REMARK = (
    "I welcome the way your officers have answered our enquiries this year, and the care that they"
    " have taken to learn from complaints."
)
_AT_ONCE = 4_000

Row = dict[str, Any]


def name(number: int) -> str:
    """What the authority of this number is called; no two are called alike."""
    place, again = number * _STRIDE % _PLACES, number // _PLACES
    first, rest = divmod(place, len(_SECOND) * len(_THIRD))
    second, third = divmod(rest, len(_THIRD))
    new = f"New {'Very ' * (again - 1)}" if again else ""
    kind = _KINDS[number % len(_KINDS)][1]
    return f"{new}{_FIRST[first]}{_SECOND[second]}{_THIRD[third]} {kind}"


def write(url: str, count: int) -> None:
    """Fill an empty database with `count` authorities and the edition of their letters."""
    db = Database(url)
    try:
        migrate.upgrade(db)
        with db.write() as connection:
            connection.execute(sa.insert(schema.editions), [_edition()])
            numbers = iter(range(count))
            while chunk := list(islice(numbers, _AT_ONCE)):
                rows: dict[sa.Table, list[Row]] = {
                    table: []
                    for table in (
                        schema.authorities,
                        schema.officers,
                        schema.decisions,
                        schema.compliance,
                        schema.remarks,
                    )
                }
                for number in chunk:
                    for table, row in _rows(number):
                        rows[table].append(row)
                for table, listed in rows.items():
                    if listed:
                        connection.execute(sa.insert(table), listed)
    finally:
        db.close()


def _edition() -> Row:
    return {
        "year": YEAR,
        "letter_date": date(2020, 7, 22),
        "published_on": date(2020, 7, 29),
        "period_start": PERIOD[0],
        "period_end": PERIOD[1],
        "signatory": "Robin Example",
        "signatory_posts": ["Ombudsman", "Chair of the Commission"],
        "facts": {
            "delegates": 178,
            "delegate_authorities": 143,
            "courses": 118,
            "people": 1400,
            "more_courses": 47,
        },
        "copied_roles": [],
        "prepare_on": date(2020, 7, 15),
        "dispatch_at": datetime(2020, 7, 22, 8, tzinfo=UTC),
    }


def _rows(number: int) -> Iterator[tuple[sa.Table, Row]]:
    chance = random.Random(number)  # noqa: S311 - figures, not secrets
    kind, _, noun = _KINDS[number % len(_KINDS)]
    code = f"X{number:08}"
    yield schema.authorities, {"code": code, "name": name(number), "kind": kind, "noun": noun}
    given, family = chance.choice(_GIVEN), chance.choice(_FAMILY)
    yield (
        schema.officers,
        {
            "authority_code": code,
            "role": "chief_executive",
            "honorific": chance.choice(_HONORIFICS),
            "given_name": given,
            "family_name": family,
            "post": "Chief Executive",
            "email": f"chief.executive@{code.lower()}.example",
        },
    )
    quiet = chance.random() < 0.03
    for case in range(0 if quiet else chance.randint(3, 14)):
        day = PERIOD[0] + timedelta(days=chance.randrange(366))
        outcome = chance.choice(_OUTCOMES)
        yield (
            schema.decisions,
            {
                "case_reference": f"{number}-{case}",
                "authority_code": code,
                "decided_on": day,
                "outcome": outcome,
                "remedied_early": outcome == "upheld" and chance.random() < 0.2,
            },
        )
        if outcome == "upheld":
            yield (
                schema.compliance,
                {
                    "case_reference": f"{number}-{case}",
                    "authority_code": code,
                    "recorded_on": day,
                    "outcome": "complied" if chance.random() < 0.95 else "not_complied",
                },
            )
    if chance.random() < 0.04:
        yield (
            schema.remarks,
            {"year": YEAR, "authority_code": code, "position": 1, "text": _REMARK},
        )


def main() -> None:
    """Write them, and say how long it took."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("count", type=int)
    parser.add_argument("url", help="for example sqlite:////tmp/statistics.db")
    asked = parser.parse_args()
    begun = time.monotonic()
    write(asked.url, asked.count)
    print(f"{asked.count:,} authorities in {time.monotonic() - begun:.1f} s")


if __name__ == "__main__":
    main()
