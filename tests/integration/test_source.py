"""The pull: one consistent read, counted by the database, the same on both kinds."""

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from pipeline import schema, source
from pipeline.database import Database
from pipeline.errors import Misconfigured, Refused, Unavailable
from pipeline.figures import Counts
from pipeline.letter import Record

EDITION = {
    "year": 2020,
    "letter_date": date(2020, 7, 22),
    "published_on": date(2020, 7, 29),
    "period_start": date(2019, 4, 1),
    "period_end": date(2020, 3, 31),
    "signatory": "Michael King",
    "signatory_posts": ["Ombudsman"],
    "facts": {"delegates": 178},
}


def put(db: Database, table: sa.Table, *rows: dict[str, Any]) -> None:
    with db.write() as connection:
        connection.execute(sa.insert(table), list(rows))


def authority(code: str, kind: str = "district", **rest: Any) -> dict[str, Any]:
    return {
        "code": code,
        "name": f"{code} Council",
        "kind": kind,
        "noun": "Council",
        "active_from": None,
        "active_to": None,
        "successor_code": None,
        **rest,
    }


def officer(code: str, role: str = "chief_executive", **rest: Any) -> dict[str, Any]:
    return {
        "authority_code": code,
        "role": role,
        "family_name": "Jones",
        "post": "Chief Executive",
        "email": f"{role}@{code.lower()}.example",
        "active_from": None,
        "active_to": None,
        **rest,
    }


_cases = iter(range(10**6))


def decided(code: str, outcome: str, on: date = date(2019, 6, 1), **rest: Any) -> dict[str, Any]:
    return {
        "case_reference": f"19 {next(_cases):06}",
        "authority_code": code,
        "decided_on": on,
        "outcome": outcome,
        "remedied_early": False,
        **rest,
    }


def recorded(code: str, outcome: str, on: date = date(2019, 6, 1)) -> dict[str, Any]:
    return {
        "case_reference": f"18 {next(_cases):06}",
        "authority_code": code,
        "recorded_on": on,
        "outcome": outcome,
    }


def records(db: Database, year: int = 2020) -> dict[str, Record]:
    with source.pull(db, year) as pulled:
        found = {record.authority.code: record for record in pulled.records}
        assert pulled.count == len(found)
        return found


@pytest.fixture
def edition(db: Database) -> Database:
    put(db, schema.editions, EDITION)
    return db


def test_counts_are_the_periods_and_neither_table_multiplies_the_other(edition: Database) -> None:
    put(edition, schema.authorities, authority("A"), authority("B"))
    put(
        edition,
        schema.decisions,
        decided("A", "upheld", date(2019, 4, 1)),
        decided("A", "upheld", date(2020, 3, 31), remedied_early=True),
        decided("A", "upheld", date(2019, 3, 31)),
        decided("A", "upheld", date(2020, 4, 1)),
        decided("A", "not_upheld"),
        decided("A", "not_upheld", remedied_early=True),  # put right, but not upheld
        decided("A", "advice_given"),
        decided("A", "referred_back"),
        decided("B", "not_upheld"),
    )
    put(
        edition,
        schema.compliance,
        recorded("A", "complied"),
        recorded("A", "complied_late"),
        recorded("A", "complied_late"),
        recorded("A", "not_complied"),
        recorded("A", "complied", date(2020, 4, 1)),
    )
    found = records(edition)
    assert found["A"].counts == Counts(
        upheld=2, not_upheld=2, remedied_early=1, complied=1, complied_late=2, not_complied=1
    )
    assert found["B"].counts == Counts(not_upheld=1)


def test_averages_are_pooled_over_the_kind_and_the_published_one_wins(edition: Database) -> None:
    put(
        edition,
        schema.authorities,
        authority("A"),
        authority("B"),
        authority("C", "county"),
        authority("D", "fire"),
        authority("E", active_to=date(2019, 3, 31)),
    )
    put(
        edition,
        schema.decisions,
        decided("A", "upheld"),
        *(decided("B", "not_upheld") for _ in range(2)),
        decided("C", "upheld"),
        decided("D", "upheld"),
        *(decided("E", "upheld") for _ in range(9)),
    )
    with source.pull(edition, 2020) as pulled:
        # 1 of 3 together; the mean of the two rates would be 50.
        assert pulled.averages["district"] == {"upheld": 33, "compliance": None, "remedy": 0}
        assert pulled.averages["county"]["upheld"] == 100
        assert "fire" not in pulled.averages
    put(
        edition,
        schema.published_averages,
        {"year": 2020, "kind": "district", "measure": "upheld", "percent": 45},
        {"year": 2019, "kind": "district", "measure": "remedy", "percent": 11},
    )
    with source.pull(edition, 2020) as pulled:
        assert pulled.averages["district"] == {"upheld": 45, "compliance": None, "remedy": 0}


def test_every_authority_active_at_any_time_in_the_period_gets_a_letter(edition: Database) -> None:
    put(
        edition,
        schema.authorities,
        authority("A"),
        authority("FIRST", active_to=date(2019, 4, 1)),
        authority("LAST", active_from=date(2020, 3, 31)),
        authority("BEFORE", active_to=date(2019, 3, 31)),
        authority("AFTER", active_from=date(2020, 4, 1)),
    )
    assert sorted(records(edition)) == ["A", "FIRST", "LAST"]


