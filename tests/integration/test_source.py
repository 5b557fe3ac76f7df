"""The pull: one consistent read, counted by the database, the same on both kinds."""

import json
import tracemalloc
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from pipeline import migrate, schema, source
from pipeline.database import Database
from pipeline.errors import Misconfigured, Refused, Unavailable
from pipeline.figures import Counts
from pipeline.letter import Record
from tests.postgres import PostgresServer

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


def test_what_a_pull_holds_does_not_grow_with_the_cases(edition: Database) -> None:
    """Cases are counted where they are: forty thousand cost no more than four hundred."""
    put(edition, schema.authorities, authority("A"))

    def peak() -> int:
        tracemalloc.start()
        try:
            records(edition)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    days = [date(2019, 4, 1) + timedelta(days=number) for number in range(366)]
    put(edition, schema.decisions, *(decided("A", "upheld", days[n % 366]) for n in range(400)))
    records(edition)  # what is kept from the first time is not counted
    few = peak()
    put(
        edition,
        schema.decisions,
        *(decided("A", "not_upheld", days[n % 366]) for n in range(39_600)),
    )
    assert records(edition)["A"].counts == Counts(upheld=400, not_upheld=39_600)
    assert peak() < few + 250_000


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


_OWN_TYPES = {
    "date": {"active_from", "active_to", "received_on", "decided_on", "recorded_on"}
    | {"letter_date", "published_on", "period_start", "period_end", "prepare_on"},
    "integer": {"year", "position", "percent", "remedied_early"},
    "timestamp": {"dispatch_at"},
}


def site(db: Database, **types: str) -> None:
    """Make the relations views over a site's own tables, which refuse nothing.

    `types` are those of columns that the site keeps otherwise; JSON is text there.
    """
    with db.write() as connection:
        for table in schema.STATISTICS:
            columns = [column.name for column in table.columns if column.name != "id"]
            known = {name: kind for kind, names in _OWN_TYPES.items() for name in names} | types
            typed = ", ".join(f"{name} {known.get(name, 'text')}" for name in columns)
            connection.exec_driver_sql(f"DROP TABLE {table.name}")
            connection.exec_driver_sql(f"CREATE TABLE own_{table.name} ({typed})")
            connection.exec_driver_sql(
                f"CREATE VIEW {table.name} AS SELECT {', '.join(columns)} FROM own_{table.name}"
            )


def keep(db: Database, table: sa.Table, *rows: dict[str, Any]) -> None:
    """Put rows into a site's own table, as literals: what is given is what is kept."""
    with db.write() as connection:
        for row in rows:
            written = ", ".join(_literal(value) for value in row.values())
            connection.exec_driver_sql(
                f"INSERT INTO own_{table.name} ({', '.join(row)}) VALUES ({written})"
            )


def _literal(value: Any) -> str:
    match value:
        case None:
            return "NULL"
        case bool():
            return str(int(value))
        case int():
            return str(value)
        case list() | dict():
            return _literal(json.dumps(value))
        case _:
            return "'" + str(value).replace("'", "''") + "'"


def refusal(db: Database, year: int = 2020) -> str:
    """What a pull is refused with, after the database's name."""
    with pytest.raises(Misconfigured) as refused, source.pull(db, year) as pulled:
        list(pulled.records)
    start = f"The statistics database {db}"
    message = str(refused.value)
    assert message.startswith(start)
    return message.removeprefix(start)


def test_views_over_a_sites_own_tables_serve_as_well(db: Database) -> None:
    """Views with the documented columns only, and 0/1 and text where tables hold more."""
    site(db)
    keep(db, schema.editions, {**EDITION, "copied_roles": ["leader"], "dispatch_at": None})
    keep(db, schema.authorities, authority("A", noun=None))
    keep(db, schema.decisions, decided("A", "upheld", remedied_early=True), decided("A", "upheld"))
    keep(db, schema.officers, officer("A"))
    keep(
        db,
        schema.published_averages,
        {"year": 2020, "kind": "district", "measure": "upheld", "percent": 45},
    )
    with source.pull(db, 2020) as pulled:
        assert pulled.edition.facts == {"delegates": 178}
        assert pulled.edition.copied_roles == ["leader"]
        assert pulled.averages["district"]["upheld"] == 45
        (found,) = pulled.records
    assert found.counts == Counts(upheld=2, remedied_early=1)
    assert found.authority.noun == "Council"
    assert found.officers[0].email == "chief_executive@a.example"


