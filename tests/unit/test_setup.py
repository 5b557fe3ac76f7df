"""The two commands of the README and the locks: what can be seen without installing anything."""

import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
import tomllib
from contextlib import closing
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = ["start", "check", "setup/lock", ".ci/run"]
SCRIPTS = [*COMMANDS, "setup/steps.sh", "setup/system.sh", "setup/python.sh"]
LOCKS = ["requirements.txt", "requirements-scale.txt", "requirements-dev.txt"]

pytestmark = pytest.mark.skipif(shutil.which("sh") is None, reason="there is no POSIX shell")


def shell(script: str, *words: str, root: Path = ROOT, **more: str) -> list[str]:
    """The command line and environment that run `script` with the shared parts read in."""
    sources = " ".join(
        f". {shlex.quote(str(ROOT))}/setup/{part}.sh;" for part in ("steps", "system", "python")
    )
    environment = [f"{name}={value}" for name, value in more.items()]
    return [
        "env",
        f"root={root}",
        *environment,
        "sh",
        "-euc",
        f"{sources} {script}",
        "start",
        *words,
    ]


def ran(
    script: str, *words: str, root: Path = ROOT, **more: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        shell(script, *words, root=root, **more),
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )


def pins(lock: str) -> dict[str, str]:
    found = re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", (ROOT / lock).read_text("utf-8"), re.MULTILINE)
    return {canonicalize_name(name): version for name, version in found}


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_is_one_a_shell_can_read(script: str) -> None:
    reader = "bash" if script == ".ci/run" else "sh"
    subprocess.run([reader, "-n", script], cwd=ROOT, check=True)


@pytest.mark.parametrize("script", COMMANDS)
def test_every_command_can_be_called(script: str) -> None:
    assert os.access(ROOT / script, os.X_OK)


@pytest.mark.parametrize("file", [*SCRIPTS, *LOCKS, ".pre-commit-config.yaml"])
def test_no_file_says_where_packages_come_from(file: str) -> None:
    text = (ROOT / file).read_text("utf-8")
    assert "://" not in text
    assert "index-url" not in text.replace("--no-emit-index-url", "")
    assert "find-links" not in text.replace("--no-emit-find-links", "")


