"""`letters check`, as it is typed: on a terminal, in a pipe, on a machine that is not well."""

import fcntl
import json
import os
import pty
import re
import resource
import struct
import subprocess
import termios
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.acceptance.site import LETTERS, Site, part_of_the_sample
from tests.postgres import free_port
from tests.relays import WaywardRelay

CODES = ("E07000243", "E07000008")
SECRET = "correct-horse"  # noqa: S105 - nobody's
BESIDE = 29
"""Columns that the sign, the kind and the name of a check take on a wide terminal."""
SIGNS = {"ok": "✓", "note": "·", "warning": "!", "fault": "✗"}


@pytest.fixture
def filled(site: Site, tmp_path: Path) -> Site:
    """A site with the statistics of two authorities."""
    site.letters("import", str(part_of_the_sample(tmp_path / "data", CODES)))
    return site


def listing(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def test_a_site_that_is_well(filled: Site) -> None:
    before = listing(filled.folder)
    done = filled.letters("check")
    assert done.stderr == ""
    *lines, empty, verdict = done.stdout.splitlines()
    assert empty == ""
    assert verdict == "Ready for a rehearsal: capture mode, nothing leaves this machine."
    told = [line for line in lines if not line.startswith(" ")]
    for line in told:
        sign, kind = line.split()[:2]
        assert SIGNS[kind] == sign, line
    assert any(line.startswith("✓ ok       a letter") for line in told)
    assert listing(filled.folder) == before


def test_json_for_scripts(filled: Site) -> None:
    rows = filled.json("check", "--quick")
    assert all(list(row) == ["check", "state", "found", "fix"] for row in rows)
    assert {row["state"] for row in rows} <= {"ok", "note"}
    assert "a letter" not in {row["check"] for row in rows}


def test_what_is_not_well_is_said_and_the_exit_code_tells(filled: Site, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text(SECRET)
    password.chmod(0o600)
    live = {
        "LETTERS_MAIL__MODE": "live",
        "LETTERS_SMTP__HOST": "127.0.0.1",
        "LETTERS_SMTP__PORT": str(free_port()),
        "LETTERS_SMTP__USERNAME": "me",
        "LETTERS_SMTP__PASSWORD_FILE": str(password),
    }
    done = filled.letters("check", "--quick", expect=1, env=live)
    assert re.search(r"\n✗ fault    relay +The relay 127\.0\.0\.1 port \d+ cannot", done.stdout)
    assert done.stdout.splitlines()[-1] == (
        "Not ready, a run would fail: 1 fault (relay) and 1 warning (sender). "
        "LibreOffice was not tried."
    )
    refusing = {
        "EHLO": b"250-relay.test\r\n250 AUTH PLAIN\r\n",
        "AUTH": f"535 5.7.8 not {SECRET}\r\n".encode(),
    }
    with WaywardRelay(refusing) as server:
        port = {**live, "LETTERS_SMTP__PORT": str(server.port)}
        for form in ((), ("--json",)):
            done = filled.letters("check", "--quick", *form, expect=1, env=port)
            assert "refused the login of me: 535" in done.stdout
            assert SECRET not in done.stdout + done.stderr
        assert server.verbs == ["EHLO", "AUTH", "QUIT"] * 2
    with WaywardRelay() as server:
        redirect = {
            "LETTERS_MAIL__MODE": "redirect",
            "LETTERS_MAIL__REDIRECT_TO": "me@here.test",
            "LETTERS_MAIL__SENDER": "letters@ombudsman.gov.uk.invalid",
            "LETTERS_SMTP__HOST": "127.0.0.1",
            "LETTERS_SMTP__PORT": str(server.port),
        }
        done = filled.letters("check", "--quick", expect=1, env=redirect)
        assert "A run would go, but somebody should see to 1 warning (sender)." in done.stdout
        assert server.verbs == ["EHLO", "QUIT"]


def test_settings_that_are_wrong_are_said_before_anything_is_looked_at(site: Site) -> None:
    done = site.letters("check", expect=78, env={"LETTERS_MAIL__MODE": "loud"})
    assert done.stdout == ""
    assert "'capture', 'redirect' or 'live'" in done.stderr


def test_a_new_site_is_told_what_to_do_and_left_empty(site: Site) -> None:
    done = site.letters("check", "--quick", expect=1)
    assert "letters import FOLDER or BOOK.xlsx" in done.stdout
    assert "Not ready, a run would fail: 1 fault (statistics)." in done.stdout
    assert listing(site.folder) == {}


def run(
    site: Site, *arguments: str, env: Mapping[str, str] | None = None, limit: int | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run the command in an environment of its own; `limit` is the largest file it may write."""

    def limited() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return subprocess.run(
        [LETTERS, "check", *arguments],
        env=site.environment if env is None else env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        cwd="/",
        preexec_fn=limited,
    )


def test_without_a_home_and_with_letters_that_the_terminal_lacks(filled: Site) -> None:
    bare = {key: value for key, value in filled.environment.items() if key.startswith("LETTERS_")}
    done = run(filled, "--quick", env={**bare, "PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.isascii()
    assert done.stdout.startswith(b"+ ok       settings")
    assert b"- note     locale" in done.stdout
    done = run(filled, "--quick", "--json", env={**bare, "PYTHONIOENCODING": "ascii"})
    assert done.stdout.isascii()
    assert json.loads(done.stdout)


def test_on_a_machine_that_has_no_room_for_any_file(filled: Site) -> None:
    filled.archive.mkdir()
    before = listing(filled.folder)
    done = run(filled, "--json", limit=0)
    assert b"Traceback" not in done.stderr
    assert done.returncode == 1
    faults = {row["check"] for row in json.loads(done.stdout) if row["state"] == "fault"}
    assert {"ledger", "archive"} <= faults
    # SQLite makes two files beside its own before it finds that it can write neither
    left = {path: data for path, data in listing(filled.folder).items() if path not in before}
    assert set(left.values()) <= {b""}
    assert {Path(path).name for path in left} <= {"letters.db-shm", "letters.db-wal"}
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run(
            [LETTERS, "check", "--quick"],
            env=filled.environment,
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
            text=True,
        )
    assert ended.returncode == 69
    assert "Traceback" not in ended.stderr
    assert "No space left" in ended.stderr


def test_whoever_reads_may_stop_reading(filled: Site) -> None:
    with subprocess.Popen(
        [LETTERS, "check", "--quick"],
        env=filled.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        assert running.stdout.readline().startswith("✓ ok       settings".encode())
        running.stdout.close()
        assert running.stderr.read() == b""
        assert running.wait() == 0


def on_terminal(site: Site, columns: int, **env: str) -> str:
    """What a terminal of so many columns is shown, without its colours and movements."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environment = {**site.environment, "TERM": "xterm-256color", **env}
    environment.pop("COLUMNS")
    with subprocess.Popen(
        [LETTERS, "check", "--quick"],
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd="/",
    ) as running:
        os.close(theirs)
        shown = bytearray()
        while True:
            try:
                part = os.read(ours, 4096)
            except OSError:  # how a terminal of Linux says that nobody writes to it any more
                break
            shown += part
        os.close(ours)
        assert running.wait() in {0, 1}
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown.decode())
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "\r", plain)
    # each line as it stands in the end: what shows that work goes on is written over
    return "\n".join(
        line.rstrip("\r").rpartition("\r")[2] for line in text.replace("\r\n", "\n").split("\n")
    )


@pytest.mark.parametrize("columns", [60, 100])
def test_on_a_terminal(filled: Site, columns: int) -> None:
    shown = on_terminal(filled, columns)
    assert "Traceback" not in shown
    words = [line for line in shown.splitlines() if line.strip()]
    # A path is never broken, so it may be too long beside the name of what was looked at (which
    # depends on where the test's folder lies); a line of several words never is.
    too_long = [
        line
        for line in words
        if len(line) > columns and " " in (line[BESIDE:] if columns == 100 else line).strip()
    ]
    assert too_long == []
    assert words[-1].endswith("LibreOffice was not tried.")
    if columns == 60:
        assert any(line.startswith("    ") for line in words)
    assert "✓ ok" in shown


def test_a_terminal_without_the_signs(filled: Site) -> None:
    shown = on_terminal(filled, 100, PYTHONIOENCODING="ascii")
    assert shown.isascii()
    assert "+ ok" in shown


def test_a_missing_office_is_a_fault_and_the_rest_is_looked_at(
    filled: Site, tmp_path: Path
) -> None:
    nowhere = tmp_path / "nowhere"
    nowhere.mkdir()
    rows = filled.json("check", expect=1, env={"LETTERS_SOFFICE": str(nowhere)})
    states = {row["check"]: row["state"] for row in rows}
    assert states["LibreOffice"] == "fault"
    assert states["a letter"] == "note"
    assert states["captured mail"] == "note"
