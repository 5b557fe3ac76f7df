"""Settings: what is wrong is refused at once, by the name of its key, with the way to mend it."""

import os
from pathlib import Path

import pytest

from pipeline.delivery import Mode
from pipeline.errors import Misconfigured
from pipeline.settings import Settings, load


@pytest.fixture(autouse=True)
def no_settings_in_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.upper().startswith("LETTERS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("LETTERS_HOME", str(tmp_path))


def loaded(folder: Path, toml: str) -> Settings:
    file = folder / "letters.toml"
    file.write_text(toml, encoding="utf-8")
    return load(file)


def refusal(folder: Path, toml: str) -> str:
    with pytest.raises(Misconfigured) as raised:
        loaded(folder, toml)
    assert raised.value.exit_code == 78
    said = str(raised.value)
    for line in said.splitlines():
        assert line.endswith((".", "?")), line
        assert not line.endswith(("?.", "..")), line
    return said


def test_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    settings = loaded(tmp_path, "")
    assert settings.mail.mode is Mode.CAPTURE
    assert settings.path(settings.archive.url) == tmp_path / "var/archive"


# ------------------------------------------------------------------------------------- addresses

NO_MAILBOX = [
    "Ombudsman <a@b..example>",
    "é@b.example",
    "nonsense",
    "Ombudsman <a@b.example> (x)",
    "a b@c.example",
    "a@b.example, c@b.example",
    "Ombudsman <>",
    "a@-b.example",
    " ",
    f"{'a' * 65}@b.example",
]


@pytest.mark.parametrize("key", ["sender", "reply_to", "redirect_to"])
@pytest.mark.parametrize("value", NO_MAILBOX)
def test_what_mail_cannot_go_to_is_refused(tmp_path: Path, key: str, value: str) -> None:
    said = refusal(tmp_path, f"[mail]\n{key} = '{value}'")
    assert f"mail.{key} in {tmp_path}/letters.toml: " in said
    assert said.endswith("Write one address, as name@domain or Name <name@domain>.")
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("key", ["sender", "reply_to", "redirect_to"])
def test_a_line_break_in_an_address_is_refused(tmp_path: Path, key: str) -> None:
    said = refusal(tmp_path, f'[mail]\n{key} = "A <a@b.example>\\nBcc: x@y.example"')
    assert f"mail.{key} in " in said
    assert "line break" in said


def test_a_sender_there_must_be(tmp_path: Path) -> None:
    assert "mail.sender in " in refusal(tmp_path, "[mail]\nsender = ''")


@pytest.mark.parametrize("key", ["sender", "reply_to", "redirect_to"])
@pytest.mark.parametrize(
    "value",
    [
        "a@b.example",
        "Local, Social <a@b.example>",
        '"Local, Social" <a@b.example>',
        "Ombwdsmon Cymru – Gŵyn <a@b.example>",
        "a@bücher.example",
    ],
)
def test_every_way_to_write_an_address_is_taken(tmp_path: Path, key: str, value: str) -> None:
    settings = loaded(tmp_path, f"[mail]\n{key} = '{value}'")
    assert getattr(settings.mail, key) == value


def test_redirecting_needs_an_inbox(tmp_path: Path) -> None:
    said = refusal(tmp_path, "[mail]\nmode = 'redirect'")
    assert (
        said == "mail.mode is redirect, so mail.redirect_to must name the inbox that gets all mail."
    )
    loaded(tmp_path, "[mail]\nmode = 'redirect'\nredirect_to = 'Rehearsal <r@office.example>'")


# ----------------------------------------------------------------------------------- environment


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("LETTERS_MAIL", "foo", "LETTERS_MAIL names a whole section.*LETTERS_MAIL__MODE"),
        ("LETTERS_MAIL", '{"mode": "live"}', "LETTERS_MAIL names a whole section"),
        ("letters_mail", '{"mode": "live"}', "letters_mail names a whole section"),
        ("LETTERS_MAIL", "", "LETTERS_MAIL names a whole section"),
        ("LETTERS_DATABASE", "sqlite:///x.db", "with LETTERS_DATABASE__URL[.]$"),
        ("LETTERS_MAIL_MODE", "live", r"LETTERS_MAIL_MODE is no.*mean LETTERS_MAIL__MODE\?$"),
        ("LETTERS_MAIL__MODES", "live", r"LETTERS_MAIL__MODES is no.*mean LETTERS_MAIL__MODE\?$"),
        ("LETTERS_MAIL__MODE__X", "live", "LETTERS_MAIL__MODE__X is no setting"),
        ("LETTERS_QQQQQQQQQ__ZZ", "live", r"LETTERS_QQQQQQQQQ__ZZ is no setting\.$"),
        (
            "LETTERS_MAIL__MODE",
            "loud",
            "mail.mode in .*'s LETTERS_MAIL__MODE: .*'live'",
        ),
        ("letters_mail__mode", "loud", "mail.mode in the environment's letters_mail__mode: "),
        ("LETTERS_MAIL__SENDER", "x", "mail.sender in the environment's LETTERS_MAIL__SENDER: "),
        ("LETTERS_ARCHIVE__URL", "", "archive.url in the environment's LETTERS_ARCHIVE__URL: "),
        ("LETTERS_CONVERT__TIMEOUT", "nan", "convert.timeout in the environment's "),
    ],
)
def test_what_the_environment_gets_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, expected: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(Misconfigured, match=expected):
        loaded(tmp_path, "")
    refusal(tmp_path, "")