def test_a_time_on_the_last_day_is_within_the_period(db: Database) -> None:
    site(
        db, **dict.fromkeys(["decided_on", "recorded_on", "active_from", "active_to"], "timestamp")
    )
    keep(db, schema.editions, EDITION)
    keep(
        db,
        schema.authorities,
        authority("A"),
        authority("FIRST", active_to="2019-04-01 00:00:00"),
        authority("LAST", active_from="2020-03-31 10:00:00"),
        authority("BEFORE", active_to="2019-03-31 23:59:59"),
        authority("AFTER", active_from="2020-04-01 00:00:00"),
    )
    times = ("2019-04-01 00:00:00", "2020-03-31 00:00:00", "2020-03-31 10:00:00")
    outside = ("2019-03-31 23:59:59", "2020-04-01 00:00:00")
    for time in (*times, *outside):
        keep(db, schema.decisions, {**decided("A", "upheld"), "decided_on": time})
        keep(db, schema.compliance, {**recorded("A", "complied"), "recorded_on": time})
    keep(
        db,
        schema.officers,
        officer("A", family_name="Begins", active_from="2020-07-22 10:00:00"),
        officer("A", family_name="Ends", active_to="2020-07-22 00:00:00"),
        officer("A", family_name="Later", active_from="2020-07-23 00:00:00"),
        officer("A", family_name="Left", active_to="2020-07-21 23:00:00"),
    )
    found = records(db)
    assert sorted(found) == ["A", "FIRST", "LAST"]
    assert found["A"].counts == Counts(upheld=3, complied=3)
    assert [one.family_name for one in found["A"].officers] == ["Begins", "Ends"]
    with source.pull(db, 2020) as pulled:
        assert pulled.averages["district"]["upheld"] == 100


def test_dates_on_the_last_day_are_within_the_period_of_a_view(db: Database) -> None:
    site(db)
    keep(db, schema.editions, EDITION)
    keep(db, schema.authorities, authority("A"))
    keep(
        db,
        schema.decisions,
        *(decided("A", "upheld", date(2020, month, day)) for month, day in ((3, 31), (4, 1))),
    )
    assert records(db)["A"].counts == Counts(upheld=1)


def test_a_time_with_an_offset_counts_on_its_day_in_london(postgres: PostgresServer) -> None:
    name = postgres.create()
    db = Database(postgres.url(name))
    migrate.upgrade(db)
    site(db, decided_on="timestamptz")
    keep(db, schema.editions, EDITION)
    keep(db, schema.authorities, authority("A"))
    # Summer time begins on 31 March 2019 and on 29 March 2020.
    inside = ("2019-03-31 23:00:00+00", "2020-03-31 22:59:59+00")
    for time in (*inside, "2019-03-31 22:59:59+00", "2020-03-31 23:00:00+00"):
        keep(db, schema.decisions, {**decided("A", "upheld"), "decided_on": time})
    with db.engine.connect() as connection:
        connection.exec_driver_sql(f'ALTER DATABASE "{name}" SET TimeZone = "Asia/Tokyo"')
        connection.commit()
    db.close()
    assert records(db)["A"].counts == Counts(upheld=2)
    db.close()
    postgres.drop(name)


@pytest.mark.parametrize(
    ("dispatch_at", "expected"),
    [
        ("2020-07-22T10:00", 9),
        ("2020-07-22T10:00+02:00", 8),
        ("2020-07-22T10:00Z", 10),
    ],
)
def test_the_time_of_dispatch_is_londons_unless_it_says_otherwise(
    db: Database, dispatch_at: str, expected: int
) -> None:
    site(db, dispatch_at="text")
    keep(db, schema.editions, {**EDITION, "dispatch_at": dispatch_at})
    with source.pull(db, 2020) as pulled:
        assert pulled.edition.dispatch_at == datetime(2020, 7, 22, expected, tzinfo=UTC)


def test_a_stored_time_of_dispatch_is_the_one_that_was_put(db: Database) -> None:
    at = datetime(2020, 7, 22, 10, 30, tzinfo=UTC)
    put(db, schema.editions, {**EDITION, "dispatch_at": at})
    with source.pull(db, 2020) as pulled:
        assert pulled.edition.dispatch_at == at


