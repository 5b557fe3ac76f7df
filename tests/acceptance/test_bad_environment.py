"""What is leaned on fails: one clear answer through the real command, nothing half done, then on.

The same command, called again once it is mended, goes on. What each edge makes of each failure is
in the integration tests; here is what an operator meets.
"""

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from pipeline.capture import CaptureServer
from tests.acceptance.site import LETTERS, Row, Site, part_of_the_sample
from tests.postgres import PostgresServer, free_port

CODE = "E07000243"
WIDE = {"COLUMNS": "2000"}
ONE_LANE = {"LETTERS_CONVERT__WORKERS": "1"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The figures of one authority, whose name is not plain ASCII."""

    def rename(tables: dict[str, list[Row]]) -> None:
        for row in tables["authorities"]:
            row["name"] = "Ynys Môn Borough Council"

    return part_of_the_sample(tmp_path_factory.mktemp("data"), [CODE], rename)


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    """The folder of a site whose figures are imported; to be copied."""
    folder = tmp_path_factory.mktemp("imported")
    Site(folder).letters("import", str(data))
    return folder


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, imported: Path) -> Path:
    """The folder of a site whose letter is made and not sent; to be copied."""
    folder = tmp_path_factory.mktemp("prepared")
    shutil.copytree(imported, folder, dirs_exist_ok=True)
    Site(folder).letters("run", "2020", expect=1, env={"LETTERS_APPROVAL__PEOPLE": "1", **ONE_LANE})
    return folder


@pytest.fixture
def before_run(tmp_path: Path, imported: Path) -> Site:
    return copy_of(imported, tmp_path)


@pytest.fixture
def before_mail(tmp_path: Path, prepared: Path) -> Site:
    return copy_of(prepared, tmp_path)


def copy_of(folder: Path, to: Path) -> Site:
    """A site like that one, with a temporary folder of its own to look into."""
    shutil.copytree(folder, to / "site")
    (to / "tmp").mkdir()
    return Site(to / "site", more={"TMPDIR": str(to / "tmp"), **WIDE, **ONE_LANE}).confirmed()


def said(site: Site, *arguments: str, expect: int, env: dict[str, str] | None = None) -> str:
    """The one answer of a command that cannot do its work: whole sentences, with the fix."""
    done = site.letters(*arguments, expect=expect, env=env)
    answers = [line for line in done.stderr.splitlines() if line.startswith("letters: ")]
    assert len(answers) == 1, done.stderr
    assert done.stderr.rstrip().endswith((".", "?")), done.stderr
    assert done.stdout == ""
    return answers[0]


def letters_of(site: Site) -> list[str]:
    """The names of the PDFs in the archive, and of what a write left behind there."""
    return sorted(path.name for path in site.archive.rglob("*") if path.suffix in {".pdf", ".part"})


@contextmanager
def small_disk(place: Path, size: str) -> Iterator[None]:
    """A disk of its own at a folder; its size can be changed with `resized`."""
    place.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("NOT TESTED: a full disk needs root and a tmpfs to mount")
    try:
        yield
    finally:
        subprocess.run(["umount", place], check=True)


def resized(place: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", place], check=True)


# ------------------------------------------------------------------------------------ LibreOffice


def stand_in(folder: Path, script: str) -> dict[str, str]:
    """A program in LibreOffice's place that does what a shell script says."""
    program = folder / "soffice.bin"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return {"LETTERS_SOFFICE": str(program)}


def test_without_a_libreoffice_that_works_nothing_is_made(before_run: Site, tmp_path: Path) -> None:
    answer = said(before_run, "run", "2020", expect=78, env={"LETTERS_SOFFICE": "/nowhere"})
    assert "LETTERS_SOFFICE names /nowhere, where there is no soffice.bin." in answer
    assert "apt install libreoffice-writer-nogui python3-uno" in answer

    crashes = stand_in(tmp_path, '[ "$1" = --version ] && echo "LibreOffice 25.2" || kill -SEGV $$')
    answer = said(before_run, "run", "2020", expect=69, env=crashes)
    assert f"LibreOffice 25.2 ({tmp_path}/soffice.bin) does not start" in answer
    assert "Install it again, or name another in LETTERS_SOFFICE" in answer

    assert letters_of(before_run) == []
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_letter_is_not_made_in_another_font_than_its_own(
    before_run: Site, tmp_path: Path
) -> None:
    """The template is in Arial; nothing that is as wide is to be found."""
    fonts = tmp_path / "fonts"
    fonts.mkdir()
    listed = subprocess.run(
        ["fc-list", ":family=Liberation Mono", "file"], capture_output=True, text=True, check=True
    )
    for line in listed.stdout.splitlines():
        file = Path(line.rstrip(": "))
        (fonts / file.name).symlink_to(file)
    config = tmp_path / "fonts.conf"
    config.write_text(
        '<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig>'
        f"<dir>{fonts}</dir><cachedir>{tmp_path}/cache</cachedir></fontconfig>"
    )
    answer = said(before_run, "run", "2020", expect=78, env={"FONTCONFIG_FILE": str(config)})
    assert "set in Arial, which this machine does not have" in answer
    assert "apt install fonts-liberation" in answer
    assert letters_of(before_run) == []
    before_run.letters("run", "2020")
    assert len(before_run.mail()) == 2


def test_a_full_temporary_folder_is_named(before_run: Site, tmp_path: Path) -> None:
    with small_disk(tmp_path / "tmp", "128k"):
        answer = said(before_run, "run", "2020", expect=69)
        place = tmp_path / "tmp"
        assert f"There is no room left in {place}, where LibreOffice works. Make room" in answer
        assert list((tmp_path / "tmp").iterdir()) == []
    assert letters_of(before_run) == []


# --------------------------------------------------------------------------------------- databases


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def change(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


@pytest.mark.parametrize(
    ("spoil", "expect", "expected"),
    [
        (make_folder, 78, "is a folder; database.url must name a file, as in sqlite:///var/lett"),
        (
            lambda path: path.write_bytes(b"Dear Chief Executive, " * 500),
            69,
            "file is not a database. Another kind of file has this name; correct database.url or",
        ),
        (
            lambda path: change(path, "UPDATE alembic_version SET version_num = '9999'"),
            78,
            "is at version 9999, which this program does not know; it was written by a newer",
        ),
    ],
    ids=["a folder", "another file", "newer"],
)
def test_a_database_that_is_not_what_it_should_be_is_left_as_it_is(
    before_run: Site, spoil: Callable[[Path], object], expect: int, expected: str
) -> None:
    database = before_run.folder / "letters.db"
    spoil(database)
    before = database.read_bytes() if database.is_file() else None
    answer = said(before_run, "run", "2020", expect=expect)
    assert f"The database {database} " in answer
    assert expected in answer
    assert (database.read_bytes() if database.is_file() else None) == before
    assert not before_run.archive.exists()


def test_a_locked_database_is_waited_for_and_then_named(before_run: Site) -> None:
    url = {"LETTERS_DATABASE__URL": f"sqlite:///{before_run.folder}/letters.db?timeout=0.1"}
    holder = sqlite3.connect(before_run.folder / "letters.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    answer = said(before_run, "run", "2020", expect=69, env={**url, "LETTERS_SOFFICE": "/nowhere"})
    assert "Another program has been writing to it for 0.1 seconds; run this again" in answer
    holder.execute("ROLLBACK")
    holder.close()
    # it comes as far as it can without LibreOffice
    said(before_run, "run", "2020", expect=78, env={**url, "LETTERS_SOFFICE": "/nowhere"})


def test_a_full_disk_takes_back_what_was_begun_in_the_database(tmp_path: Path, data: Path) -> None:
    site = Site(tmp_path / "disk", more=WIDE)
    with small_disk(site.folder, "100k"):
        answer = said(site, "import", str(data), expect=69)
        assert "disk is full. Make room on its disk and run this again; nothing was half" in answer
        assert not rows(site.folder / "letters.db")
        resized(site.folder, "size=4m")
        site.letters("import", str(data))
        assert rows(site.folder / "letters.db")


def rows(path: Path) -> int:
    """How many authorities an SQLite database holds, with a table for them or without."""
    with closing(sqlite3.connect(path)) as connection:
        [(table,)] = connection.execute(
            "SELECT count(*) FROM sqlite_schema WHERE name = 'authorities'"
        )
        return int(table and connection.execute("SELECT count(*) FROM authorities").fetchone()[0])


def test_a_database_that_may_not_be_written_to_is_named(before_run: Site) -> None:
    """Root may write to anything, so it becomes somebody else for this."""
    database = before_run.folder / "letters.db"
    if os.geteuid() == 0:
        with small_disk(before_run.folder / "ro", "4m"):
            shutil.copy(database, before_run.folder / "ro")
            resized(before_run.folder / "ro", "ro")
            url = {"LETTERS_DATABASE__URL": f"sqlite:///{before_run.folder}/ro/letters.db"}
            answer = said(before_run, "run", "2020", expect=69, env=url)
    else:
        database.chmod(0o444)
        answer = said(before_run, "run", "2020", expect=69)
    assert "letters.db cannot be used" in answer
    assert "whoever runs this" in answer


@pytest.fixture
def guarded(postgres: PostgresServer) -> Iterator[str]:
    """A database on the server that asks for a password; its URL with a wrong one."""
    name = postgres.create()
    postgres.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'right'")
    engine = sa.create_engine(
        postgres.url("postgres").replace("postgresql:", "postgresql+psycopg:")
    )
    with engine.connect() as connection:
        hba = Path(str(connection.scalar(sa.text("SHOW hba_file"))))
    engine.dispose()
    before = hba.read_text()
    hba.write_text(f"host {name} {name} 127.0.0.1/32 scram-sha-256\n{before}")
    postgres.execute("SELECT pg_reload_conf()")
    yield postgres.url(name).replace("letters@", f"{name}:swordfish@")
    hba.write_text(before)
    postgres.execute("SELECT pg_reload_conf()")
    postgres.drop(name)
    postgres.execute(f"DROP ROLE {name}")


def test_a_server_that_does_not_let_us_in_is_named(
    site: Site, postgres: PostgresServer, guarded: str, data: Path
) -> None:
    for url, expected in (
        (f"postgresql://letters:swordfish@127.0.0.1:{free_port()}/d", "Connection refused"),
        (postgres.url("nowhere").replace("letters@", "letters:swordfish@"), "does not exist"),
        (guarded, "password authentication failed"),
    ):
        env = {"LETTERS_DATABASE__URL": url, **WIDE}
        answer = said(site, "import", str(data), expect=69, env=env)
        assert expected in answer
        assert "Check that the server runs and can be reached, and that database.url is" in answer
        assert "swordfish" not in answer


# ----------------------------------------------------------------------------------------- archive


def test_where_the_archive_is_in_the_way_or_read_only_nothing_is_begun(
    before_run: Site,
) -> None:
    before_run.archive.write_text("a file")
    answer = said(before_run, "run", "2020", expect=69)
    assert f"The archive cannot keep {before_run.archive}/templates/letter." in answer
    assert "Something else is in the way of one of its folders: move it, or correct arch" in answer
    before_run.archive.unlink()
    with small_disk(before_run.archive, "1m,ro"):
        answer = said(before_run, "run", "2020", expect=69)
        assert "Read-only file system. Make the folder writable for whoever runs this, or" in answer
    assert "Nothing has been begun." in before_run.letters("status", "2020").stdout


def test_a_full_archive_keeps_what_is_whole_and_goes_on_with_more_room(before_run: Site) -> None:
    with small_disk(before_run.archive, "64k"):
        answer = said(before_run, "run", "2020", expect=69)
        assert "No space left on device. Make room on its disk, and run this again" in answer
        assert letters_of(before_run) == []
        resized(before_run.archive, "size=4m")
        before_run.letters("run", "2020")
        assert len(letters_of(before_run)) == 1
        assert len(before_run.mail()) == 2


# -------------------------------------------------------------------------------------------- mail


def test_a_maildir_that_can_keep_nothing_costs_no_attempt(before_mail: Site) -> None:
    before_mail.maildir.write_text("a file")
    answer = said(before_mail, "run", "2020", expect=69)
    assert f"The Maildir {before_mail.maildir} cannot keep mail: " in answer
    assert "or name another folder in mail.capture" in answer
    before_mail.maildir.unlink()
    with small_disk(before_mail.maildir, "128k"):
        answer = said(before_mail, "run", "2020", expect=69)
        assert f"The Maildir {before_mail.maildir} cannot keep mail: No space left" in answer
        assert [path for path in before_mail.maildir.rglob("*") if path.is_file()] == []
        resized(before_mail.maildir, "size=8m")
        before_mail.letters("run", "2020")  # at once, because nothing was counted as an attempt
        assert len(before_mail.mail()) == 2


@contextmanager
def saying(words: bytes) -> Iterator[int]:
    """A server that greets with these words and hangs up; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def greet() -> None:
            while True:
                try:
                    client, _ = listening.accept()
                except OSError:
                    return
                with client:
                    client.sendall(words)

        greeting = threading.Thread(target=greet)
        greeting.start()
        try:
            yield listening.getsockname()[1]
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            greeting.join()


def test_a_relay_that_cannot_be_used_loses_nothing(before_mail: Site) -> None:
    live = {"LETTERS_MAIL__MODE": "live", "LETTERS_SMTP__HOST": "127.0.0.1"}
    with saying(b"HTTP/1.1 400 Bad Request\r\n\r\n") as web:
        for settings, expected in (
            ({"LETTERS_SMTP__HOST": "relay.test"}, "The relay relay.test port 25 cannot be reach"),
            ({"LETTERS_SMTP__PORT": str(web)}, "the relay's reply cannot be read: HTTP/1.1 400"),
        ):
            done = before_mail.letters("run", "2020", expect=69, env={**live, **settings})
            assert expected in done.stderr
    status = before_mail.json("status", "2020", env=live)
    assert status["counts"]["queued"] == sum(status["counts"].values()) == 2
    with CaptureServer(before_mail.maildir) as relay:
        env = {**live, "LETTERS_SMTP__PORT": str(relay.port)}
        before_mail.letters("run", "2020", env=env)
    assert len(before_mail.mail()) == 2


@pytest.mark.parametrize(
    ("holds", "expected"),
    [
        (None, "is a folder; name the file"),
        ("", "is empty"),
        (" \r\n\n", "is empty"),
        ("swordfish\nopen sesame\n", "holds more than one line of text"),
    ],
    ids=["a folder", "empty", "blank", "two lines"],
)
def test_a_password_file_that_is_none_sends_nothing(
    before_mail: Site, tmp_path: Path, holds: str | None, expected: str
) -> None:
    file = tmp_path / "password"
    if holds is None:
        file.mkdir()
    else:
        file.write_text(holds, encoding="utf-8")
        file.chmod(0o600)
    env = {
        "LETTERS_MAIL__MODE": "live",
        "LETTERS_SMTP__USERNAME": "letters",
        "LETTERS_SMTP__PASSWORD_FILE": str(file),
    }
    answer = said(before_mail, "run", "2020", expect=78, env=env)
    assert f"The password file {file}, which smtp.password_file names, {expected}." in answer
    assert "swordfish" not in answer
    assert "sesame" not in answer


def test_a_password_that_everybody_can_read_is_warned_of_once(
    before_mail: Site, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_text("swordfish\n", encoding="utf-8")
    env = {
        "LETTERS_SMTP__USERNAME": "letters",
        "LETTERS_SMTP__PASSWORD_FILE": str(file),
        "COLUMNS": "2000",
    }
    file.chmod(0o644)
    done = before_mail.letters("status", "2020", "--json", env=env)
    assert done.stderr == (
        f"letters: The password file {file} can be read by everybody on this machine; "
        f"keep it to yourself with chmod 600 {file}.\n"
    )
    assert json.loads(done.stdout)["year"] == 2020
    completing = {
        "_LETTERS_COMPLETE": "complete_bash",
        "COMP_WORDS": "letters status ",
        "COMP_CWORD": "2",
    }
    offered = before_mail.letters(env={**env, **completing})
    assert (offered.stdout.split(), offered.stderr) == (["2020"], "")
    file.chmod(0o600)
    assert before_mail.letters("status", "2020", env=env).stderr == ""


# -------------------------------------------------------------------------------- the session's own


def test_an_odd_session_changes_nothing(before_mail: Site) -> None:
    """No home, no language, no name, no such time zone: the same work, the same words."""
    odd = {
        "LC_ALL": "C",
        "TZ": "Mars/Olympus",
        "HOME": "/nowhere",
        "USER": "",
        "LOGNAME": "",
    }
    before_mail.letters("run", "2020", env=odd)
    assert len(before_mail.mail()) == 2
    shown = before_mail.letters("show", CODE, env=odd).stdout
    assert "Ynys Môn" in shown


def test_looking_leaves_no_files_beside_the_database(before_mail: Site) -> None:
    before = sorted(before_mail.folder.iterdir())
    for arguments in (("status", "2020"), ("show", CODE), ("status", "2019")):
        before_mail.letters(*arguments, expect=2 if "2019" in arguments else 0)
        assert sorted(before_mail.folder.iterdir()) == before, arguments


def redirected(site: Site, how: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command with its streams as a shell arranges them."""
    return subprocess.run(
        ["sh", "-c", f'exec "$0" "$@" {how}', LETTERS, *arguments],
        env=site.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_output_that_takes_nothing_is_named(before_mail: Site) -> None:
    done = redirected(before_mail, ">/dev/full", "status", "2020")
    assert done.returncode == 69
    assert done.stderr.startswith("letters: ")
    assert "No space left on device" in done.stderr


@pytest.mark.parametrize("how", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_with_its_streams_closed_the_work_is_done_all_the_same(
    before_mail: Site, tmp_path: Path, how: str
) -> None:
    done = redirected(before_mail, how, "run", "2020")
    assert done.returncode == 0, done.stderr
    assert "letters:" not in done.stderr
    assert len(before_mail.mail()) == 2
    assert not list((tmp_path / "tmp").iterdir())
    with closing(sqlite3.connect(before_mail.folder / "letters.db")) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize("how", ["2>&-", "2>/dev/full", ">/dev/full 2>/dev/full", ">&- 2>&-"])
def test_an_error_that_nobody_can_be_told_keeps_its_exit_code(site: Site, how: str) -> None:
    # no such year, no such command, a wrong setting, something to be put right
    for arguments, code in (
        (("status", "2020"), 2),
        (("statsu",), 2),
        (("--config", "/nowhere/letters.toml", "status", "2020"), 78),
        (("import", "/nowhere"), 2),
    ):
        done = redirected(site, how, *arguments)
        assert (arguments, done.returncode) == (arguments, code)
        assert done.stdout + done.stderr == ""