@pytest.mark.parametrize("name", ["LETTERS_SOFFICE", "LETTERS_HOME", "LETTERS_OF_MARQUE"])
def test_other_names_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, str(tmp_path))
    assert loaded(tmp_path, "").model_dump() == Settings().model_dump()


def test_the_environment_wins_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LETTERS_SMTP__PORT", "2525")
    smtp = loaded(tmp_path, "[smtp]\nport = 26\nhost = 'relay.example'").smtp
    assert (smtp.host, smtp.port) == ("relay.example", 2525)


# -------------------------------------------------------------------------------------- the file


@pytest.mark.parametrize(
    ("key", "usual"),
    [
        ("database.url", "sqlite:///var/letters.db"),
        ("archive.url", "var/archive"),
        ("template.path", "templates/letter.docx"),
        ("mail.capture", "var/captured"),
        ("smtp.host", "localhost"),
    ],
)
@pytest.mark.parametrize("value", ["", "  "])
def test_what_nothing_works_without_is_not_empty(
    tmp_path: Path, key: str, usual: str, value: str
) -> None:
    section, name = key.split(".")
    said = refusal(tmp_path, f"[{section}]\n{name} = '{value}'")
    where = f"{key} in {tmp_path}/letters.toml"
    assert said == f"{where}: It must not be empty; the usual value is {usual}."


@pytest.mark.parametrize("key", ["source.url", "mail.reply_to", "smtp.password_file"])
def test_what_may_be_empty(tmp_path: Path, key: str) -> None:
    section, name = key.split(".")
    loaded(tmp_path, f"[{section}]\n{name} = ''")


@pytest.mark.parametrize(
    ("toml", "expected"),
    [
        ("[convert]\ntimeout = nan", "convert.timeout in FILE: Input should be a finite number."),
        ("[convert]\ntimeout = inf", "convert.timeout in FILE: Input should be a finite number."),
        ("[convert]\ntimeout = -inf", "convert.timeout in FILE: Input should be a finite number."),
        ("[convert]\ntimeout = 0", "convert.timeout in FILE: Input should be greater than 0."),
        ("[smtp]\nport = 0", "smtp.port in FILE: Input should be greater than or equal to 1."),
        ("[mail]\nsendr = 'x'", "FILE: there is no setting mail.sendr; did you mean sender?"),
        ("[male]\nmode = 'live'", "FILE: there is no section [male]; did you mean mail?"),
        ("[qqq]\nx = 1", "FILE: there is no section [qqq]."),
        ("mail = 'live'", "FILE: mail is a section; write [mail] and its keys below it."),
        (
            "[smtp]\nusername = 'letters'",
            "smtp.username is set, so smtp.password_file must name a file with the password.",
        ),
        (
            "[archive]\nurl = '~nobody-of-this-name/archive'",
            "archive.url in FILE: There is no home folder that ~nobody-of-this-name could stand "
            "for; write the whole path.",
        ),
    ],
)
def test_what_the_file_gets_wrong(tmp_path: Path, toml: str, expected: str) -> None:
    assert refusal(tmp_path, toml) == expected.replace("FILE", f"{tmp_path}/letters.toml")


def test_all_faults_are_said_at_once(tmp_path: Path) -> None:
    said = refusal(
        tmp_path, "[mail]\nsender = 'x'\nreply_to = 'y'\ncapture = ''\n[archive]\nurl=''"
    )
    assert len(said.splitlines()) == 4


def test_what_may_be_secret_is_not_repeated(tmp_path: Path) -> None:
    toml = "[database]\nurl = 5\n[smtp]\nusername = ['swordfish']\nport = 'swordfish'"
    assert "swordfish" not in refusal(tmp_path, toml)


@pytest.mark.parametrize(
    ("octets", "expected"), [(b"[mail", "is not valid TOML: "), (b"\xff", "cannot be read: ")]
)
def test_a_file_that_cannot_be_read(tmp_path: Path, octets: bytes, expected: str) -> None:
    file = tmp_path / "letters.toml"
    file.write_bytes(octets)
    with pytest.raises(Misconfigured, match=expected) as raised:
        load(file)
    assert str(file) in str(raised.value)