@pytest.mark.parametrize("command", ["start", "check"])
def test_help_is_given_from_any_folder(command: str, tmp_path: Path) -> None:
    given = subprocess.run(
        [ROOT / command, "--help"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert given.stdout.startswith(f"Usage: ./{command}")
    if command == "start":
        assert max(map(len, given.stdout.splitlines())) <= 80


@pytest.mark.parametrize("command", ["start", "check"])
def test_an_unknown_option_is_refused_before_anything_is_done(command: str) -> None:
    given = subprocess.run([ROOT / command, "--fst"], capture_output=True, text=True, check=False)
    assert given.returncode == 64
    assert "Usage:" in given.stdout + given.stderr


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_package_carries_hashes(lock: str) -> None:
    entries = re.split(r"^(?=[A-Za-z0-9])", (ROOT / lock).read_text("utf-8"), flags=re.MULTILINE)
    named = [entry for entry in entries if "==" in entry]
    assert len(named) == len(pins(lock)) > 20
    assert [entry for entry in named if "--hash=sha256:" not in entry] == []


@pytest.mark.parametrize("lock", LOCKS)
def test_what_is_tested_is_what_runs(lock: str) -> None:
    tested = pins("requirements-dev.txt")
    assert {name: tested.get(name) for name in pins(lock)} == pins(lock)


@pytest.mark.parametrize(
    ("lock", "extra"),
    [
        ("requirements.txt", ""),
        ("requirements-scale.txt", "scale"),
        ("requirements-dev.txt", "dev"),
    ],
)
def test_the_locks_satisfy_the_project(lock: str, extra: str) -> None:
    told = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    wanted = told["project"]["dependencies"] + told["build-system"]["requires"]
    wanted += told["project"]["optional-dependencies"].get(extra, [])
    locked = pins(lock)
    unmet = [
        str(need)
        for need in map(Requirement, wanted)
        if need.name != told["project"]["name"]  # its own extra, whose lock is looked at by itself
        and not need.specifier.contains(locked.get(canonicalize_name(need.name), "0"))
    ]
    assert unmet == [], "call setup/lock"


ONE_LINE = """\
# deb http://commented.example/debian bookworm main
deb cdrom:[Debian GNU/Linux 12 _Bookworm_]/ bookworm main
deb-src http://source.example/debian bookworm main
deb http://security.example/debian-security bookworm-security main
deb http://other.example/tool bookworm stable
deb [arch=amd64,arm64 signed-by=/keys/a.gpg] http://mirror.example/debian bookworm main # own
deb http://second.example/debian bookworm main
"""
ONE_LINE_STANZA = """\
Types: deb
URIs: http://mirror.example/debian
Suites: bookworm-backports
Components: main
Architectures: amd64 arm64
Signed-By: /keys/a.gpg
"""
DEB822 = """\
# The machine's own
Types: deb
URIs: http://disabled.example/debian
Suites: bookworm
Components: main
Enabled: no

Types: deb
URIs: http://security.example/debian-security
Suites: bookworm-security
Components: main

Types: deb deb-src
# a comment inside
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mDMEY865UxYJ
 -----END PGP PUBLIC KEY BLOCK-----
"""
DEB822_STANZA = """\
Types: deb
URIs: http://mirror.example/debian
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mDMEY865UxYJ
 -----END PGP PUBLIC KEY BLOCK-----
Suites: bookworm-backports
Components: main
"""


@pytest.mark.parametrize(
    ("name", "source", "stanza"),
    [
        ("sources.list", ONE_LINE, ONE_LINE_STANZA),
        ("debian.sources", DEB822, DEB822_STANZA),
        ("tools.list", "deb http://other.example/tool bookworm stable\n", ""),
        ("trixie.list", "deb http://mirror.example/debian trixie main\n", ""),
        ("empty.sources", "", ""),
    ],
)
def test_backports_come_from_the_machines_own_mirror(
    name: str, source: str, stanza: str, tmp_path: Path
) -> None:
    file = tmp_path / name
    file.write_text(source, "utf-8")
    given = ran('backports_stanza bookworm "$@"', str(tmp_path / "missing.list"), str(file))
    assert (given.returncode, given.stdout, given.stderr) == (0, stanza, "")


def program(folder: Path, name: str, text: str) -> None:
    file = folder / name
    file.write_text(f"#!/bin/sh\n{text}\n", "utf-8")
    file.chmod(0o755)


def test_a_python_that_only_complains_is_passed_over(tmp_path: Path) -> None:
    program(tmp_path, "python3.13", "echo 'python3.13: command not found' >&2; exit 127")
    program(tmp_path, "python3.12", "exit 1")
    program(tmp_path, "python3", f'exec {shlex.quote(sys.executable)} "$@"')
    given = ran("PATH=$1; find_python || echo none", str(tmp_path))
    assert given.stdout == f"{tmp_path}/python3\n"
    (tmp_path / "python3").unlink()
    given = ran("PATH=$1; find_python || echo none", str(tmp_path))
    assert given.stdout == "none\n"


@pytest.mark.parametrize(
    ("python", "packages"),
    [("", "python3 python3-venv"), ("python3.11", "python3.11-venv")],
)
@pytest.mark.parametrize("there", [True, False])
def test_all_that_is_missing_is_named_in_one_line(
    python: str, packages: str, there: bool, tmp_path: Path
) -> None:
    outcome = 0 if there else 1
    parts = "".join(
        f"{part}() {{ return {outcome}; }}; "
        for part in ("writer_seen", "bridge_seen", "fonts_found")
    )
    program(
        tmp_path, "python3.11", "[ $# -eq 2 ] && case $2 in *print*) echo 3.11;; *) exit 1; esac"
    )
    found = f"{tmp_path}/{python}" if python else ""
    given = ran(
        f"{parts} environment_sound() {{ return 1; }}; obtain_python() {{ :; }}; "
        'find_python() { [ -n "$found" ] && echo "$found"; }; '
        "found=$1; prepare_python requirements.txt",
        found,
        root=tmp_path,
    )
    assert given.returncode == 69
    [line] = given.stderr.splitlines()
    rest = "" if there else " libreoffice-writer-nogui python3-uno fonts-liberation"
    assert f"apt-get install --no-install-recommends {packages}{rest}" in line
    assert there != ("fonts-liberation" in line)


def test_an_environment_that_was_moved_is_made_anew(tmp_path: Path) -> None:
    pytest.importorskip("pip")
    first, second = tmp_path / "first place", tmp_path / "second place"
    first.mkdir()
    make = [sys.executable, "-m", "venv", "--without-pip", str(first / ".venv")]
    subprocess.run(make, check=True)
    (first / ".venv/pip-from").write_text(sys.executable, "utf-8")
    sound = "if environment_sound; then echo sound; else echo unsound; fi"
    assert ran(sound, root=first).stdout == "sound\n"
    first.rename(second)
    assert ran(sound, root=second).stdout == "unsound\n"


def test_changed_requirements_are_noticed(tmp_path: Path) -> None:
    make = [sys.executable, "-m", "venv", "--without-pip", str(tmp_path / ".venv")]
    subprocess.run(make, check=True)
    for file in ("pyproject.toml", "requirements.txt"):
        shutil.copy(ROOT / file, tmp_path)
    before = ran("fingerprint requirements.txt", root=tmp_path).stdout
    assert sys.version.splitlines()[0] in before
    assert ran("fingerprint requirements.txt", root=tmp_path).stdout == before
    with (tmp_path / "requirements.txt").open("a", encoding="utf-8") as lock:
        lock.write("another==1\n")
    assert ran("fingerprint requirements.txt", root=tmp_path).stdout != before


def test_a_step_that_fails_shows_the_end_of_its_log(tmp_path: Path) -> None:
    given = ran(
        "begin; step First echo unseen; step 'Doing it' sh -c 'echo the reason; exit 3' || echo $?",
        root=tmp_path,
    )
    assert given.stdout == "First ...\nDoing it ...\n3\n"
    assert "the reason" in given.stderr
    assert "unseen" not in given.stderr
    assert "unseen" in (tmp_path / "var/setup.log").read_text("utf-8")


def test_a_step_leaves_the_lock_to_nobody(tmp_path: Path) -> None:
    held = (
        "begin; if : >&9; then echo held; fi; step 'Trying' sh -c ': >&9' 2>/dev/null || echo kept"
    )
    assert ran(held, root=tmp_path).stdout == "held\nTrying ...\nkept\n"


@pytest.mark.skipif(shutil.which("flock") is None, reason="there is no flock")
def test_the_second_of_two_waits(tmp_path: Path) -> None:
    order = tmp_path / "order"
    with subprocess.Popen(
        shell("begin; echo in; read -r line; echo first >>order", root=tmp_path),
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as first:
        assert first.stdin is not None
        assert first.stdout is not None
        assert first.stdout.readline() == "in\n"
        with subprocess.Popen(
            shell("begin; echo second >>order", root=tmp_path),
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            text=True,
        ) as second:
            assert second.stdout is not None
            assert "waiting" in second.stdout.readline()
            first.stdin.write("go on\n")
            first.stdin.flush()
            assert second.wait() == 0
        assert first.wait() == 0
    assert order.read_text("utf-8") == "first\nsecond\n"


def test_what_a_refused_run_leaves_behind_is_no_database_of_ones_own(tmp_path: Path) -> None:
    config = tmp_path / "config/letters.toml"
    config.parent.mkdir()
    config.touch()
    file = tmp_path / "var/letters.db"
    file.parent.mkdir()
    template = f"LETTERS_TEMPLATE__PATH={ROOT}/templates/letter.docx"
    environment = ["env", f"LETTERS_HOME={tmp_path}", template, sys.executable]

    def state() -> str:
        command = [*environment, str(ROOT / "setup/sample.py")]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    refused = subprocess.run(
        [*environment, "-m", "pipeline", "run", "2020"], capture_output=True, text=True, check=False
    )
    assert refused.returncode == 2
    assert file.exists()
    assert state() == "fresh"
    with closing(sqlite3.connect(file)) as db, db:
        db.execute("INSERT INTO authorities (code, name, kind) VALUES ('E1', 'One', 'district')")
    assert state() == "there"
    file.write_bytes(b"not a database at all, though somebody may want it" * 100)
    assert state() == "there"


@pytest.mark.parametrize(
    ("settings", "files", "state"),
    [
        ("", [], "fresh"),
        ("", ["letters.db", "sample-begun"], "fresh"),
        ("", ["letters.db"], "there"),
        ('[mail]\nmode = "live"', [], "elsewhere"),
        ('[source]\nurl = "sqlite:///var/cases.db"', [], "elsewhere"),
        ('[database]\nurl = "sqlite:///var/own/letters.db"', [], "elsewhere"),
        ('[database]\nurl = "sqlite:///var/letters.db?timeout=9"', ["letters.db"], "there"),
        ('[database]\nurl = "postgresql://ledger.example/letters"', [], "elsewhere"),
    ],
)
def test_the_sample_never_lands_among_real_figures(
    settings: str, files: list[str], state: str, tmp_path: Path
) -> None:
    for folder in ("config", "var"):
        (tmp_path / folder).mkdir()
    (tmp_path / "config/letters.toml").write_text(settings, "utf-8")
    for file in files:
        (tmp_path / "var" / file).touch()
    given = subprocess.run(
        ["env", f"LETTERS_HOME={tmp_path}", sys.executable, ROOT / "setup/sample.py"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert given.stdout == f"{state}\n"