def average(**other: Any) -> dict[str, Any]:
    return {"year": 2020, "kind": "district", "measure": "upheld", "percent": 45, **other}


CASES = [
    (
        schema.decisions,
        decided("A", "Upheld"),
        "decisions.outcome holds 'Upheld', which is none of upheld, not_upheld, advice_given,"
        " referred_back, closed_after_initial_enquiries, incomplete_or_invalid;"
        " did you mean upheld?",
    ),
    (schema.decisions, {**decided("A", "upheld"), "outcome": None}, "decisions.outcome is empty;"),
    (
        schema.decisions,
        decided("A", "upheld", remedied_early="Y"),
        "decisions.remedied_early holds 'Y', which is neither 0 nor 1; did you mean 1?",
    ),
    (
        schema.decisions,
        decided("a ", "upheld"),
        "decisions.authority_code holds 'a ', which is not in authorities.code; did you mean 'A'?",
    ),
    (
        schema.compliance,
        recorded("A", "complied late"),
        "compliance.outcome holds 'complied late', which is none of complied, complied_late,"
        " not_complied; did you mean complied_late?",
    ),
    (
        schema.compliance,
        recorded("a", "complied"),
        "compliance.authority_code holds 'a', which is not in authorities.code; did you mean 'A'?",
    ),
    (
        schema.authorities,
        authority("B", "zoo"),
        "authorities.kind holds 'zoo' (B), which is none of county, district, metropolitan,"
        " unitary, london_borough, national_park, fire, combined, transport, waste, police,"
        " other; correct it there.",
    ),
    (
        schema.authorities,
        authority("B", noun="council"),
        "authorities.noun holds 'council' (B), which is none of Council, Authority;"
        " did you mean Council?",
    ),
    (schema.authorities, {**authority("B"), "kind": None}, "authorities.kind is empty (B);"),
    (
        schema.authorities,
        authority("B 1"),
        "authorities.code holds 'B 1' (the row named 'B 1 Council'), which is not a code:"
        " 1 to 40 letters, digits, hyphens, dots and underscores, such as E07000243; correct it.",
    ),
    (
        schema.authorities,
        authority("B   "),
        "authorities.code holds 'B   ' (the row named 'B    Council'), which is not a code:"
        " 1 to 40 letters, digits, hyphens, dots and underscores, such as E07000243;"
        " let the view trim it.",
    ),
    (
        schema.authorities,
        authority("B" * 41, name="Long"),
        "authorities.code holds 'BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB' (the row named 'Long'),"
        " which is not a code: 1 to 40",
    ),
    (
        schema.authorities,
        authority("B", active_from="2021-01-01", active_to="2018-01-01"),
        "authorities.active_to holds 2018-01-01 (B), which is before active_from, 2021-01-01;"
        " correct one.",
    ),
    (
        schema.authorities,
        {**authority("B"), "code": None},
        "authorities.code is empty (the row named 'B Council');",
    ),
    (
        schema.authorities,
        authority("A"),
        "authorities.code holds 'A' in 2 rows; an authority has one row",
    ),
    (
        schema.authorities,
        authority("B", successor_code="a"),
        "authorities.successor_code holds 'a', which is not in authorities.code;",
    ),
    (
        schema.officers,
        officer("A", "boss"),
        "officers.role holds 'boss' (boss@a.example of A), which is none of chief_executive,",
    ),
    (
        schema.officers,
        officer("A", "boss", email="a\x1b[2J@a.example"),
        "officers.role holds 'boss' ('a\\x1b[2J@a.example of A'), which is none of chief_exec",
    ),
    (
        schema.officers,
        {**officer("A"), "role": None},
        "officers.role is empty (chief_executive@a.example of A);",
    ),
    (
        schema.officers,
        officer("A", authority_code=None),
        "officers.authority_code is empty (chief_executive@a.example);",
    ),
    (
        schema.officers,
        officer("A", authority_code="a"),
        "officers.authority_code holds 'a', which is not in authorities.code;",
    ),
    (
        schema.remarks,
        {"year": 2020, "authority_code": "a", "position": 1, "text": "Well done."},
        "remarks.authority_code holds 'a', which is not in authorities.code;",
    ),
    (
        schema.published_averages,
        average(measure="remedies"),
        "published_averages.measure holds 'remedies' (district, remedies, 2020), which is none of"
        " upheld, compliance, remedy; did you mean remedy?",
    ),
    (
        schema.published_averages,
        average(kind="District"),
        "published_averages.kind holds 'District' (District, upheld, 2020), which is none of",
    ),
    (
        schema.published_averages,
        average(percent=101),
        "published_averages.percent holds 101 (district, upheld, 2020); it must hold a whole",
    ),
    (
        schema.published_averages,
        average(percent=None),
        "published_averages.percent is empty (district, upheld, 2020); it must hold a whole",
    ),
]


