"""Settings: what is wrong is refused at once, by the name of its key, with the way to mend it."""

import os
import tomllib
import traceback
from pathlib import Path

import pytest

from pipeline.delivery import Mode
from pipeline.errors import Misconfigured
from pipeline.settings import CONFIG, Settings, load


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


@pytest.mark.parametrize("value", NO_MAILBOX)
def test_nobody_can_be_told_at_what_is_no_address(tmp_path: Path, value: str) -> None:
    said = refusal(tmp_path, f"[alerts]\nto = ['a@b.example', '{value}']")
    assert f"alerts.to in {tmp_path}/letters.toml: " in said
    assert said.endswith("Write each address as name@domain or Name <name@domain>.")


@pytest.mark.parametrize(
    ("value", "what"), [("5", "a number"), ("[5]", "a number"), ("{a = 1}", "a section")]
)
def test_whom_to_tell_is_a_list(tmp_path: Path, value: str, what: str) -> None:
    said = refusal(tmp_path, f"[alerts]\nto = {value}")
    wanted = 'It must be a list of addresses in quotes, as in ["post@office.example"]'
    assert said.endswith(f"{wanted}, and holds {what}.")


def test_whom_to_tell_may_be_named_in_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = ("a@b.example", "Ann <ann@b.example>")
    assert loaded(tmp_path, f"[alerts]\nto = {[*both]}").alerts.to == both
    assert loaded(tmp_path, "[alerts]\nto = 'a@b.example'").alerts.to == both[:1]
    monkeypatch.setenv("LETTERS_ALERTS__TO", "a@b.example, Ann <ann@b.example>,")
    assert loaded(tmp_path, "[alerts]\nto = ['other@b.example']").alerts.to == both
    monkeypatch.setenv("LETTERS_ALERTS__TO", "")
    assert loaded(tmp_path, "").alerts.to == ()


# ----------------------------------------------------------------------------------- environment


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("LETTERS_MAIL", "foo", "LETTERS_MAIL names a whole section.*LETTERS_MAIL__MODE"),
        ("LETTERS_MAIL", '{"mode": "live"}', "LETTERS_MAIL names a whole section"),
        ("letters_mail", '{"mode": "live"}', "letters_mail names a whole section"),
        ("LETTERS_MAIL", "", "LETTERS_MAIL names a whole section"),
        ("LETTERS_DATABASE", "sqlite:///x.db", "with LETTERS_DATABASE__URL, LETTERS_D.*K[.]$"),
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


SECONDS = "It must be a number above 0 and up to 3600"
SIXTY = "the usual value is 60.0"
CORES = "It must be a whole number from 0 to 1024"
NONE = "the usual value is 0"
HIDDEN = "something else (not shown, as it may be a password)"
PORT = "It must be a whole number from 1 to 65535"
MODE = "It must be 'capture', 'redirect' or 'live'"
KEEP = "the usual value is capture"
UNSEEN = (
    "It holds a line break or another character that cannot be seen; "
    "write it on one line, and a backslash twice."
)
ALONE = (
    "It must be the relay's name or address alone, as in relay.example; its port goes into "
    "smtp.port, and how it is encrypted into smtp.security."
)


