"""One letter's PDF: where it is, to look at, to copy; and the story of it."""

import hashlib
import json
import os
import pty
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.acceptance.site import LETTERS, Row, Site, part_of_the_sample

STEVENAGE, WATFORD, HERTSMERE = "E07000243", "E07000103", "E07000098"


def unreachable(tables: dict[str, list[Row]]) -> None:
    """Hertsmere has nobody to write to."""
    tables["officers"] = [one for one in tables["officers"] if one["authority_code"] != HERTSMERE]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Two letters sent to the captured mail, and one with a fault."""
    folder = tmp_path_factory.mktemp("made")
    site = Site(folder)
    data = part_of_the_sample(folder / "data", [STEVENAGE, WATFORD, HERTSMERE], unreachable)
    site.letters("import", str(data))
    site.letters("run", "2020", expect=1)
    return site


@pytest.fixture
def copied(made: Site, tmp_path: Path) -> Site:
    """The same, to do something to."""
    folder = tmp_path / "site"
    shutil.copytree(made.folder, folder)
    return Site(folder)


def letter(site: Site, *arguments: str, expect: int = 0) -> str:
    return site.letters("letter", STEVENAGE, *arguments, expect=expect).stdout


def frozen(site: Site) -> bytes:
    [path] = (site.archive / "2020").glob(f"{STEVENAGE}-*.pdf")
    return path.read_bytes()


def test_it_says_where_the_letter_is(made: Site) -> None:
    told = made.json("letter", STEVENAGE)
    assert Path(told["file"]).read_bytes() == frozen(made)
    assert told["sha256"] == hashlib.sha256(frozen(made)).hexdigest()
    assert told["filename"] == "Annual Review letter 2020 - Stevenage Borough Council.pdf"
    assert (told["pages"], told["fault"], told["withheld"]) == (3, None, None)
    said = letter(made)
    for fact in ("Stevenage Borough Council", told["pdf"], told["file"], told["sha256"], "3 pages"):
        assert fact in said


def test_a_copy_is_the_very_file(made: Site, tmp_path: Path) -> None:
    copy = tmp_path / "copy.pdf"
    assert str(copy) in letter(made, "--out", str(copy))
    assert copy.read_bytes() == frozen(made)
    assert [one.name for one in tmp_path.iterdir()] == ["copy.pdf"]
    # the same again changes nothing
    before = copy.stat().st_mtime_ns
    assert "is this file already" in letter(made, "--out", str(copy))
    assert copy.stat().st_mtime_ns == before
    assert made.json("letter", STEVENAGE, "--out", str(copy))["copy"] == str(copy)


def test_a_folder_gets_it_under_the_name_that_it_has_in_the_mail(
    made: Site, tmp_path: Path
) -> None:
    letter(made, "--out", f"{tmp_path}/")
    letter(made, "--out", str(tmp_path))
    [copy] = tmp_path.iterdir()
    assert copy.name == "Annual Review letter 2020 - Stevenage Borough Council.pdf"
    assert copy.read_bytes() == frozen(made)
    [attached] = {
        one.get_filename()
        for mail in made.mail()
        if "stevenage" in mail.recipient
        for one in mail.message.iter_attachments()
    }
    assert copy.name == attached


def test_another_file_is_not_overwritten_unless_it_is_asked_for(made: Site, tmp_path: Path) -> None:
    copy = tmp_path / "letter.pdf"
    copy.write_text("somebody's notes")
    refused = made.letters("letter", STEVENAGE, "--out", str(copy), expect=2)
    assert str(copy) in refused.stderr
    assert "--force" in refused.stderr
    assert copy.read_text() == "somebody's notes"
    letter(made, "--out", str(copy), "--force")
    assert copy.read_bytes() == frozen(made)
    assert [one.name for one in tmp_path.iterdir()] == ["letter.pdf"]


def test_where_nothing_can_be_written_nothing_is(made: Site, tmp_path: Path) -> None:
    for place in (f"{tmp_path}/nowhere/letter.pdf", f"{tmp_path}/nowhere/"):
        refused = made.letters("letter", STEVENAGE, "--out", place, expect=2)
        assert "no folder" in refused.stderr
    assert (
        "neither a file"
        in made.letters("letter", STEVENAGE, "--out", "/dev/null", "--force", expect=2).stderr
    )
    link = tmp_path / "link.pdf"
    link.symlink_to(tmp_path / "target.pdf")
    letter(made, "--out", str(link))
    assert link.is_symlink()
    assert (tmp_path / "target.pdf").read_bytes() == frozen(made)


def test_standard_output_gets_the_bytes_and_nothing_else(made: Site) -> None:
    done = subprocess.run(
        [LETTERS, "letter", STEVENAGE, "--out", "-"],
        env=made.environment,
        capture_output=True,
        check=True,
        cwd="/",
    )
    assert done.stdout == frozen(made)
    both = made.letters("letter", STEVENAGE, "--out", "-", "--json", expect=2)
    assert both.stdout == ""


def test_a_terminal_gets_no_pdf(made: Site) -> None:
    terminal, theirs = pty.openpty()
    try:
        done = subprocess.run(
            [LETTERS, "letter", STEVENAGE, "--out", "-"],
            env=made.environment,
            stdout=theirs,
            stderr=subprocess.PIPE,
            check=False,
            cwd="/",
            text=True,
        )
    finally:
        os.close(theirs)
        os.close(terminal)
    assert done.returncode == 2
    assert "not for a terminal" in done.stderr


def test_an_altered_or_missing_file_is_never_copied(copied: Site, tmp_path: Path) -> None:
    [path] = (copied.archive / "2020").glob(f"{STEVENAGE}-*.pdf")
    data = path.read_bytes()
    copy = tmp_path / "copy.pdf"
    path.write_bytes(data[:-10] + bytes([data[-10] ^ 1]) + data[-9:])
    said = copied.letters("letter", STEVENAGE, "--out", str(copy), expect=69).stderr
    assert str(path) in said
    assert "backup" in said
    path.unlink()
    assert "backup" in copied.letters("letter", STEVENAGE, expect=69).stderr
    assert not copy.exists()


def test_a_letter_with_a_fault_says_why_there_is_none(made: Site, tmp_path: Path) -> None:
    said = made.letters("letter", HERTSMERE, expect=1)
    assert "There is no PDF" in said.stdout
    assert "chief executive" in said.stdout.lower()
    told = json.loads(made.letters("letter", HERTSMERE, "--json", expect=1).stdout)
    assert told["fault"] in said.stdout
    assert (told["pdf"], told["file"]) == (None, None)
    done = made.letters("letter", HERTSMERE, "--out", str(tmp_path / "none.pdf"), expect=1)
    assert told["fault"] in done.stderr
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_a_withheld_letter_says_so_first_with_who_and_why(copied: Site) -> None:
    copied.letters(
        "cancel", STEVENAGE, "--year", "2020", "--reason", "wrong [bold]figures", "--by", "Ann O.",
        env={"LETTERS_MAIL__MODE": "live", "LETTERS_SMTP__HOST": "127.0.0.1"},
    )  # fmt: skip
    assert "Withheld: wrong [bold]figures" in letter(copied)
    shown = copied.letters("show", STEVENAGE).stdout
    assert "by Ann O.: wrong [bold]figures" in shown.splitlines()[1]
    assert "Withheld by Ann O." in shown
    assert "“wrong [bold]figures”" in shown
    assert f"letters resume {STEVENAGE} --year 2020" in shown
    told = copied.json("show", STEVENAGE)
    assert (told["withheld_by"], told["withheld"]) == ("Ann O.", "wrong [bold]figures")
    copied.letters("resume", STEVENAGE, "--year", "2020", "--by", "Ben")
    shown = copied.letters("show", STEVENAGE).stdout
    assert "Released by Ben: it may be sent." in shown
    assert "Withheld since" not in shown
    told = copied.json("show", STEVENAGE)
    assert (told["withheld"], told["withheld_at"], told["withheld_by"]) == (None, None, None)


def test_a_rehearsal_that_a_refresh_replaced_is_noted(copied: Site, tmp_path: Path) -> None:
    def corrected(tables: dict[str, list[Row]]) -> None:
        for one in tables["officers"]:
            if one["authority_code"] == WATFORD and one["role"] == "chief_executive":
                one["family_name"] = "Newcome"

    data = part_of_the_sample(tmp_path / "data", [STEVENAGE, WATFORD, HERTSMERE], corrected)
    assert "letters refresh 2020" in copied.letters("import", str(data)).stdout
    copied.letters(
        "cancel", STEVENAGE, "--year", "2020", "--reason", "in court", "--by", "Ann",
        env={"LETTERS_MAIL__MODE": "live", "LETTERS_SMTP__HOST": "127.0.0.1"},
    )  # fmt: skip
    old = copied.json("show", WATFORD)["sha256"]
    copied.letters("refresh", "2020")
    shown = copied.letters("show", WATFORD).stdout
    assert "There is no PDF yet" in copied.letters("letter", WATFORD, expect=1).stdout
    assert "Its letter was another PDF, and was sent to:" in shown
    assert shown.count("kept on this machine; a rehearsal") == 2
    [earlier] = copied.json("show", WATFORD)["earlier_runs"]
    assert (earlier["sha256"], earlier["how"]) == (old, "refreshed")
    assert [one["state"] for one in earlier["deliveries"]] == ["accepted", "accepted"]
    # the other letter was not made again, and stays withheld by whoever had done that
    shown = copied.letters("show", STEVENAGE).stdout
    assert "Its letter was this very PDF, and was sent to:" in shown
    assert "by Ann: in court" in shown.splitlines()[1]
    # in every mode, and also of a letter that could not be made
    live = {"LETTERS_MAIL__MODE": "live", "LETTERS_SMTP__HOST": "127.0.0.1"}
    assert copied.json("show", WATFORD, env=live)["earlier_runs"] == [earlier]
    assert "Its letter could not be made" in copied.letters("show", HERTSMERE).stdout


def viewer(folder: Path, script: str) -> str:
    """A desktop's command of this name, before all others on the path."""
    folder.mkdir()
    path = folder / "xdg-open"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def test_the_desktops_viewer_gets_a_copy(made: Site, tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    desktop = {
        "PATH": viewer(tmp_path / "bin", f'cp "$1" {tmp_path}/seen; echo "$1" > {tmp_path}/named'),
        "DISPLAY": ":0",
        "TMPDIR": str(tmp_path / "tmp"),
    }
    made.letters("letter", STEVENAGE, "--open", env=desktop)
    assert (tmp_path / "seen").read_bytes() == frozen(made)
    opened = Path((tmp_path / "named").read_text().strip())
    assert opened.name == "Annual Review letter 2020 - Stevenage Borough Council.pdf"
    assert not opened.is_relative_to(made.archive)


def test_without_a_desktop_it_says_what_to_do(made: Site, tmp_path: Path) -> None:
    fails = {
        "PATH": viewer(tmp_path / "bin", "exit 3"),
        "DISPLAY": ":0",
        "TMPDIR": str(tmp_path),
    }
    said = made.letters("letter", STEVENAGE, "--open", expect=69, env=fails).stderr
    assert "nothing that opens a PDF" in said
    none = {"DISPLAY": "", "WAYLAND_DISPLAY": ""}
    said = made.letters("letter", STEVENAGE, "--open", expect=69, env=none).stderr
    assert "There is no desktop here" in said
    assert str(made.archive) in said
    assert "--out FILE" in said
    both = made.letters("letter", STEVENAGE, "--open", "--out", "x.pdf", expect=2).stderr
    assert "not both" in both


def test_help_is_a_manual(made: Site) -> None:
    for command in ("letter", "verify", "export", "import", "show"):
        said = made.letters(command, "--help").stdout
        assert "Ends with 0" in said
        assert f"Example: letters {command} " in said