@pytest.fixture
def own(db: Database) -> Database:
    """A site's own database with a right edition and one authority."""
    site(db, remedied_early="text")
    keep(db, schema.editions, EDITION)
    keep(db, schema.authorities, authority("A"))
    return db


@pytest.mark.parametrize(
    ("table", "row", "fault"), CASES, ids=[fault.partition(";")[0][:60] for *_, fault in CASES]
)
def test_what_cannot_be_counted_is_refused(
    own: Database, table: sa.Table, row: dict[str, Any], fault: str
) -> None:
    keep(own, table, row)
    message = refusal(own)
    assert message.startswith(f": {fault}")
    assert "\n" not in message


def test_all_that_cannot_be_counted_is_refused_at_once(own: Database) -> None:
    for table, row, _ in CASES:
        keep(own, table, row)
    keep(own, schema.authorities, authority("C", "zoo"), authority("D", "zoo"))
    message = refusal(own)
    assert message.startswith(" has these faults:\n  ")
    assert "authorities.kind holds 'zoo' (B and 2 more), which is none of" in message
    for *_, fault in CASES:
        # without the key of the row, beside which others are counted here
        assert f"\n  {fault.partition(';')[0].partition(' (')[0]}" in message


REPEATED = [
    (["19 1", "19 1"], "holds '19 1' in 2 rows; a case counts once: let the view give it one row."),
    (["19 1a", "191A"], "holds '19 1a' in 2 rows; a case counts once:"),
    (["19 1"] * 3 + ["19 2"] * 2, "holds '19 1' in 3 rows, and 1 other in several; a case counts"),
    (
        ["19 1"] * 3 + ["19 2"] * 2 + ["19 3"] * 2 + ["19 4"],
        "holds '19 1' in 3 rows, and 2 others in several; a case counts once:",
    ),
    ([None], "is empty; each case must have its reference."),
    (["19 1", " "], "is empty; each case must have its reference."),
]


@pytest.mark.parametrize(("references", "fault"), REPEATED, ids=str)
@pytest.mark.parametrize("table", [schema.decisions, schema.compliance], ids=lambda one: one.name)
def test_a_case_in_several_rows_is_refused(
    own: Database, table: sa.Table, references: list[str | None], fault: str
) -> None:
    """Each row would be counted, in the authority's figures and in the averages."""
    case = decided("A", "upheld") if table is schema.decisions else recorded("A", "complied")
    keep(own, table, *({**case, "case_reference": one} for one in references))
    message = refusal(own)
    assert message.startswith(f": {table.name}.case_reference ")
    # databases do not agree on which of two spellings comes first
    assert fault.replace("'19 1a'", "'191A'") in message.replace("'19 1a'", "'191A'")


def test_a_case_may_stand_in_both_relations_and_in_other_years(own: Database) -> None:
    keep(
        own,
        schema.decisions,
        {**decided("A", "upheld"), "case_reference": "19 1"},
        {**decided("A", "not_upheld", date(2018, 6, 1)), "case_reference": "19 1"},
        {**decided("A", "upheld"), "case_reference": "19 2"},
    )
    keep(own, schema.compliance, {**recorded("A", "complied"), "case_reference": "19 1"})
    assert records(own)["A"].counts == Counts(upheld=2, complied=1)


def test_references_may_be_numbers(db: Database) -> None:
    site(db, case_reference="integer")
    keep(db, schema.editions, EDITION)
    keep(db, schema.authorities, authority("A"))
    keep(db, schema.decisions, *({**decided("A", "upheld"), "case_reference": n} for n in (1, 2)))
    assert records(db)["A"].counts == Counts(upheld=2)
    keep(db, schema.decisions, {**decided("A", "upheld"), "case_reference": 2})
    assert "decisions.case_reference holds '2' in 2 rows;" in refusal(db)


