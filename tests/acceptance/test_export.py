"""A year's account for an auditor, through the real command."""

import csv
import hashlib
import io
import json
import os
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest
import sqlalchemy as sa

from pipeline import schema
from pipeline.database import Database
from tests.acceptance.site import LETTERS, Row, Site, part_of_the_sample

STEVENAGE, WATFORD, HERTSMERE = "E07000243", "E07000103", "E07000098"
NAME = 'Cyngor Sir Ynys Môn, "Watford" & Co'
SAID = "250 2.0.0 Ok\r\n=cmd|' /C calc'!A0"


def changed(tables: dict[str, list[Row]]) -> None:
    """One authority has nobody to write to, another a name of all sorts."""
    tables["officers"] = [one for one in tables["officers"] if one["authority_code"] != HERTSMERE]
    for one in tables["authorities"]:
        if one["code"] == WATFORD:
            one["name"] = NAME


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("export")
    site = Site(folder)
    data = part_of_the_sample(folder / "data", [STEVENAGE, WATFORD, HERTSMERE], changed)
    site.letters("import", str(data))
    site.letters("run", "2020", expect=1)
    ledger = Database(site.environment["LETTERS_DATABASE__URL"])
    with ledger.write() as connection:  # a relay that says more than it should
        a = schema.attempts
        first = connection.scalar(sa.select(sa.func.min(a.c.id)))
        connection.execute(sa.update(a).where(a.c.id == first).values(reply=SAID))
        connection.execute(sa.update(a).where(a.c.id != first).values(reply=SAID[14:]))
    ledger.close()
    return site


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def export(site: Site, *arguments: str) -> bytes:
    return subprocess.run(
        [LETTERS, "export", "2020", *arguments],
        env={**site.environment, "PYTHONIOENCODING": "latin-1"},
        capture_output=True,
        check=True,
        cwd="/",
    ).stdout


def test_who_was_sent_what(sent: Site) -> None:
    data = export(sent)
    assert not data.startswith(b"\xef\xbb\xbf")
    found = rows(data.decode("utf-8"))
    assert Counter(one["authority"] for one in found) == {STEVENAGE: 2, WATFORD: 2, HERTSMERE: 1}
    mail = {one.recipient: one for one in sent.mail()}
    for one in found:
        if one["authority"] == HERTSMERE:
            continue
        got = mail.pop(one["recipient"])
        assert one["message_id"] == got.message["Message-ID"]
        assert one["pdf_sha256"] == hashlib.sha256(got.pdf).hexdigest()
        eml = (sent.archive / one["eml"]).read_bytes()
        assert one["eml_sha256"] == hashlib.sha256(eml).hexdigest()
        assert (one["mode"], one["state"], one["attempts"]) == ("capture", "accepted", "1")
        for when in ("date", "tried", "intent", "settled", "prepared", "run_opened"):
            assert one[when].endswith("+00:00")
        assert one["queue_id"]
    assert mail == {}
    [fault] = [one for one in found if one["authority"] == HERTSMERE]
    assert (fault["mode"], fault["state"], fault["recipient"]) == ("", "fault", "")
    assert fault["fault"]


def test_names_and_replies_of_all_sorts_stay_in_their_cells(sent: Site) -> None:
    found = rows(export(sent).decode("utf-8"))
    assert [one["name"] for one in found if one["authority"] == WATFORD] == [NAME, NAME]
    assert Counter(one["reply"] for one in found) == {SAID: 1, f"'{SAID[14:]}": 3, "": 1}
    assert SAID[14:].startswith("=")
    told = json.loads(export(sent, "--json"))
    assert Counter(one["reply"] for one in told) == {SAID: 1, SAID[14:]: 3, None: 1}
    assert [one["name"] for one in told if one["authority"] == WATFORD] == [NAME, NAME]
    assert {tuple(one["roles"]) for one in told} == {("chief_executive",), ("link_officer",), ()}


def test_a_file_is_whole_marked_and_private(sent: Site, tmp_path: Path) -> None:
    file = tmp_path / "account.csv"
    done = sent.letters("export", "2020", "--out", str(file))
    assert done.stdout == ""
    assert f"5 lines and a heading written to {file}" in done.stderr
    data = file.read_bytes()
    assert data.startswith(b"\xef\xbb\xbf")
    assert rows(data.decode("utf-8-sig")) == rows(export(sent).decode("utf-8"))
    assert file.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in tmp_path.iterdir()] == ["account.csv"]
    assert export(sent, "--out", "-") == export(sent)
    # what is there already stays
    file.write_text("last week's")
    assert "--force" in sent.letters("export", "2020", "--out", str(file), expect=2).stderr
    assert file.read_text() == "last week's"
    sent.letters("export", "2020", "--out", str(file), "--force", "--json")
    assert len(json.loads(file.read_text(encoding="utf-8"))) == 5


def test_where_a_file_cannot_be_nothing_is_left(sent: Site, tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere" / "account.csv"
    assert "no folder" in sent.letters("export", "2020", "--out", str(nowhere), expect=2).stderr
    folder = sent.letters("export", "2020", "--out", str(tmp_path), expect=2).stderr
    assert "is a folder" in folder
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing_half_written(sent: Site, tmp_path: Path) -> None:
    folder = tmp_path / "site"
    shutil.copytree(sent.folder, folder)
    site = Site(folder)
    ledger = Database(site.environment["LETTERS_DATABASE__URL"])
    with ledger.write() as connection:  # more than there is room for
        connection.execute(sa.update(schema.attempts).values(reply="250 " + "x" * 200_000))
    ledger.close()
    place = tmp_path / "place"
    place.mkdir()
    file = place / "account.csv"
    done = subprocess.run(
        # no file of more than 128 KiB or so; SQLite's own need less
        ["sh", "-c", 'ulimit -f 256; exec "$0" export 2020 --out "$1"', str(LETTERS), str(file)],
        env=site.environment,
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )
    assert done.returncode == 69, done.stderr
    assert f"{file} cannot be written" in done.stderr
    assert list(place.iterdir()) == []


def test_whoever_stops_reading_has_seen_enough(sent: Site) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [LETTERS, "export", "2020"],
            env=sent.environment,
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            cwd="/",
        )
    finally:
        os.close(writing)
    assert "Traceback" not in done.stderr
    assert done.returncode == 0


def test_rehearsals_of_a_run_that_was_given_up_are_told_apart(sent: Site, tmp_path: Path) -> None:
    folder = tmp_path / "site"
    shutil.copytree(sent.folder, folder)
    site = Site(folder)
    site.letters("cancel", "2020", "--reason", "to be done anew", "--yes")
    found = rows(export(site).decode("utf-8"))
    assert Counter(one["authority"] for one in found) == {STEVENAGE: 2, WATFORD: 2}
    assert all(one["run_cancelled"] for one in found)


def test_a_year_that_never_was_is_refused(sent: Site, tmp_path: Path) -> None:
    file = tmp_path / "account.csv"
    said = sent.letters("export", "2019", "--out", str(file), expect=2).stderr
    assert "There are no letters of 2019" in said
    assert not file.exists()