@pytest.mark.parametrize(
    ("toml", "expected"),
    [
        ("[convert]\ntimeout = nan", f"convert.timeout in FILE: {SECONDS}, and is nan; {SIXTY}."),
        ("[convert]\ntimeout = inf", f"convert.timeout in FILE: {SECONDS}, and is inf; {SIXTY}."),
        ("[convert]\ntimeout = -inf", f"convert.timeout in FILE: {SECONDS}, and is -inf; {SIXTY}."),
        ("[convert]\ntimeout = 0", f"convert.timeout in FILE: {SECONDS}, and is 0; {SIXTY}."),
        ("[convert]\ntimeout = true", f"convert.timeout in FILE: {SECONDS}, and is true; {SIXTY}."),
        ("[convert]\nworkers = -1", f"convert.workers in FILE: {CORES}, and is -1; {NONE}."),
        (
            "[convert]\nworkers = 'many'",
            f"convert.workers in FILE: {CORES}, and is 'many'; {NONE}.",
        ),
        ("[convert]\nworkers = ''", f"convert.workers in FILE: {CORES}, and is empty; {NONE}."),
        ("[convert]\nworkers = false", f"convert.workers in FILE: {CORES}, and is false; {NONE}."),
        ("[convert]\nworkers = 1.5", f"convert.workers in FILE: {CORES}, and is 1.5; {NONE}."),
        ("[convert]\nworkers = [2]", f"convert.workers in FILE: {CORES}, and is a list; {NONE}."),
        ("[smtp]\nport = 0", f"smtp.port in FILE: {PORT}, and is 0; the usual value is 25."),
        (
            "[smtp]\nport = 99999",
            f"smtp.port in FILE: {PORT}, and is 99999; the usual value is 25.",
        ),
        ("[smtp]\nport = true", f"smtp.port in FILE: {PORT}, and is true; the usual value is 25."),
        (
            f"[smtp]\nport = '{'smtp' * 20}'",
            f"smtp.port in FILE: {PORT}, and is {HIDDEN}; the usual value is 25.",
        ),
        (
            "[smtp]\nport = 1234567",
            f"smtp.port in FILE: {PORT}, and is {HIDDEN}; the usual value is 25.",
        ),
        (
            f"[convert]\nworkers = '{'many' * 20}'",
            f"convert.workers in FILE: {CORES}, and is '{'many' * 10}…'; {NONE}.",
        ),
        (
            "[smtp]\nsecurity = 'ssl'",
            f"smtp.security in FILE: It must be 'none', 'starttls' or 'tls', and is {HIDDEN}; "
            "the usual value is none.",
        ),
        (
            "[mail]\nmode = 'live '",
            "mail.mode in FILE: It must be 'capture', 'redirect' or 'live', and is 'live '; "
            "the usual value is capture.",
        ),
        (
            "[mail]\nmode = 2020-07-22",
            f"mail.mode in FILE: {MODE}, and is a date or a time; {KEEP}.",
        ),
        ("[smtp]\nhost = 5", "smtp.host in FILE: It must be text in quotes, and is a number."),
        ("[smtp]\nhost.x = 5", "smtp.host in FILE: It must be text in quotes, and is a section."),
        (
            "[smtp]\nhost = true",
            "smtp.host in FILE: It must be text in quotes, and is true or false.",
        ),
        (
            "[schedule]\ncatch_up_days = -1",
            "schedule.catch_up_days in FILE: It must be a whole number from 0 to 60, and is -1; "
            "the usual value is 3.",
        ),
        (
            "[schedule]\nevery = 4",
            "schedule.every in FILE: It must be a whole number from 5 to 3600, and is 4; "
            "the usual value is 60.",
        ),
        ("[mail]\nsendr = 'x'", "FILE: there is no setting mail.sendr; did you mean sender?"),
        ("[smtp]\nmode = 'live'", "FILE: there is no setting smtp.mode; did you mean mail.mode?"),
        ("[smtp]\nurl = 'x'", "FILE: there is no setting smtp.url."),
        ("[SMTP]\nport = 25", "FILE: there is no section [SMTP]; did you mean smtp?"),
        ("[male]\nmode = 'live'", "FILE: there is no section [male]; did you mean mail?"),
        ("[qqq]\nx = 1", "FILE: there is no section [qqq]."),
        ("mail = 'live'", "FILE: mail is a section; write [mail] and its keys below it."),
        (
            "[smtp]\nusername = 'letters'",
            "smtp.username is set, so smtp.password_file must name a file with the password, or "
            "[oauth2] must say where access tokens come from.",
        ),
        (
            "[archive]\nurl = '~nobody-of-this-name/archive'",
            "archive.url in FILE: There is no home folder that ~nobody-of-this-name could stand "
            "for; write the whole path.",
        ),
        ("[archive]\nurl = 'a\tb'", f"archive.url in FILE: {UNSEEN}"),
        ('[database]\nurl = "sqlite:///a\\u0000b"', f"database.url in FILE: {UNSEEN}"),
        ('[template]\npath = "C:\\templates\\n.docx"', f"template.path in FILE: {UNSEEN}"),
        ("[smtp]\nhost = 'smtp://relay.example'", f"smtp.host in FILE: {ALONE}"),
        ("[smtp]\nhost = 'relay.example:25'", f"smtp.host in FILE: {ALONE}"),
        (
            "[smtp]\npassword_file = '~swordfish'",
            "smtp.password_file in FILE: Its ~ stands for nobody's home folder; "
            "write the whole path.",
        ),
        (
            "[archive]\nurl = 'memory://letters'",
            "archive.url in FILE: It names an archive in memory, which keeps no record; "
            "name a folder, as in var/archive.",
        ),
        ("[smtp]\nhost = 'two words'", f"smtp.host in FILE: {ALONE}"),
        ("[smtp]\nhost = '[::1]'", f"smtp.host in FILE: {ALONE}"),
    ],
)
def test_what_the_file_gets_wrong(tmp_path: Path, toml: str, expected: str) -> None:
    assert refusal(tmp_path, toml) == expected.replace("FILE", f"{tmp_path}/letters.toml")