def test_texts_are_composed_and_lose_the_white_space_around_them(own: Database) -> None:
    """As in an import. Columns of a fixed width are padded, and a name of blanks is none."""
    keep(own, schema.authorities, authority("B", name="  Cyngor Mo\u0302n\u00a0 "))
    keep(
        own,
        schema.officers,
        officer("B", honorific="  ", given_name=" Sia\u0302n", family_name="Jones  "),
        officer("B", "leader", family_name="   ", post=" ", email=" a@b.example\n"),
    )
    keep(
        own,
        schema.remarks,
        {"year": 2020, "authority_code": "B", "position": 1, "text": " \u00a0 "},
        {"year": 2020, "authority_code": "B", "position": 2, "text": " Da  iawn. "},
    )
    found = records(own)["B"]
    chief, leader = found.officers
    assert found.authority.name == "Cyngor M\u00f4n"
    assert (chief.name, leader.name) == ("Si\u00e2n Jones", "")
    assert (leader.title, leader.email) == ("Leader", "a@b.example")
    assert list(found.remarks) == ["Da  iawn."]


def test_an_officer_in_several_rows_is_one(own: Database) -> None:
    keep(own, schema.officers, officer("A"), officer("A"), officer("A", post="Town Clerk"))
    keep(own, schema.officers, officer("A", active_from="2019-01-01"))  # in force as the others
    assert [one.post for one in records(own)["A"].officers] == ["Chief Executive", "Town Clerk"]


def test_what_is_one_letters_fault_is_passed_on(own: Database) -> None:
    """It is said when that letter is composed, and the other letters go on."""
    keep(own, schema.authorities, authority("B", name=" "), authority("C", name=None))
    keep(own, schema.officers, officer("B", family_name="Jo\u202enes", email="a, b"))
    found = records(own)
    assert [found[code].authority.name for code in "BC"] == ["", ""]
    [chief] = found["B"].officers
    assert (chief.family_name, chief.email) == ("Jo\u202enes", "a, b")


def test_cases_of_other_periods_and_bodies_do_not_matter(own: Database) -> None:
    keep(
        own,
        schema.decisions,
        decided("A", "Upheld", date(2019, 3, 31)),
        decided("A", "Upheld", date(2020, 4, 1), remedied_early="Y"),
        decided("CARE HOME", "upheld"),
        {**decided("A", "upheld"), "authority_code": None},
        {**decided("A", ""), "decided_on": None},  # not decided yet
    )
    keep(own, schema.compliance, recorded("A", "Complied", date(2018, 1, 1)))
    keep(
        own,
        schema.published_averages,
        {"year": 2019, "kind": "district", "measure": "all", "percent": -1},
    )
    found = records(own)
    assert list(found) == ["A"]
    assert found["A"].counts == Counts()


def test_flags_are_booleans_or_numbers_or_digits_or_missing(own: Database) -> None:
    keep(
        own,
        schema.decisions,
        *(decided("A", "upheld", remedied_early=flag) for flag in ("0", "1", None)),
    )
    assert records(own)["A"].counts == Counts(upheld=3, remedied_early=1)


def test_a_remark_without_a_text_is_none(own: Database) -> None:
    keep(
        own,
        schema.remarks,
        {"year": 2020, "authority_code": "A", "position": 1, "text": None},
        {"year": 2020, "authority_code": "A", "position": 2, "text": "Well done."},
    )
    assert list(records(own)["A"].remarks) == ["Well done."]


