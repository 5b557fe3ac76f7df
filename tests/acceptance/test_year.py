"""A year from the last one's settings to its phases, and an old year made again."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.acceptance.site import ROOT, Site, part_of_the_sample

STEVENAGE, WATFORD = "E07000243", "E07000103"


def own_templates(site: Site, tmp_path: Path) -> tuple[Path, Site]:
    """The site with templates in a folder of its own."""
    folder = tmp_path / "templates"
    folder.mkdir()
    for name in ("letter.docx", "message.txt", "message.html"):
        shutil.copy(ROOT / "templates" / name, folder)
    more = {"LETTERS_TEMPLATE__PATH": str(folder / "letter.docx")}
    return folder, Site(site.folder, more=more)


def changed(site: Site, statement: str, *values: Any) -> None:
    with closing(sqlite3.connect(site.folder / "letters.db", isolation_level=None)) as connection:
        assert connection.execute(statement, values).rowcount == 1


def test_a_year_is_started_from_the_last_one(prepared: Site, tmp_path: Path) -> None:
    templates, site = own_templates(prepared, tmp_path)
    assert site.json("status", "2020")["phase"] == "prepared"
    own = templates / "2020"
    own.mkdir()
    for name in ("letter.docx", "message.txt", "message.html"):
        shutil.copy(templates / name, own)
    told = site.letters(
        "edition", "2021", "--from", "2020", "--set", "facts.courses=120", "--by", "Ann Other"
    ).stdout
    assert "The edition of 2021, from that of 2020" in told
    assert "Wed 21 July 2021" in told
    assert "the same: still 2020's" in told
    assert "templates/2020 to templates/2021" in told
    assert max(map(len, told.split("What to do next")[0].split("Note:")[0].splitlines())) <= 80
    seen = site.json("edition", "2021")
    assert (seen["made"]["from"], seen["made"]["by"]) == (2020, "Ann Other")
    assert seen["template"] == str(templates / "2021" / "letter.docx")
    assert "courses" not in seen["still_to_be_looked_at"]
    assert "people" in seen["still_to_be_looked_at"]
    again = site.letters("edition", "2021", "--from", "2020", expect=2)
    assert "There is an edition of 2021 already" in again.stderr
    site.letters("edition", "2021", "--set", "facts.people=1500")
    shown = site.letters("edition", "2021").stdout
    assert "1500" in shown
    assert "3 facts are still 2020's" in shown
    assert "which 2021 has for itself" in shown
    wrong = site.letters("edition", "2021", "--set", "signatory", expect=2)
    assert "write KEY=VALUE" in wrong.stderr
    site.letters("cancel", "2020", "--yes", "--reason", "a trial")
    assert site.json("status", "2020")["phase"] == "cancelled"
    assert "Phase    cancelled" in site.letters("status", "2020").stdout


def test_somebody_elses_statistics_are_given_a_row(prepared: Site) -> None:
    elsewhere = {"LETTERS_SOURCE__URL": prepared.environment["LETTERS_DATABASE__URL"]}
    told = prepared.letters("edition", "2021", "--from", "2020", env=elsewhere).stdout
    assert "nothing was written there" in told
    assert '\n2021,2021-07-21,2021-07-28,2020-04-01,2021-03-31,Michael King,"[""' in told
    assert "no edition of 2021" in prepared.letters("edition", "2021", expect=2).stderr


def test_an_old_year_is_made_again_from_what_was_frozen(prepared: Site, tmp_path: Path) -> None:
    templates, site = own_templates(prepared, tmp_path)

    def promote(tables: dict[str, Any]) -> None:
        for officer in tables["officers"]:
            if officer["authority_code"] == WATFORD and officer["role"] == "chief_executive":
                officer.update(given_name="Nova", family_name="Newcomer")

    # Stevenage's file stays as it was in a run before this one, and the words of today are others.
    corrected = part_of_the_sample(tmp_path / "corrected", [STEVENAGE, WATFORD], promote)
    site.letters("import", str(corrected))
    site.letters("refresh", "2020")
    site.letters("prepare", "2020")
    site.letters("edition", "2020", "--set", "signatory=Somebody Else")
    (templates / "letter.docx").write_bytes(b"edited since, and spoiled")
    listed = site.json("status", "2020")["letters"]
    archived = {one["authority"]: one["pdf"] for one in listed}
    # What is lost from the archive comes out the same.
    (site.archive / archived[STEVENAGE]).unlink()
    target = tmp_path / "again"
    made = site.json("remake", "2020", "--to", str(target))
    assert made["counts"]["same bytes"] == 2, made
    assert sorted(one["authority"] for one in made["letters"]) == [WATFORD, STEVENAGE]
    assert (target / archived[STEVENAGE]).is_file()
    assert not (site.archive / archived[STEVENAGE]).exists()
    assert site.json("status", "2020")["letters"] == listed

    changed(
        site,
        "UPDATE letters SET fields = json_set(fields, '$.signatory', 'An Impostor')"
        " WHERE authority_code = ? AND pdf = ?"
        " AND run_id = (SELECT id FROM runs WHERE cancelled_at IS NULL)",
        WATFORD,
        archived[WATFORD],
    )
    for kept in (site.archive / "templates").iterdir():
        kept.unlink()
    shutil.copy(ROOT / "templates" / "letter.docx", templates)  # as good as the archive's
    told = site.letters("remake", "2020", "watford", "--to", str(target), expect=1).stdout
    assert "1  other words" in told
    assert "says now: ..." in told
    assert "An Impostor" in told
    assert "Michael King" in told

    inside = site.letters("remake", "2020", "--to", str(site.archive / "x"), expect=2)
    assert "in the archive" in inside.stderr
    (templates / "letter.docx").write_bytes(b"spoiled again")
    lost = site.letters("remake", "2020", "--to", str(target), expect=2)
    assert "their template is not to be had" in lost.stderr
    assert str(templates / "letter.docx") in lost.stderr