def test_all_faults_are_said_at_once(tmp_path: Path) -> None:
    said = refusal(
        tmp_path, "[mail]\nsender = 'x'\nreply_to = 'y'\ncapture = ''\n[archive]\nurl=''"
    )
    assert len(said.splitlines()) == 4


@pytest.mark.parametrize("host", ["relay.example", "192.0.2.7", "2001:db8::7", "bücher.example"])
def test_every_way_to_write_a_host_is_taken(tmp_path: Path, host: str) -> None:
    assert loaded(tmp_path, f"[smtp]\nhost = '{host}'").smtp.host == host


def test_names_and_values_are_said_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LETTERS_MAIL__MODES", "live")
    monkeypatch.setenv("LETTERS_CONVERT__WORKERS", "many")
    said = refusal(tmp_path, "[smtp]\nprot = 25\nport = 0\n[smpt]\nport = 0")
    assert [line.split(" in ")[0].split(": ")[-1] for line in said.splitlines()] == [
        "there is no setting smtp.prot; did you mean port?",
        "there is no section [smpt]; did you mean smtp?",
        "The environment's LETTERS_MAIL__MODES is no setting; did you mean LETTERS_MAIL__MODE?",
        "smtp.port",
        "convert.workers",
    ]


def test_what_may_be_secret_is_not_repeated(tmp_path: Path) -> None:
    toml = """
    [database]
    url = "nonsense-swordfish\\u0007"
    [smtp]
    username = ["swordfish"]
    password_file = { a = "swordfish" }
    """
    assert "swordfish" not in refusal(tmp_path, toml)


def raised_for(file: Path) -> str:
    with pytest.raises(Misconfigured) as raised:
        load(file)
    shown = "".join(traceback.format_exception(raised.value))
    assert "swordfish" not in shown
    assert "UnicodeDecodeError" not in shown
    return str(raised.value).replace(str(file), "FILE")


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (
            b'[database]\nurl = "swordfish"\nmode = live',
            "Line 3 of the settings file FILE is not valid TOML: invalid value at column 8. "
            'Write key = "text" or key = 5, below its [section].',
        ),
        (
            b'[mail]\nmode = "live"\n\nmode = "swordfish"',
            "The settings file FILE is not valid TOML: mail.mode stands there twice, on lines 2 "
            "and 4; take one out.",
        ),
        (
            b'[mail]\nmode = "live"\n[ mail ]\ncapture = "swordfish"',
            "The settings file FILE is not valid TOML: [mail] stands there twice, on lines 1 "
            "and 3; take one out.",
        ),
        (
            '[mail]\n# swordfish\nsender = "Güte <a@b.example>"'.encode("cp1252"),
            "Line 3 of the settings file FILE is not UTF-8: it holds the byte 0xFC, as an older "
            "Windows encoding would. Save it as UTF-8.",
        ),
        (
            '[mail]\nmode = "live"'.encode("utf-16"),
            "The settings file FILE is saved as UTF-16; save it as UTF-8.",
        ),
        (
            b"SQLite format 3\0\x10\0",
            "FILE is not a settings file: it is no text at all. Name the right file with "
            "--config FILE.",
        ),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path: Path, octets: bytes, expected: str) -> None:
    file = tmp_path / "letters.toml"
    file.write_bytes(octets)
    assert raised_for(file) == expected


def test_the_mark_that_windows_puts_before_a_text_is_no_fault(tmp_path: Path) -> None:
    file = tmp_path / "letters.toml"
    file.write_bytes(b'\xef\xbb\xbf[smtp]\r\nhost = "relay.example"\r\n')
    assert load(file).smtp.host == "relay.example"


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    assert raised_for(tmp_path) == (
        "FILE is a folder and not a settings file; name the file with --config FILE."
    )


def test_a_file_that_is_not_there_is_looked_for_where_it_was_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for home in (tmp_path / "nowhere", tmp_path / "file"):
        (tmp_path / "file").write_text("in the way")
        monkeypatch.setenv("LETTERS_HOME", str(home))
        with pytest.raises(Misconfigured, match=f"no settings file {home}/.* LETTERS_HOME says"):
            load()