def test_the_officer_in_force_on_the_letters_date_counts(edition: Database) -> None:
    put(edition, schema.authorities, authority("A"))
    put(
        edition,
        schema.officers,
        officer("A", family_name="Left", active_to=date(2020, 7, 21)),
        officer("A", family_name="Comes", active_from=date(2020, 7, 23)),
        officer("A", family_name="Last", active_to=date(2020, 7, 22)),
        officer("A", "link_officer", family_name="Aaron"),
        officer("A", family_name="First", active_from=date(2020, 7, 22)),
    )
    assert [one.family_name for one in records(edition)["A"].officers] == [
        "First",
        "Last",
        "Aaron",
    ]


def test_an_abolished_authority_is_addressed_through_its_successor(edition: Database) -> None:
    put(
        edition,
        schema.authorities,
        authority("OLD", active_to=date(2020, 3, 31), successor_code="MID"),
        authority("MID", active_to=date(2020, 6, 30), successor_code="NEW"),
        authority("NEW", active_from=date(2020, 7, 1)),
    )
    put(edition, schema.officers, officer("OLD"), officer("NEW", family_name="Successor"))
    found = records(edition)
    assert found["OLD"].addressee.code == "NEW"
    assert [one.family_name for one in found["OLD"].officers] == ["Successor"]


def test_remarks_are_the_years_in_their_order(edition: Database) -> None:
    put(edition, schema.authorities, authority("A"))
    put(
        edition,
        schema.remarks,
        {"year": 2020, "authority_code": "A", "position": 10, "text": "second"},
        {"year": 2020, "authority_code": "A", "position": 2, "text": "first"},
        {"year": 2019, "authority_code": "A", "position": 1, "text": "last year's"},
    )
    assert list(records(edition)["A"].remarks) == ["first", "second"]


def test_the_defaults_of_an_edition(edition: Database) -> None:
    with source.pull(edition, 2020) as pulled:
        assert list(pulled.edition.copied_roles) == ["link_officer"]
        assert pulled.edition.prepare_on == date(2020, 7, 15)
        # 09:00 in London in summer
        assert pulled.edition.dispatch_at == datetime(2020, 7, 22, 8, tzinfo=UTC)


def test_what_is_written_during_a_pull_is_not_in_it(edition: Database) -> None:
    put(edition, schema.authorities, authority("A"))
    with source.pull(edition, 2020) as pulled:
        other = Database(_url(edition))
        put(other, schema.decisions, decided("A", "upheld"))
        other.close()
        assert next(iter(pulled.records)).counts == Counts()
    assert records(edition)["A"].counts == Counts(upheld=1)


def _url(db: Database) -> str:
    return str(db.__reduce__()[1][0])


def test_a_year_without_an_edition_says_which_there_are(edition: Database) -> None:
    with (
        pytest.raises(Refused, match=r"no edition of 2021 \(there is 2020\).*letters import"),
        source.pull(edition, 2021),
    ):
        pass


def test_a_period_that_ends_before_it_starts_is_refused(db: Database) -> None:
    put(db, schema.editions, {**EDITION, "period_end": date(2018, 1, 1)})
    with pytest.raises(Refused, match="before it starts"), source.pull(db, 2020):
        pass


def test_a_missing_statistics_database_is_unavailable(tmp_path: Path) -> None:
    with (
        pytest.raises(Unavailable, match="no statistics database"),
        source.pull(Database(f"sqlite:///{tmp_path}/none.db", read_only=True), 2020),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_foreign_database_is_named_with_what_it_lacks(tmp_path: Path) -> None:
    foreign = Database(f"sqlite:///{tmp_path}/foreign.db")
    with foreign.write() as connection:
        connection.execute(sa.text("CREATE TABLE customers (id INTEGER)"))
    with (
        pytest.raises(Misconfigured, match=r"foreign\.db does not offer.*editions.*authorities"),
        source.pull(foreign, 2020),
    ):
        pass
    foreign.close()


def test_views_over_a_sites_own_tables_serve_as_well(db: Database) -> None:
    """Views with the documented columns only, and 0/1 and text where tables hold more."""
    with db.write() as connection:
        for table in schema.STATISTICS:
            columns = [column.name for column in table.columns if column.name != "id"]
            renamed = f"own_{table.name}"
            connection.execute(sa.text(f"ALTER TABLE {table.name} RENAME TO {renamed}"))
            chosen = []
            for name in columns:
                expression = name
                if name == "remedied_early":
                    expression = f"CAST({name} AS INTEGER) AS {name}"
                elif name in {"facts", "signatory_posts", "copied_roles"}:
                    expression = f"CAST({name} AS TEXT) AS {name}"
                chosen.append(expression)
            connection.execute(
                sa.text(f"CREATE VIEW {table.name} AS SELECT {', '.join(chosen)} FROM {renamed}")
            )
        for own, row in (
            (
                "own_editions",
                {**EDITION, "facts": None, "signatory_posts": json.dumps(["Ombudsman"])},
            ),
            ("own_authorities", authority("A")),
            ("own_decisions", decided("A", "upheld", remedied_early=True)),
            ("own_officers", officer("A")),
        ):
            values = {
                name: value.isoformat() if isinstance(value, date) else value
                for name, value in row.items()
                if value is not None
            }
            # written out, as psycopg would give a text parameter a type that JSON does not take
            written = ", ".join(
                str(value) if isinstance(value, bool | int) else f"'{value}'"
                for value in values.values()
            )
            connection.execute(
                sa.text(f"INSERT INTO {own} ({', '.join(values)}) VALUES ({written})")
            )
    found = records(db)
    assert found["A"].counts == Counts(upheld=1, remedied_early=1)
    assert found["A"].officers[0].email == "chief_executive@a.example"