@pytest.mark.parametrize(
    ("wrong", "fault"),
    [
        ({"letter_date": None}, "editions.letter_date is empty (year 2020); it must hold a date."),
        ({"letter_date": "soon"}, "editions.letter_date holds 'soon' (year 2020), which is not a"),
        ({"published_on": "22/07/2020"}, "editions.published_on holds '22/07/2020' (year 2020),"),
        ({"period_start": ""}, "editions.period_start holds '' (year 2020), which is not a date;"),
        ({"period_end": "2020-02-30"}, "editions.period_end holds '2020-02-30' (year 2020),"),
        ({"period_end": "9999-12-31"}, "editions.period_end holds 9999-12-31 (year 2020), which"),
        ({"prepare_on": "later"}, "editions.prepare_on holds 'later' (year 2020), which is not"),
        ({"dispatch_at": "2020-07-22"}, "editions.dispatch_at holds '2020-07-22' (year 2020),"),
        ({"dispatch_at": "at nine o'clock"}, 'editions.dispatch_at holds "at nine o\'clock" (year'),
        ({"signatory": None}, "editions.signatory is empty (year 2020); it must hold a text."),
        (
            {"signatory": "Michael\u200b King"},
            "editions.signatory holds ZERO WIDTH SPACE (U+200B) as character 8, which does not show"
            " (year 2020); remove it.",
        ),
        (
            {"signatory_posts": ["Chair", "Om\u200bbudsman"]},
            "editions.signatory_posts holds ZERO WIDTH SPACE (U+200B) as character 3 of number 2,"
            " which does not show (year 2020); remove it.",
        ),
        (
            {"signatory_posts": ["Chair", " "]},
            "editions.signatory_posts holds an empty text, number 2 (year 2020); leave it out",
        ),
        (
            {"facts": {"venue": "Le\x07eds"}},
            "editions.facts holds BELL (U+0007) as character 3 of the fact 'venue', which does not"
            " show (year 2020); remove it.",
        ),
        ({"signatory_posts": None}, "editions.signatory_posts is empty (year 2020); it must be a"),
        ({"signatory_posts": "Chair"}, "editions.signatory_posts holds 'Chair' (year 2020); it"),
        ({"signatory_posts": [1]}, "editions.signatory_posts holds '[1]' (year 2020); it must be"),
        ({"facts": ""}, "editions.facts holds '' (year 2020); it must be a JSON object of whole"),
        ({"facts": "{'a': 1}"}, "editions.facts holds \"{'a': 1}\" (year 2020); it must be a JSON"),
        ({"facts": {"a": 1.5}}, "editions.facts holds '{\"a\": 1.5}' (year 2020); it must be a"),
        ({"copied_roles": ""}, "editions.copied_roles holds '' (year 2020); it must be a JSON"),
        ({"copied_roles": ["Leader"]}, "editions.copied_roles holds 'Leader' (year 2020), which"),
    ],
    ids=str,
)
def test_an_edition_that_cannot_be_used_is_refused(
    db: Database, wrong: dict[str, Any], fault: str
) -> None:
    site(db, **dict.fromkeys([*_OWN_TYPES["date"], "dispatch_at"], "text"))
    keep(db, schema.editions, {**EDITION, **wrong})
    assert refusal(db).startswith(f": {fault}")


@pytest.mark.parametrize("column", ["facts", "copied_roles", "signatory_posts"])
def test_invalid_json_in_the_tables_themselves_is_refused(edition: Database, column: str) -> None:
    value = "[" if edition.is_sqlite else '"["'  # PostgreSQL takes valid JSON only
    with edition.write() as connection:
        connection.exec_driver_sql(f"UPDATE editions SET {column} = '{value}'")
    assert f"editions.{column} holds '[' (year 2020); it must be a JSON " in refusal(edition)


def test_all_faults_of_an_edition_are_refused_at_once(own: Database) -> None:
    keep(
        own,
        schema.editions,
        {**EDITION, "year": 2021, "letter_date": None, "signatory": " ", "facts": "[]"},
    )
    message = refusal(own, 2021)
    assert all(f"\n  editions.{name} " in message for name in ("letter_date", "signatory", "facts"))


def test_two_editions_of_one_year_are_refused(own: Database) -> None:
    keep(own, schema.editions, EDITION)
    assert refusal(own) == (
        ": editions.year holds 2020 in 2 rows; a year has one edition: leave one row."
    )
    assert source.years(own) == [2020]


@pytest.mark.parametrize("column", ["active_from", "active_to"])
@pytest.mark.parametrize("table", [schema.authorities, schema.officers], ids=lambda one: one.name)
def test_a_bound_that_is_no_date_is_refused(db: Database, table: sa.Table, column: str) -> None:
    site(db, active_from="text", active_to="text")
    keep(db, schema.editions, EDITION)
    keep(db, schema.authorities, authority("A"))
    row = officer("A") if table is schema.officers else authority("B")
    keep(db, table, {**row, column: ""})
    assert refusal(db).startswith(f": {table.name}.{column} holds '' (")


def test_dates_that_would_not_compare_are_refused(db: Database) -> None:
    """PostgreSQL compares no text with a date and says so; SQLite would compare, wrongly."""
    site(db, decided_on="text")
    keep(db, schema.editions, EDITION)
    keep(db, schema.authorities, authority("A"))
    keep(db, schema.decisions, {**decided("A", "upheld"), "decided_on": "1/6/2019"})
    message = refusal(db)
    if db.is_sqlite:
        assert message.startswith(": decisions.decided_on holds '1/6/2019', which is not a date;")
    else:
        assert message.startswith(" does not offer what is needed of decisions: operator does not")


