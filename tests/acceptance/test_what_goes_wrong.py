"""Faults of single letters, kills in the middle, other modes: what a bad day looks like."""

import os
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
import sqlalchemy as sa

from pipeline import schema
from pipeline.database import Database
from tests.acceptance.site import Row, Site, part_of_the_sample, read_sample
from tests.postgres import PostgresServer

SOME = [
    row["code"]
    for row in read_sample("authorities")
    if row["kind"] == "district" and not row["successor_code"]
][:8]


def no_orphans(site: Site) -> None:
    """Nothing that this site started is still running."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        running = [
            entry.name
            for entry in Path("/proc").iterdir()
            if entry.name.isdigit() and _belongs(entry, site)
        ]
        if not running:
            return
        time.sleep(0.2)
    raise AssertionError(f"still running: {running}")


def _belongs(entry: Path, site: Site) -> bool:
    try:
        return (
            str(site.archive).encode() in (entry / "environ").read_bytes()
            and (entry / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
        )
    except OSError:
        return False


def test_a_letter_that_cannot_be_made_is_a_fault_and_the_others_go(
    site: Site, tmp_path: Path
) -> None:
    def spoil(tables: dict[str, list[Row]]) -> None:
        for row in tables["officers"]:
            if row["authority_code"] == SOME[0] and row["role"] == "chief_executive":
                row["email"] = ""
        tables["officers"] = [row for row in tables["officers"] if row["authority_code"] != SOME[1]]

    site.letters("import", str(part_of_the_sample(tmp_path / "data", SOME[:4], spoil)))
    done = site.letters("run", "2020", expect=1)
    assert "no address for the chief executive" in done.stdout
    status = site.json("status", "2020")
    by_code = {one["authority"]: one for one in status["letters"]}
    assert [by_code[code]["state"] for code in SOME[:4]] == [
        "fault",
        "fault",
        "accepted",
        "accepted",
    ]
    assert by_code[SOME[0]]["pdf"] is None
    assert "officers.email" in by_code[SOME[0]]["fault"]
    sent_to = {one.recipient for one in site.mail()}
    assert sent_to == set(by_code[SOME[2]]["recipients"] + by_code[SOME[3]]["recipients"])
    site.letters("show", SOME[0], "--year", "2020")


def test_nothing_unproved_is_sent(site: Site, tmp_path: Path) -> None:
    """A remark that leaves a template's tag behind makes the proof fail: that letter stays."""

    def spoil(tables: dict[str, list[Row]]) -> None:
        tables["remarks"] = [
            {"year": "2020", "authority_code": SOME[0], "position": "1", "text": "See {{ name }}."}
        ]

    site.letters("import", str(part_of_the_sample(tmp_path / "data", SOME[:2], spoil)))
    site.letters("run", "2020", expect=1)
    by_code = {one["authority"]: one for one in site.json("status", "2020")["letters"]}
    assert by_code[SOME[0]]["state"] == "fault"
    assert "tag" in by_code[SOME[0]]["fault"]
    assert by_code[SOME[1]]["state"] == "accepted"
    assert {one.recipient for one in site.mail()} == set(by_code[SOME[1]]["recipients"])


@pytest.mark.parametrize("event", ["opened", "made"])
def test_after_a_kill_the_run_goes_on_where_it_stopped(
    site: Site, tmp_path: Path, event: str
) -> None:
    """Killed as soon as the run is on record, or a letter is; while it sends: see the next."""
    few = SOME[:4]
    site.letters("import", str(part_of_the_sample(tmp_path / "data", few)))
    ledger = Database(site.environment["LETTERS_DATABASE__URL"])

    def opened() -> bool:
        with ledger.read() as connection:
            return bool(connection.scalar(sa.select(sa.func.count()).select_from(schema.runs)))

    def made() -> bool:
        return any(site.archive.rglob("2020/*.pdf"))

    come = {"opened": opened, "made": made}[event]
    running = site.start("run", "2020")
    while not come():
        assert running.poll() is None, running.communicate()
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    ledger.close()
    assert running.returncode == -signal.SIGKILL
    no_orphans(site)
    prepared = {path: path.stat().st_mtime_ns for path in site.archive.rglob("2020/*.pdf")}
    assert prepared or event == "opened"
    site.letters("run", "2020")
    assert {path: path.stat().st_mtime_ns for path in prepared} == prepared
    status = site.json("status", "2020")
    assert {one["state"] for one in status["letters"]} == {"accepted"}
    assert len(status["letters"]) == len(few)
    copies = Counter((one.recipient, one.message["Message-ID"]) for one in site.mail())
    assert set(copies.values()) == {1}
    assert len(copies) == sum(len(one["recipients"]) for one in status["letters"])


def test_killed_again_and_again_while_sending_each_letter_arrives_once(
    site: Site, tmp_path: Path
) -> None:
    site.letters("import", str(part_of_the_sample(tmp_path / "data", SOME)))
    site.letters("run", "2020", expect=1, env={"LETTERS_APPROVAL__PEOPLE": "1"})
    assert site.mail() == []
    kills = 0
    while kills < 4:
        running = site.start("run", "2020")
        before = len(site.mail())
        deadline = time.monotonic() + 30
        while running.poll() is None and len(site.mail()) <= before:
            if time.monotonic() > deadline:
                break
            time.sleep(0.002)
        if running.poll() is not None:
            running.communicate()
            break
        running.send_signal(signal.SIGKILL)
        running.communicate()
        kills += 1
    site.letters("run", "2020")
    assert kills >= 3
    copies = Counter((one.recipient, one.message["Message-ID"]) for one in site.mail())
    assert set(copies.values()) == {1}
    status = site.json("status", "2020")
    assert {one["state"] for one in status["letters"]} == {"accepted"}
    assert len(copies) == sum(len(one["recipients"]) for one in status["letters"])


