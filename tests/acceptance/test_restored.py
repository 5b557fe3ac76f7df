"""A ledger put back from yesterday's backup, or copied to another machine."""

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from tests.acceptance.site import Site, part_of_the_sample
from tests.acceptance.test_relay import STEVENAGE, Relay, relay
from tests.acceptance.test_schedule import due, serving

__all__ = ["relay"]  # a fixture

Where = tuple[Relay, dict[str, str]]


def back_up(site: Site, to: Path) -> Path:
    with (
        closing(sqlite3.connect(site.folder / "letters.db")) as old,
        closing(sqlite3.connect(to)) as new,
    ):
        old.backup(new)
    return to


def put_back(site: Site, backup: Path) -> None:
    for name in ("letters.db", "letters.db-wal", "letters.db-shm"):
        (site.folder / name).unlink(missing_ok=True)
    shutil.copy2(backup, site.folder / "letters.db")


def test_after_a_restore_nothing_goes_twice(prepared: Site, relay: Where, tmp_path: Path) -> None:
    handler, where = relay
    live = where | {"LETTERS_MAIL__MODE": "live"}
    backup = back_up(prepared, tmp_path / "yesterday.db")
    prepared.letters("send", "2020", env=live)
    sent = sorted(recipient for _, recipient, _ in handler.taken)
    assert len(sent) == len(set(sent)) == 4
    put_back(prepared, backup)

    for command in (("send", "2020"), ("run", "2020")):
        said = prepared.letters(*command, expect=78, env=live).stderr
        assert "does not hold what was recorded with it on" in said
        assert "letters db confirm --note TEXT" in said
    resend = ("resend", STEVENAGE, "--reason", "again", "--yes")
    prepared.letters(*resend, expect=2, env=live)  # nothing was ever sent, as far as it knows
    checked = json.loads(prepared.letters("check", "--quick", "--json", expect=1, env=live).stdout)
    [found] = [one for one in checked if one["check"] == "instance"]
    assert found["state"] == "fault"
    # An auditor is told by the archive, too; and a rehearsal harms nobody.
    prepared.letters("verify", "2020", expect=1)
    prepared.letters("run", "2020")
    assert sorted(recipient for _, recipient, _ in handler.taken) == sent

    nobody = prepared.letters("db", "confirm", "--note", "disk replaced", expect=2, env=live)
    assert "--yes" in nobody.stderr
    prepared.letters("send", "2020", expect=78, env=live)
    confirmed = prepared.json(
        "db", "confirm", "--note", "disk replaced", "--by", "Ann Other", "--yes", env=live
    )
    assert confirmed["found"] == "older"
    assert confirmed["paused"] == [2020]
    assert confirmed["known_until"] < confirmed["mark"]["at"]
    held = prepared.letters("send", "2020", expect=1, env=live)
    assert "Paused by Ann Other" in held.stdout
    assert sorted(recipient for _, recipient, _ in handler.taken) == sent

    # The relay's log says that Stevenage's has gone; Watford's, let us say, has not.
    gone = ("cancel", STEVENAGE, "--year", "2020", "--reason", "it went, says the log", "--yes")
    prepared.letters(*gone, env=live)
    prepared.letters("resume", "2020", env=live)
    handler.taken.clear()
    prepared.letters("send", "2020", env=live)
    again = {recipient for _, recipient, _ in handler.taken}
    assert again
    assert all("watford" in recipient for recipient in again)
    prepared.json("check", "--quick", expect=1, env=live)  # the sender's domain is an example's


def test_a_copy_on_another_machine_asks_before_it_sends(
    prepared: Site, relay: Where, tmp_path: Path
) -> None:
    handler, where = relay
    live = where | {"LETTERS_MAIL__MODE": "live"}
    (tmp_path / "other").mkdir()
    other = Site(tmp_path / "other", more={"LETTERS_ARCHIVE__URL": str(prepared.archive)})
    put_back(other, back_up(prepared, tmp_path / "copy.db"))
    said = other.letters("send", "2020", expect=78, env=live).stderr
    assert "this machine knows nothing of it" in said
    assert not other.mark.exists()
    # Copied with all that lies beside it, it is told all the same.
    shutil.copy2(prepared.mark, other.mark)
    said = other.letters("send", "2020", expect=78, env=live).stderr
    assert "was not written to this file" in said
    assert handler.taken == []
    moved = ("db", "confirm", "--note", "moved; nothing ran", "--no-hold", "--yes")
    other.letters("pause", "2020", env=live)
    told = other.letters(*moved, env=live)
    assert "No year is paused by this (--no-hold)" in told.stderr
    assert "is confirmed" in told.stdout
    assert "Nothing was paused (--no-hold)" in told.stdout
    assert "Paused already, and stays so: 2020" in told.stdout
    other.letters("resume", "2020", env=live)
    other.letters("send", "2020", env=live)
    # Of what was sent nothing is asked for again, either, while it is not known where it is.
    other.mark.unlink()
    again = ("resend", STEVENAGE, "--year", "2020", "--reason", "lost", "--yes")
    assert "db confirm" in other.letters(*again, expect=78, env=live).stderr
    story = other.json("show", STEVENAGE, "--year", "2020", env=live)
    assert not [one for one in story["messages"] if one["resend_of"]], "no request is left behind"
    assert len(handler.taken) == 4
    shown = [recipient for _, recipient, _ in handler.taken]
    assert len(set(shown)) == 4


def test_a_server_says_once_that_its_ledger_was_put_back_and_goes_on_looking(
    tmp_path: Path, relay: Where
) -> None:
    handler, where = relay
    live = where | {"LETTERS_MAIL__MODE": "live", "LETTERS_SCHEDULE__EVERY": "5"}
    site = Site(tmp_path / "site", more=live)
    site.letters("import", str(part_of_the_sample(tmp_path / "data", [STEVENAGE], due())))
    site.letters("prepare", "2020")
    backup = back_up(site, tmp_path / "yesterday.db")
    site.letters("tick")
    taken = len(handler.taken)
    assert taken
    put_back(site, backup)
    assert "does not hold what was recorded" in site.letters("tick", expect=78).stderr
    with serving(site) as server:
        server.said("does not hold what was recorded")
        site.letters("db", "confirm", "--note", "put back", "--by", "Ann Other", "--yes")
        server.said("What was in the way is mended.")
        assert server.count("does not hold what was recorded") == 1
        server.stop()
    assert len(handler.taken) == taken, "the year is paused"
