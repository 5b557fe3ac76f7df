"""Settings that are wrong: one clear answer through the real command, nothing half done, then on.

Every way to be wrong is in tests/unit/test_settings.py; here is what an operator meets.
"""

from pathlib import Path

import pytest

from tests.acceptance.site import SAMPLE, Site, part_of_the_sample

WIDE = {"COLUMNS": "2000"}


def configured(folder: Path, toml: str | bytes) -> Path:
    """A project's folder with this settings file; the file."""
    file = folder / "config" / "letters.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(toml if isinstance(toml, bytes) else toml.encode())
    return file


def refused(site: Site, file: Path, *, env: dict[str, str] | None = None) -> list[str]:
    """What the command says of the settings, a line for each fault, when it ends with 78."""
    before = sorted(site.folder.rglob("*"))
    done = site.letters(
        "--config", str(file), "import", str(SAMPLE), expect=78, env={**WIDE, **(env or {})}
    )
    assert done.stdout == ""
    assert sorted(site.folder.rglob("*")) == before, "something was made before it was refused"
    said = done.stderr.removeprefix("letters: ").rstrip("\n")
    assert "Input should" not in said
    return said.replace(str(file), "FILE").split("\n")


WRONG = """
[database]
url = 5
ulr = "sqlite:///var/letters.db"

[mail]
mode = "lvie"
sender = ["annual.letters@ombudsman.example"]

[smtp]
prot = 25
port = 99999
security = "ssl"
mode = "live"

[convert]
workers = -1
timeout = inf

[schedule]
every = "often"
catch_up_days = -1

[smpt]
port = 25

[SMTP]
port = 25
"""


def test_every_wrong_setting_is_named_at_once(site: Site) -> None:
    file = configured(site.folder, WRONG)
    slips = {
        "LETTERS_MAIL__MOOD": "live",
        "LETTERS_SMTP_PORT": "25",
        "LETTERS_CONVERT__WORKERS": "many",
        "LETTERS_APPROVAL__PEOPLE": "3",
    }
    assert refused(site, file, env=slips) == [
        "FILE: there is no setting database.ulr; did you mean url?",
        "FILE: there is no setting smtp.prot; did you mean port?",
        "FILE: there is no setting smtp.mode; did you mean mail.mode?",
        "FILE: there is no section [smpt]; did you mean smtp?",
        "FILE: there is no section [SMTP]; did you mean smtp?",
        "The environment's LETTERS_MAIL__MOOD is no setting; did you mean LETTERS_MAIL__MODE?",
        "The environment's LETTERS_SMTP_PORT is no setting; did you mean LETTERS_SMTP__PORT?",
        "mail.mode in FILE: It must be 'capture', 'redirect' or 'live', and is 'lvie'; "
        "the usual value is capture.",
        "mail.sender in FILE: It must be text in quotes, and is a list.",
        "smtp.port in FILE: It must be a whole number from 1 to 65535, and is 99999; "
        "the usual value is 25.",
        "smtp.security in FILE: It must be 'none', 'starttls' or 'tls', and is something else "
        "(not shown, as it may be a password); the usual value is none.",
        "convert.workers in the environment's LETTERS_CONVERT__WORKERS: It must be a whole number "
        "from 0 to 1024, and is 'many'; the usual value is 0.",
        "convert.timeout in FILE: It must be a number above 0 and up to 3600, and is inf; "
        "the usual value is 60.0.",
        "approval.people in the environment's LETTERS_APPROVAL__PEOPLE: It must be a whole number "
        "from 0 to 2, and is '3'; the usual value is 0.",
        "schedule.every in FILE: It must be a whole number from 5 to 3600, and is 'often'; "
        "the usual value is 60.",
        "schedule.catch_up_days in FILE: It must be a whole number from 0 to 60, and is -1; "
        "the usual value is 3.",
    ]


INCONSISTENT = """
[mail]
mode = "redirect"
sender = "a@ombudsman.example, b@ombudsman.example"
reply_to = "A <a@ombudsman.example>\\nBcc: everybody@press.example"

[smtp]
host = "smtp://relay.example:25"
username = "letters"

[template]
path = "C:\\templates\\new.docx"
"""


def test_values_that_do_not_go_together_are_named_at_once(site: Site) -> None:
    file = configured(site.folder, INCONSISTENT)
    env = {"LETTERS_ARCHIVE__URL": "~nobody-of-this-name/archive"}
    said = refused(site, file, env=env)
    one = "Write one address, as name@domain or Name <name@domain>."
    assert said[0].startswith("template.path in FILE: It holds a line break or another character")
    assert said[1] == (
        "archive.url in the environment's LETTERS_ARCHIVE__URL: There is no home folder that "
        "~nobody-of-this-name could stand for; write the whole path."
    )
    assert said[2].startswith("mail.sender in FILE: ")
    assert said[2].endswith(one)
    assert said[3].startswith("mail.reply_to in FILE: ")
    assert "line break" in said[3]
    assert said[3].endswith(one)
    assert said[4:] == [
        "mail.mode is redirect, so mail.redirect_to must name the inbox that gets all mail.",
        "smtp.host in FILE: It must be the relay's name or address alone, as in relay.example; "
        "its port goes into smtp.port, and how it is encrypted into smtp.security.",
        "smtp.username is set, so smtp.password_file must name a file with the password, or "
        "[oauth2] must say where access tokens come from.",
    ]


def test_a_url_that_is_none_is_not_repeated(site: Site) -> None:
    file = configured(site.folder, "")
    said = refused(site, file, env={"LETTERS_DATABASE__URL": "mysql://letters:swordfish@h/d"})
    assert said == [
        "database.url in the environment's LETTERS_DATABASE__URL names a database of the kind "
        "mysql, which is not supported; write for example sqlite:///var/letters.db or postgresql://user@host/name."
    ]


@pytest.mark.parametrize(
    ("toml", "expected"),
    [
        (
            b'[database]\nurl = "postgresql://letters:swordfish@h/d"\n\n[mail]\nmode = live\n',
            "Line 5 of the settings file FILE is not valid TOML: invalid value at column 8. "
            'Write key = "text" or key = 5, below its [section].',
        ),
        (
            '[database]\nurl = "postgresql://g\u00fcte:swordfish@h/d"\n'.encode("cp1252"),
            "Line 2 of the settings file FILE is not UTF-8: it holds the byte 0xFC, as an older "
            "Windows encoding would. Save it as UTF-8.",
        ),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_its_line(
    site: Site, toml: bytes, expected: str
) -> None:
    [said] = refused(site, configured(site.folder, toml))
    assert said == expected


def test_paths_are_the_projects_wherever_the_command_is_called_and_work_once_mended(
    tmp_path: Path,
) -> None:
    """The commands of these tests are called from the root of the file system."""
    project = tmp_path / "project"
    site = Site(
        tmp_path,
        database="sqlite:///var/letters.db",
        more={"LETTERS_HOME": str(project), "LETTERS_ARCHIVE__URL": "kept", **WIDE},
    )
    file = configured(project, "[schedule]\ncatch_up_days = 61\n")
    done = site.letters("import", str(SAMPLE), expect=78)
    assert (
        f"schedule.catch_up_days in {file}: It must be a whole number from 0 to 60" in done.stderr
    )
    assert not (project / "var").exists()
    file.write_bytes(b"")  # an empty file: what is usual
    some = part_of_the_sample(tmp_path / "data", ["E07000243"])
    site.letters("import", str(some))
    assert (project / "var" / "letters.db").is_file()
    assert not Path("/var/letters.db").exists()
