"""`letters check YEAR`, as somebody types it before anybody reads a letter."""

from pathlib import Path

import sqlalchemy as sa

from pipeline import importer, migrate, schema
from pipeline.database import Database
from tests.acceptance.site import Site, part_of_the_sample

CODES = ("E07000243", "E07000103", "E07000009")  # Stevenage, Watford; and one with a vacant post


def listing(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def test_a_years_letters_are_looked_at_and_nothing_is_changed(site: Site, tmp_path: Path) -> None:
    db = Database(f"sqlite:///{site.folder}/letters.db")
    migrate.upgrade(db)
    importer.import_folder(db, part_of_the_sample(tmp_path / "data", CODES))
    db.close()
    before = listing(site.folder)

    done = site.letters("check", "2020")
    first, account, *_ = done.stdout.splitlines()
    assert first == "The letters of 2020, from the statistics as they are"
    assert account.startswith("  3 on the register = 3 to be sent + 0 withheld + ")
    assert "! advisory: Vacant posts\n  East Cambridgeshire District Council (E07000009): The" in (
        done.stdout
    )
    assert "Nothing blocks the letters of 2020; " in done.stdout
    assert done.stdout.splitlines()[-1] == (
        "The addresses' domains were not asked for; --domains does."
    )
    told = site.json("check", "2020")
    assert told["counts"]["blocking"] == 0
    assert told["counts"]["advisory"] == len(told["findings"]) > 0
    assert {tuple(one) for one in told["findings"]} == {
        ("kind", "check", "code", "name", "found", "fix")
    }
    assert listing(site.folder) == before

    o = schema.officers
    with db.write() as connection:
        connection.execute(
            sa.update(o)
            .where(o.c.authority_code == CODES[1], o.c.role == "chief_executive")
            .values(email=None)
        )
    db.close()
    done = site.letters("check", "2020", expect=1)
    assert "✗ blocking: Letters that cannot be made\n  Watford Borough Council (E07000103): " in (
        done.stdout
    )
    assert "1 finding blocks the letters of 2020; " in done.stdout

    done = site.letters("check", "2031", expect=2)
    assert "no edition of 2031 (there is 2020" in " ".join(done.stderr.split())
    done = site.letters("check", "--domains", expect=2)
    assert "letters check YEAR --domains" in done.stderr
    done = site.letters("check", "2020", "--quick", expect=2)
    assert "leaves out nothing" in " ".join(done.stderr.split())
