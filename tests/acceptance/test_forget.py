"""An old year forgotten through the real command, and a log that never knew anybody."""

import sqlite3
from contextlib import closing
from pathlib import Path

from tests.acceptance.site import Site, part_of_the_sample, read_sample
from tests.acceptance.terminal import Terminal

STEVENAGE, WATFORD = "E07000243", "E07000103"


def people() -> set[str]:
    """Names and addresses of everybody who is written to, or could be."""
    return {
        one
        for row in read_sample("officers")
        if row["authority_code"] in {STEVENAGE, WATFORD}
        for one in (row["family_name"], row["email"])
        if one
    }


def found_in(folder: Path) -> dict[str, set[str]]:
    """The files of a folder that somebody is named in, and who."""
    named = {}
    for path in folder.rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        if those := {one for one in people() if one.encode() in data}:
            named[path.name] = those
    return named


def test_a_year_is_forgotten_and_no_log_ever_named_anybody(site: Site) -> None:
    data = part_of_the_sample(site.folder / "data", [STEVENAGE, WATFORD])
    logged = {
        "LETTERS_LOG__LEVEL": "debug",
        "LETTERS_LOG__FORMAT": "json",
        "LETTERS_LOG__FILE": str(site.folder / "letters.log"),
    }
    site.letters("import", str(data), env=logged)
    site.letters("run", "2020", env=logged)
    for path in data.iterdir():
        path.unlink()
    assert set(found_in(site.folder)) > {"letters.db"}, "else nothing could be found"
    with closing(sqlite3.connect(site.folder / "letters.db", isolation_level=None)) as ledger:
        ledger.execute("UPDATE officers SET active_to = '2020-12-31'")
    counts = site.json("status", "2020")["counts"]
    old = {"LETTERS_RETENTION__YEARS": "1"}

    nobody = site.letters("forget", "--before", "2021", "--yes", expect=2, env=old).stderr
    assert "Say who does this, as it stays on record: --by NAME" in nobody
    asked = site.letters("forget", "--before", "2021", "--by", "Ann", expect=2, env=old)
    assert "say --yes to do it without asking" in asked.stderr
    look = site.json("forget", "--before", "2021", env=old)
    assert (look["forgotten"], look["years"], look["letters"]) == (False, [2020], 2)
    assert (look["addresses"], look["files"], look["officers"]) == (4, 4, 6)
    with Terminal(site, "forget", "--before", "2021", "--by", "Ann Other", env=old) as terminal:
        terminal.see("Type 2 to forget them, for good:")
        terminal.type("20\n")
        assert "Nothing was changed." in terminal.end(1)
    assert found_in(site.folder)["letters.db"] == people()

    told = site.letters(
        "forget", "--before", "2021", "--by", "Ann Other", "--yes", env=old | logged
    ).stdout
    assert "Forgotten: the letters of 2020" in told
    assert "4 files removed from the archive" in told
    assert "docs/operating.md, Personal data" in told
    assert found_in(site.folder) == {}
    assert "letters.forgotten" in (site.folder / "letters.log").read_text(encoding="utf-8")

    verified = site.letters("verify", env=logged).stdout
    assert "2  letters (PDF), forgotten" in verified
    assert "2  messages (.eml), forgotten" in verified
    assert "1  template, whole and unaltered" in verified
    status = site.json("status", "2020")
    assert status["counts"] == counts
    assert status["forgotten_at"]
    sentence = "names, addresses and files are gone for good"
    shown = site.letters("show", STEVENAGE).stdout
    assert sentence in shown
    assert "forgotten-1" in shown
    proof = ("proof", "2020", "--to", str(site.folder / "proof"))
    for command in (("letter", STEVENAGE), proof, ("check", "2020")):
        assert sentence in site.letters(*command, expect=2).stderr
    again = site.json("forget", "--before", "2021", "--by", "Ann", "--yes", env=old)
    assert (again["letters"], again["files"], again["left"]) == (0, 0, [])
    assert found_in(site.folder) == {}