def test_ctrl_c_ends_in_one_line_and_keeps_everything(site: Site, tmp_path: Path) -> None:
    site.letters("import", str(part_of_the_sample(tmp_path / "data", SOME[:4])))
    running = site.start("run", "2020")
    deadline = time.monotonic() + 60
    while not list(site.archive.rglob("2020/*.pdf")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(running.pid, signal.SIGINT)
    _, errors = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "give the same command again" in errors
    assert "Traceback" not in errors
    no_orphans(site)
    site.letters("run", "2020")


def test_two_runs_at_once_make_and_send_everything_once(site: Site, tmp_path: Path) -> None:
    site.letters("import", str(part_of_the_sample(tmp_path / "data", SOME[:4])))
    both = [site.start("run", "2020") for _ in range(2)]
    for one in both:
        one.communicate()
    site.letters("run", "2020")
    copies = Counter((one.recipient, one.message["Message-ID"]) for one in site.mail())
    assert set(copies.values()) == {1}
    status = site.json("status", "2020")
    assert len(copies) == sum(len(one["recipients"]) for one in status["letters"])


def test_nothing_is_sent_before_it_is_approved(prepared: Site) -> None:
    site, two = prepared, {"LETTERS_APPROVAL__PEOPLE": "2", "SUDO_USER": "ann"}
    done = site.letters("run", "2020", expect=1, env=two)
    assert "2 more people must approve" in done.stdout
    assert site.mail() == []
    site.letters("approve", "2020", "--by", "Ann", env=two)
    again = site.letters("approve", "2020", "--by", "Somebody else", env=two).stdout
    assert "nothing has changed since" in again
    assert "1 more person must approve" in again
    site.letters("run", "2020", expect=1, env=two)
    assert site.mail() == []
    site.letters("approve", "2020", "--by", "Ben", env={**two, "SUDO_USER": "ben"})
    site.letters("run", "2020", env=two)
    assert len(site.mail()) > 0


def test_a_rehearsal_never_counts_as_sent(prepared: Site) -> None:
    """Captured first, then live: everything is sent, though to a relay that is not there."""
    site = prepared
    site.letters("run", "2020")
    live = {"LETTERS_MAIL__MODE": "live", "LETTERS_SMTP__HOST": "127.0.0.1"}
    before = site.json("status", "2020", env=live)
    assert {one["state"] for one in before["letters"]} == {"prepared"}
    assert sum(before["counts"].values()) == 0
    done = site.letters("run", "2020", expect=69, env={**live, "LETTERS_SMTP__PORT": "9"})
    assert "127.0.0.1" in done.stderr
    after = site.json("status", "2020", env=live)
    assert after["counts"]["queued"] == sum(after["counts"].values()) > 0
    assert {one["state"] for one in site.json("status", "2020")["letters"]} == {"accepted"}
    # whoever looks in the other mode is told what waits
    said = site.letters("status", "2020").stdout
    assert f"In live mode {after['counts']['queued']} deliveries are still open" in said


def test_the_same_on_postgresql(postgres: PostgresServer, tmp_path: Path) -> None:
    name = postgres.create()
    site = Site(tmp_path, database=postgres.url(name))
    folder = part_of_the_sample(tmp_path / "data", SOME[:2])
    refused = site.letters("import", str(folder), expect=78)
    assert "letters db upgrade" in refused.stderr
    site.letters("db", "upgrade")
    site.letters("import", str(folder))
    site.letters("run", "2020")
    status = site.json("status", "2020")
    assert {one["state"] for one in status["letters"]} == {"accepted"}
    assert len(site.mail()) == sum(len(one["recipients"]) for one in status["letters"])
    postgres.drop(name)


def test_statistics_in_a_database_of_their_own(site: Site, tmp_path: Path) -> None:
    theirs = Site(tmp_path / "theirs")
    theirs.letters("import", str(part_of_the_sample(tmp_path / "data", SOME[:2])))
    database = tmp_path / "theirs" / "letters.db"
    database.chmod(0o444)
    here = {"LETTERS_SOURCE__URL": f"sqlite:///{database}"}
    site.letters("run", "2020", env=here)
    assert len(site.json("status", "2020", env=here)["letters"]) == 2
    refused = site.letters("import", str(tmp_path / "data"), expect=2, env=here)
    assert "read only" in refused.stderr


def test_what_is_not_there_is_said_without_a_traceback(site: Site, tmp_path: Path) -> None:
    assert "letters import" in site.letters("status", "2020", expect=2).stderr
    assert not (site.folder / "letters.db").exists()
    site.letters("import", str(part_of_the_sample(tmp_path / "data", SOME[:1])))
    assert "no edition of 2021" in site.letters("run", "2021", expect=2).stderr
    assert "There are no letters of 2020" in site.letters("send", "2020", expect=2).stderr
    site.letters("run", "twenty", expect=2)
    site.letters("frobnicate", expect=2)
    nowhere = site.letters("--config", "/nowhere.toml", "status", "2020", expect=78)
    assert "/nowhere.toml" in nowhere.stderr
    nowhere = site.letters("status", "2020", "--config", "/nowhere.toml", expect=78)
    assert "/nowhere.toml" in nowhere.stderr
    wrong = site.letters("status", "2020", expect=78, env={"LETTERS_MAIL__MODE": "loud"})
    assert "'capture', 'redirect' or 'live'" in wrong.stderr