def test_a_view_that_fails_is_named(own: Database) -> None:
    broken = "json_extract(outcome, '$')" if own.is_sqlite else "(1 / length(''))::text"
    with own.write() as connection:
        connection.exec_driver_sql("DROP VIEW compliance")
        connection.exec_driver_sql(
            "CREATE VIEW compliance AS SELECT case_reference, authority_code, recorded_on,"
            f" {broken} AS outcome FROM own_compliance"
        )
    keep(own, schema.compliance, recorded("A", "complied"))
    message = refusal(own)
    assert message.startswith(" does not offer what is needed of compliance: ")
    assert ("malformed JSON" if own.is_sqlite else "division by zero") in message


def test_a_date_that_no_calendar_holds_is_named(postgres: PostgresServer) -> None:
    name = postgres.create()
    db = Database(postgres.url(name))
    migrate.upgrade(db)
    put(db, schema.editions, EDITION)
    with db.write() as connection:
        connection.exec_driver_sql(
            "INSERT INTO authorities (code, name, kind, active_to)"
            " VALUES ('A', 'A Council', 'district', 'infinity')"
        )
    message = refusal(db)
    assert message.startswith(" does not offer what is needed of authorities: ")
    assert "infinity" in message
    db.close()
    postgres.drop(name)


def test_text_that_is_not_text_is_refused(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path}/latin.db")
    migrate.upgrade(db)
    put(db, schema.editions, EDITION)
    put(db, schema.authorities, authority("A"), authority("B"))
    with db.write() as connection:
        connection.exec_driver_sql("UPDATE authorities SET name = X'e9' WHERE code = 'A'")
    assert refusal(db).startswith(": authorities.name holds b'\\xe9' (A), which is not text;")
    with db.write() as connection:
        connection.exec_driver_sql("UPDATE authorities SET name = CAST(X'e9' AS TEXT)")
    message = refusal(db)
    assert message.startswith(" does not offer what is needed of authorities: Could not decode")
    db.close()


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "statistics.db").write_bytes(b"case,outcome\n" * 100)
    db = Database(f"sqlite:///{tmp_path}/statistics.db", read_only=True)
    assert "file is not a database" in refusal(db)
    with pytest.raises(Misconfigured, match="needed of editions: file is not a database"):
        source.years(db)
    db.close()


def test_errors_of_another_database_are_not_blamed_on_the_statistics(
    edition: Database, tmp_path: Path
) -> None:
    put(edition, schema.authorities, authority("A"), authority("B"))

    def body(statement: str, engine: sa.Engine) -> None:
        with source.pull(edition, 2020) as pulled, engine.connect() as connection:
            next(pulled.records)
            connection.exec_driver_sql(statement)

    # on SQLite an OperationalError, which would be translated as well as a ProgrammingError
    unlike = (sa.exc.OperationalError, sa.exc.ProgrammingError)
    with pytest.raises(unlike, match="ledgerless"):
        body("SELECT * FROM ledgerless", edition.engine)
    elsewhere = sa.create_engine(f"sqlite:///{tmp_path}/no/such/folder/ledger.db")
    with pytest.raises(sa.exc.OperationalError, match="unable to open database file"):
        body("SELECT 1", elsewhere)
    elsewhere.dispose()
    with pytest.raises(ValueError, match="the body's own"), source.pull(edition, 2020):
        raise ValueError("the body's own")
    assert sorted(records(edition)) == ["A", "B"]  # and the connection is fit for use


def test_a_server_that_goes_away_while_records_are_read_is_unavailable(
    postgres: PostgresServer,
) -> None:
    name = postgres.create()
    db, other = Database(postgres.url(name)), Database(postgres.url(name))
    migrate.upgrade(db)
    put(db, schema.editions, EDITION)
    put(db, schema.authorities, *(authority(f"A{number}") for number in range(3000)))

    def interrupted() -> None:
        with source.pull(db, 2020) as pulled, other.read() as connection:
            next(pulled.records)
            connection.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            list(pulled.records)

    with pytest.raises(Unavailable, match=f"The statistics database .*{name} cannot be read: "):
        interrupted()
    db.close()
    other.close()
    postgres.drop(name)