# ------------------------------------------------------------------------------- the password file


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (b"swordfish\nport = 25\n", "holds more than one line of text"),
        (b"sword\0fish\n", "holds more than one line of text"),
        (b"swordfish" * 1000, "holds more than one line of text"),
        (b"swordfish\xff", "is not UTF-8 text"),
    ],
)
def test_a_password_file_holds_the_password_and_nothing_else(
    tmp_path: Path, octets: bytes, expected: str
) -> None:
    file = tmp_path / "password"
    file.write_bytes(octets)
    settings = loaded(tmp_path, "[smtp]\nusername = 'u'\npassword_file = 'password'")
    with pytest.raises(Misconfigured) as raised:
        settings.password()
    assert str(raised.value) == (
        f"The password file {file}, which smtp.password_file names, {expected}. "
        "It must hold the password, on one line, and nothing else."
    )
    assert "fish" not in "".join(traceback.format_exception(raised.value))


@pytest.mark.parametrize(
    ("name", "expected"), [("nowhere", "cannot be read: No such file"), (".", "is a folder")]
)
def test_a_password_file_is_a_file(tmp_path: Path, name: str, expected: str) -> None:
    settings = loaded(tmp_path, f"[smtp]\nusername = 'u'\npassword_file = '{name}'")
    with pytest.raises(Misconfigured, match=expected):
        settings.password()
    assert settings.warnings() == []


def test_a_password_in_place_of_its_file_is_not_repeated(tmp_path: Path) -> None:
    settings = loaded(tmp_path, "[smtp]\nusername = 'u'\npassword_file = 'swordfish'")
    with pytest.raises(Misconfigured, match=r"smtp\.password_file names cannot be read") as raised:
        settings.password()
    assert "swordfish" not in "".join(traceback.format_exception(raised.value))


@pytest.mark.parametrize(
    ("named", "is_shown"),
    [
        ("/srv/no-such-folder/swordfish", False),
        ("/swordfish", False),
        ("sword/fish", False),
        ("{tmp}/swordfish", True),
        ("./swordfish", True),
        ("swordfish.key", True),
    ],
)
def test_a_file_that_is_not_there_is_named_where_it_can_be_no_secret(
    tmp_path: Path, named: str, *, is_shown: bool
) -> None:
    toml = f"[smtp]\nusername = 'u'\npassword_file = '{named.format(tmp=tmp_path)}'"
    with pytest.raises(Misconfigured, match=r"cannot be read: No such file") as raised:
        loaded(tmp_path, toml).password()
    assert ("fish" in str(raised.value)) is is_shown
    assert "smtp.password_file" in str(raised.value)


def test_a_pipe_for_a_password_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    settings = loaded(tmp_path, "[smtp]\nusername = 'u'\npassword_file = 'pipe'")
    with pytest.raises(Misconfigured, match=r"pipe, which .* names, is no ordinary file"):
        settings.password()
    assert settings.warnings() == []


def test_a_password_is_read_without_what_surrounds_it(tmp_path: Path) -> None:
    (tmp_path / "password").write_bytes("\ufeff sword fish ŵ\r\n".encode())
    settings = loaded(tmp_path, "[smtp]\nusername = 'u'\npassword_file = 'password'")
    assert settings.password() == "sword fish ŵ"
    assert loaded(tmp_path, "").password() is None


@pytest.mark.parametrize(("mode", "open_to_all"), [(0o644, True), (0o640, False), (0o600, False)])
def test_a_password_that_everybody_can_read_is_warned_of(
    tmp_path: Path, mode: int, open_to_all: bool
) -> None:
    file = tmp_path / "password"
    file.write_text("swordfish")
    file.chmod(mode)
    settings = loaded(tmp_path, "[smtp]\nusername = 'u'\npassword_file = 'password'")
    wanted = [
        f"The password file {file} can be read by everybody on this machine; "
        f"keep it to yourself with chmod 600 {file}."
    ]
    assert settings.warnings() == (wanted if open_to_all else [])


# -------------------------------------------------------------------------- the project's own file


def test_the_projects_own_file_holds_every_setting_and_the_usual_values() -> None:
    """What is written there is what holds without it, so that either can be read for the other."""
    text = (Path(__file__).parents[2] / CONFIG).read_text(encoding="utf-8")
    assert tomllib.loads(text) == Settings().model_dump(mode="json")
