"""Settings of what comes back: the mailbox, the address and its mark, all faults by their keys."""

from pathlib import Path

import pytest

from pipeline.errors import Misconfigured
from pipeline.settings.mailboxes import ImapFolder, imap_folder
from tests.unit.test_settings import loaded, no_settings_in_the_environment, refusal

__all__ = ["no_settings_in_the_environment"]  # a fixture


@pytest.mark.parametrize(
    "path",
    [
        "var/bounces",
        "/srv/mail/bounces",
        "bounces@x",
        "~/Maildir",
        "mail.old/x",
        "./a@b.test",
        "imap/x",
    ],
)
def test_a_path_is_a_maildir_s(path: str) -> None:
    assert imap_folder(path) is None


@pytest.mark.parametrize(
    ("url", "host", "port", "username", "folder", "security"),
    [
        ("imaps://a@h.example", "h.example", 993, "a", "INBOX", "tls"),
        ("imaps://a@h.example/", "h.example", 993, "a", "INBOX", "tls"),
        ("imap://a@h.example/Back", "h.example", 143, "a", "Back", "starttls"),
        ("imaps://a@b.example@h.example:9993/In%20box/x", "h.example", 9993, "a@b.example",
         "In box/x", "tls"),
        ("imaps://a%40b.example@[::1]:9/%C3%A9", "::1", 9, "a@b.example", "é", "tls"),
        ("IMAPS://a@H.example/INBOX", "h.example", 993, "a", "INBOX", "tls"),
    ],
)  # fmt: skip
def test_a_url_names_a_folder_and_whose_it_is(
    url: str, host: str, port: int, username: str, folder: str, security: str
) -> None:
    assert imap_folder(url) == ImapFolder(
        host=host,
        port=port,
        username=username,
        folder=folder,
        security="tls" if security == "tls" else "starttls",
    )


@pytest.mark.parametrize(
    "url",
    [
        "imaps://h.example/INBOX",
        "imaps://@h.example",
        "imaps://a@",
        "imaps://a@h.example:0",
        "imaps://a@h.example:99999",
        "imaps://a@h.example:x",
        "imaps://a@[::1",
        "imaps://a@h.example/INBOX?x=1",
        "imaps://a@h.example/INBOX#x",
        "pop3://a@h.example",
        "imapss://a@h.example/INBOX",
        "imap:/a@h.example/INBOX",
        "imaps:a@h.example",
        "imaps//a@h.example/INBOX",
        "a@h.example/INBOX",
        "a@h.example:993",
        "imap.example/INBOX",
        "mail.h.example",
        "https://h.example/inbox",
        "imaps://a:hunter2@h.example/INBOX",
    ],
)
def test_a_url_that_names_none_is_refused_without_repeating_it(tmp_path: Path, url: str) -> None:
    with pytest.raises(Misconfigured):
        imap_folder(url)
    said = refusal(tmp_path, f"[reports]\nmailbox = '{url}'")
    assert said.startswith(f"reports.mailbox in {tmp_path}/letters.toml: ")
    assert "hunter2" not in said
    assert "a@h.example" not in said
    assert len(said.splitlines()) == 1


ADDRESS = "[reports]\nkey_file = 'k'\naddress = "


@pytest.mark.parametrize(
    ("toml", "key", "said"),
    [
        ("[reports]\nkey_file = 'k'", "reports.key_file", "reports.address must name"),
        (f"{ADDRESS}'Bounces <b@c.example>'", "reports.address", "address for returned mail"),
        (f"{ADDRESS}'{'b' * 40}@c.example'", "reports.address", "too long"),
        (f"{ADDRESS}'b@c.example'\nseparator = ''", "reports.separator", "one sign"),
        (f"{ADDRESS}'b@c.example'\nseparator = '++'", "reports.separator", "one sign"),
        (f"{ADDRESS}'b@c.example'\nseparator = 'x'", "reports.separator", "one sign"),
        ("[reports]\nmailbox = 'imap://a@h.example'", "reports.mailbox", "password_file"),
        ("[reports]\nmailbox = '~nobody-at-all/Maildir'", "reports.mailbox", "home"),
        ("[reports]\nmailbox = 'm'\nmove_to = '../x'", "reports.move_to", "plain name"),
        ("[reports]\nmailbox = 'm'\nmove_to = '.Read'", "reports.move_to", "plain name"),
        ("[reports]\nevery = 5", "reports.every", "from 30 to 86400"),
    ],
)
def test_what_cannot_work_is_refused_by_its_key(
    tmp_path: Path, toml: str, key: str, said: str
) -> None:
    told = refusal(tmp_path, toml)
    assert key in told
    assert said in told
    assert len(told.splitlines()) == 1


def test_what_can_work_is_taken(tmp_path: Path) -> None:
    for toml in (
        f"{ADDRESS}'bounces@c.example'\nseparator = '-'\nmailbox = 'm'\nmove_to = 'Read'",
        "[reports]\nmailbox = 'imaps://a@h.example/INBOX'\npassword_file = 'p'\nmove_to = 'A/B'",
        "[oauth2]\ncommand = 'token'\n[reports]\nmailbox = 'imaps://a@h.example/INBOX'",
    ):
        assert loaded(tmp_path, toml).reports.every == 300
