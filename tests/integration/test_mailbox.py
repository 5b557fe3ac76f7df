"""Returned mail out of real Maildirs and a real Dovecot, and through what may lie in between."""

import base64
import contextlib
import os
import re
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from pipeline import bootstrap
from pipeline.errors import Misconfigured, Unavailable
from pipeline.mailbox import Cursor, Imap, Mail, Mailbox, Maildir, Unreadable
from pipeline.transport import Relay, Transport
from tests import relays
from tests.dovecot import PASSWORD, TOKEN, USER, Dovecot, running_dovecot
from tests.integration.test_checks import site
from tests.postfix import running_postfix
from tests.servers import folder

REPORT = b"From: MAILER-DAEMON@relay.test\nSubject: Undelivered\n\nNot delivered.\n"
PATIENCE = 20.0


def whole(mailbox: Mailbox, after: Cursor | None = None) -> dict[str, bytes]:
    """What is read, which must all be readable and whole."""
    found = {}
    for each in mailbox.read(after):
        assert isinstance(each, Mail)
        assert each.whole
        assert each.key not in found
        found[each.key] = each.data
    return found


# ---- Maildir


@pytest.fixture
def maildir(tmp_path: Path) -> Path:
    for name in ("tmp", "new", "cur"):
        (tmp_path / "mail" / name).mkdir(parents=True)
    return tmp_path / "mail"


def files(place: Path) -> set[str]:
    return {str(path.relative_to(place)) for path in place.rglob("*") if path.is_file()}


def test_new_and_seen_mail_is_read_and_nothing_changed(maildir: Path) -> None:
    (maildir / "new/1.a.host").write_bytes(b"one")
    (maildir / "cur/2.b.host:2,S").write_bytes(b"two")
    (maildir / "new/3.c.host").write_bytes(b"")
    (maildir / "tmp/4.d.host").write_bytes(b"half")
    before = files(maildir)
    for _ in range(2):
        assert whole(Maildir(path=maildir)) == {
            "1.a.host": b"one",
            "3.c.host": b"",
            "2.b.host": b"two",
        }
    assert files(maildir) == before


def test_a_long_message_is_read_up_to_the_limit(maildir: Path) -> None:
    (maildir / "new/1").write_bytes(b"x" * 10_000_000)
    (maildir / "new/2").write_bytes(b"y" * 100)
    long, short = Maildir(path=maildir, limit=100).read()
    assert isinstance(long, Mail)
    assert (long.data, long.size, long.whole) == (b"x" * 100, 10_000_000, False)
    assert isinstance(short, Mail)
    assert (short.data, short.size, short.whole) == (b"y" * 100, 100, True)


def test_what_is_no_message_is_passed_over(maildir: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (maildir / "new/.hidden").write_bytes(b"hidden")
    (maildir / "new/folder").mkdir()
    (maildir / "new/link").symlink_to(tmp_path / "secret")
    (maildir / "cur/nowhere").symlink_to(tmp_path / "nowhere")
    os.mkfifo(maildir / "new/pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(maildir / "cur/socket"))
        (maildir / "cur/1").write_bytes(b"one")
        assert whole(Maildir(path=maildir)) == {"1": b"one"}


def test_a_folder_that_leads_elsewhere_is_not_followed(maildir: Path, tmp_path: Path) -> None:
    (maildir / "new").rmdir()
    (maildir / "new").symlink_to(tmp_path)
    with pytest.raises(Misconfigured, match=f"There is no Maildir {maildir}: {maildir}/new is not"):
        whole(Maildir(path=maildir))


@pytest.mark.parametrize("make", [None, "file", "empty"])
def test_what_is_no_maildir_is_said(make: str | None, tmp_path: Path) -> None:
    path = tmp_path / "mail"
    if make == "file":
        path.write_bytes(b"")
    elif make == "empty":
        path.mkdir()
    with pytest.raises(Misconfigured, match=f"There is no Maildir {path}"):
        whole(Maildir(path=path))


def test_mail_that_moves_while_it_is_read_is_read_once(maildir: Path) -> None:
    for name in ("new/1", "new/2", "new/3", "new/4", "cur/5:2,"):
        (maildir / name).write_bytes(name[-1:].encode() if "5" not in name else b"5")
    reading = Maildir(path=maildir).read()
    assert isinstance(next(reading), Mail)
    # A mail reader sees it all, flags one, deletes another and files a third.
    (maildir / "new/1").rename(maildir / "cur/1:2,S")
    (maildir / "new/2").rename(maildir / "cur/2:2,S")
    (maildir / "new/3").unlink()
    (maildir / "cur/5:2,").rename(maildir / "cur/5:2,F")
    rest = [each for each in reading if isinstance(each, Mail)]
    assert sorted((each.key, each.data) for each in rest) == [
        ("2", b"2"),
        ("4", b"4"),
        ("5", b"5"),
    ]


def test_mail_renamed_between_two_looks_is_found_again(maildir: Path) -> None:
    for name in "123":
        (maildir / f"cur/{name}:2,").write_bytes(name.encode())
    reading = Maildir(path=maildir).read()
    first = next(reading)
    (maildir / "cur/3:2,").rename(maildir / "cur/3:2,FS")
    assert {each.key for each in [first, *reading]} == {"1", "2", "3"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may not read")
def test_what_may_not_be_read_is_named() -> None:
    with folder("letters-maildir-") as place:
        for name in ("tmp", "new", "cur"):
            (place / name).mkdir()
        (place / "new/1").write_bytes(b"one")
        (place / "new/2").write_bytes(b"two")
        (place / "new/1").chmod(0)
        os.seteuid(65534)
        try:
            first, second = Maildir(path=place).read()
        finally:
            os.seteuid(0)
        assert isinstance(first, Unreadable)
        assert first.key == "1"
        assert f"The message {place}/new/1 cannot be read: Permission denied" in first.reason
        assert isinstance(second, Mail)
        (place / "new").chmod(0o700)
        os.seteuid(65534)
        try:
            with pytest.raises(Unavailable, match=f"{place}/new cannot be read: Permission denied"):
                whole(Maildir(path=place))
        finally:
            os.seteuid(0)


def test_what_was_read_is_moved_where_it_is_said(maildir: Path) -> None:
    (maildir / "new/1").write_bytes(b"one")
    (maildir / "cur/2:2,F").write_bytes(b"two")
    (maildir / "new/3").write_bytes(b"three")
    before = files(maildir)
    Maildir(path=maildir).put_away(["1", "2"])
    assert files(maildir) == before
    mailbox = Maildir(path=maildir, move_to="Read")
    mailbox.put_away(["1", "2", "gone"])
    assert files(maildir) == {".Read/cur/1:2,S", ".Read/cur/2:2,F", ".Read/maildirfolder", "new/3"}
    assert whole(mailbox) == {"3": b"three"}
    assert whole(Maildir(path=maildir / ".Read")) == {"1": b"one", "2": b"two"}


@pytest.mark.parametrize("name", ["", "../elsewhere", ".", "a/b", "line\nbreak"])
def test_a_folder_that_is_none_is_refused(name: str, maildir: Path) -> None:
    with pytest.raises(Misconfigured, match="cannot be made in the Maildir"):
        Maildir(path=maildir, move_to=name)


# ---- IMAP


@pytest.fixture(scope="module")
def server() -> Iterator[Dovecot]:
    with running_dovecot() as running:
        yield running


@pytest.fixture
def dovecot(server: Dovecot) -> Dovecot:
    """The server, with nothing in its mailbox."""
    for path in list(server.maildir.iterdir()):
        if path.name.startswith("."):
            shutil.rmtree(path)
    for name in ("new", "cur"):
        for path in (server.maildir / name).iterdir():
            path.unlink()
    return server


def imap(dovecot: Dovecot, port: int = 0, **more: Any) -> Imap:
    given: dict[str, Any] = {
        "host": dovecot.host,
        "port": port or dovecot.port,
        "username": USER,
        "password": PASSWORD,
        "security": "starttls",
        "ca_file": str(dovecot.authority),
        "timeout": PATIENCE,
        **more,
    }
    if given["security"] == "tls" and not port:
        given["port"] = dovecot.tls_port
    return Imap(**given)


@pytest.mark.parametrize("security", ["none", "starttls", "tls"])
@pytest.mark.parametrize("login", ["password", "token"])
def test_mail_is_read_over_imap_and_nothing_changed(
    dovecot: Dovecot, security: str, login: str
) -> None:
    dovecot.put(REPORT, "1.a.host")
    dovecot.put(b"Subject: two\n\n" + bytes(range(128, 256)) + b"\n", "2.b.host")
    how: dict[str, Any] = {"password": None, "token": lambda _: TOKEN}
    mailbox = imap(dovecot, security=security, **(how if login == "token" else {}))
    found = list(whole(mailbox).values())
    assert found[0] == REPORT.replace(b"\n", b"\r\n")
    assert bytes(range(128, 256)) in found[1]
    assert list(whole(mailbox).values()) == found
    flags = [path.name.partition(":2,")[2] for path in dovecot.maildir.glob("*/*.host*")]
    assert flags == ["", ""]


def test_a_cursor_goes_on_where_it_was(dovecot: Dovecot) -> None:
    dovecot.put(REPORT, "1.a.host")
    mailbox = imap(dovecot)
    (first,) = mailbox.read()
    assert isinstance(first, Mail)
    assert list(mailbox.read(first.cursor)) == []
    dovecot.put(b"Subject: two\n\ntwo\n", "2.b.host")
    dovecot.put(b"Subject: three\n\nthree\n", "3.c.host")
    second, third = mailbox.read(first.cursor)
    assert isinstance(second, Mail)
    assert b"two" in second.data
    assert list(mailbox.read(second.cursor)) == [third]
    assert first.cursor is not None
    # Numbered anew, the old cursor means nothing any more.
    other = Cursor(uidvalidity=first.cursor.uidvalidity + 1, uid=first.cursor.uid)
    assert list(mailbox.read(other)) == [first, second, third]


def test_many_messages_are_listed_in_parts(dovecot: Dovecot) -> None:
    for number in range(1203):
        dovecot.put(b"Subject: %d\n\n\n" % number, f"{number:05}.x.host")
    mailbox = imap(dovecot)
    found = [each for each in mailbox.read() if isinstance(each, Mail)]
    assert [each.data.split()[1] for each in found] == [b"%d" % each for each in range(1203)]
    assert len(list(mailbox.read(found[700].cursor))) == 502
    assert list(mailbox.read(found[-1].cursor)) == []


@pytest.mark.parametrize("size", [99, 100, 101, 10_000_000])
def test_a_long_message_is_fetched_up_to_the_limit(dovecot: Dovecot, size: int) -> None:
    message = b"Subject: long\r\n\r\n"
    message += b"x" * (size - len(message))
    dovecot.put(message, "1.a.host")
    (found,) = imap(dovecot, limit=100).read()
    assert isinstance(found, Mail)
    assert found.data == message[:100]
    assert found.size == size
    assert found.whole is (size <= 100)


@pytest.mark.parametrize(
    ("name", "on_disk"),
    [
        ("Returned mail", ".Returned mail"),
        ("Zurück & weiter", ".Zur&APw-ck &- weiter"),
        ("届かない", ".&XEowSzBqMEQ-"),
        ('a "quoted" \\ name', None),
    ],
)
def test_folders_of_any_name(dovecot: Dovecot, name: str, on_disk: str | None) -> None:
    dovecot.put(REPORT, "1.a.host")
    mailbox = imap(dovecot, move_to=name)
    (key,) = whole(mailbox)
    mailbox.put_away([key])
    assert whole(mailbox) == {}
    assert list(whole(imap(dovecot, folder=name)).values()) == [REPORT.replace(b"\n", b"\r\n")]
    if on_disk is not None:
        assert (dovecot.maildir / on_disk / "cur").is_dir()


def test_only_what_was_read_is_moved(dovecot: Dovecot) -> None:
    for name in "123":
        dovecot.put(f"Subject: {name}\n\n".encode(), f"{name}.a.host")
    mailbox = imap(dovecot, move_to="Read")
    keys = list(whole(mailbox))
    imap(dovecot).put_away(keys)
    assert list(whole(mailbox)) == keys
    stale = f"{int(keys[0].split('.')[0]) + 1}.{keys[2].split('.')[1]}"
    mailbox.put_away([keys[0], stale, f"{keys[0].split('.')[0]}.99999"])
    assert list(whole(mailbox)) == keys[1:]
    assert len(whole(imap(dovecot, folder="Read"))) == 1


def test_a_wrong_password_is_for_a_person(dovecot: Dovecot) -> None:
    for wrong in (
        {"password": "wrong-password"},
        {"password": None, "token": lambda _: "wrong-token"},
        {"username": "nobody"},
    ):
        with pytest.raises(Misconfigured, match="refused the login of") as caught:
            whole(imap(dovecot, **wrong))
        assert "wrong-" not in str(caught.value)
        assert PASSWORD not in str(caught.value)


def test_a_folder_that_is_not_there_is_for_a_person(dovecot: Dovecot) -> None:
    with pytest.raises(Misconfigured, match="does not open the folder Nowhere; it said: "):
        whole(imap(dovecot, folder="Nowhere"))


def test_a_server_that_is_not_there_may_be_there_later(dovecot: Dovecot) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(Unavailable, match=f"127.0.0.1 port {port} cannot be reached: "):
        whole(imap(dovecot, port))


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_an_untrusted_certificate_gets_no_password(
    dovecot: Dovecot, security: str, tmp_path: Path
) -> None:
    with pytest.raises(Unavailable, match="is not trusted"):
        whole(imap(dovecot, security=security, ca_file=None))
    with pytest.raises(Unavailable, match="is not trusted"):
        whole(imap(dovecot, security=security, host="localhost"))
    assert whole(imap(dovecot, security=security, ca_file=None, verify=False)) == {}
    (tmp_path / "ca.pem").write_text("no certificate", "utf-8")
    with pytest.raises(Misconfigured, match="cannot be read"):
        whole(imap(dovecot, security=security, ca_file=str(tmp_path / "ca.pem")))


def test_a_mailbox_s_own_authority_is_asked_where_it_is_named(
    dovecot: Dovecot, tmp_path: Path
) -> None:
    password = tmp_path / "password"
    password.write_text(PASSWORD, "utf-8")
    named = {
        "mailbox": f"imaps://{USER}@127.0.0.1:{dovecot.tls_port}/INBOX",
        "password_file": str(password),
        "ca_file": str(dovecot.authority),
    }
    dovecot.put(REPORT, "1.a.host")
    assert len(whole(bootstrap.mailbox(site(tmp_path, reports=named)))) == 1
    other = relays.make_certificates(tmp_path)
    settings = site(tmp_path, reports={**named, "ca_file": str(other.authority)})
    with pytest.raises(Unavailable, match=r"is not trusted: .* that reports\.ca_file names"):
        whole(bootstrap.mailbox(settings))
    settings = site(tmp_path, reports={**named, "ca_file": str(tmp_path / "no.pem")})
    with pytest.raises(Misconfigured, match=r"no\.pem, which reports\.ca_file names, cannot be"):
        whole(bootstrap.mailbox(settings))
    password.write_text("wrong", "utf-8")
    with pytest.raises(Misconfigured) as caught:
        whole(bootstrap.mailbox(site(tmp_path, reports=named)))
    told = str(caught.value)
    assert f"refused the login of {USER}" in told
    assert "before the @ in reports.mailbox in " in told
    assert f"the password in {password}, which is named by reports.password_file in " in told
    # where the environment says so, it is there that it is mended
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LETTERS_REPORTS__PASSWORD_FILE", str(password))
        with pytest.raises(
            Misconfigured, match="in the environment's LETTERS_REPORTS__PASSWORD_FI"
        ):
            whole(bootstrap.mailbox(site(tmp_path, reports=named)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"security": "none", "password": "x"},
        {"verify": False, "password": "x"},
        {},
        {"password": "x", "token": lambda _: "x"},
        {"password": "x", "folder": ""},
        {"password": "x", "folder": "a\r\nb"},
        {"password": "x\n"},
    ],
)
def test_settings_that_would_do_harm_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(Misconfigured, match=r"mail\.test"):
        Imap(host="mail.test", username="bounces", **wrong)


def test_no_secret_is_shown() -> None:
    shown = repr(Imap(host="mail.test", username="bounces", password="the-secret"))  # noqa: S106
    assert "the-secret" not in shown


# ---- what may lie in between


class Meddler:
    """Stands before a real server and passes on what it says, altered.

    `alter` is given each connection's number and what came from the server, and returns what to
    pass on, or None to hang up. Without encryption only.
    """

    def __init__(self, port: int, alter: Callable[[int, bytes], bytes | None]) -> None:
        self._target = port
        self._alter = alter
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._stopping = threading.Event()
        self.heard: list[bytes] = []
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopping.set()
        for each in [self._listener, *self._sockets]:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        for each in [self._listener, *self._sockets]:
            each.close()

    def _start(self, run: Callable[..., None], *given: Any) -> None:
        thread = threading.Thread(target=run, args=given)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                return
            self.connections += 1
            self._sockets += [client, server]
            self._start(self._pass_on, client, server, self._hear)
            number = self.connections
            self._start(self._pass_on, server, client, lambda said, n=number: self._alter(n, said))

    def _hear(self, said: bytes) -> bytes:
        self.heard.append(said)
        return said

    def _pass_on(
        self, source: socket.socket, target: socket.socket, by: Callable[[bytes], bytes | None]
    ) -> None:
        with contextlib.suppress(OSError):
            while said := source.recv(1 << 20):
                passed = by(said)
                if passed is None:
                    break
                target.sendall(passed)
                if b"* BYE" in passed:
                    break
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


def before(dovecot: Dovecot, meddler: Meddler, **more: Any) -> Imap:
    return imap(dovecot, meddler.port, security="none", **more)


def test_a_connection_that_breaks_is_opened_once_more(dovecot: Dovecot) -> None:
    for name in "123":
        dovecot.put(f"Subject: {name}\n\n{name}\n".encode(), f"{name}.a.host")

    def alter(number: int, said: bytes) -> bytes | None:
        return None if number == 1 and b"Subject: 2" in said else said

    with Meddler(dovecot.port, alter) as meddler:
        found = whole(before(dovecot, meddler))
        assert [each.split()[1] for each in found.values()] == [b"1", b"2", b"3"]
        assert meddler.connections == 2


def test_one_that_breaks_here_and_there_gets_to_the_end(dovecot: Dovecot) -> None:
    for name in "1234":
        dovecot.put(f"Subject: {name}\n\n{name}\n".encode(), f"{name}.a.host")

    def alter(number: int, said: bytes) -> bytes | None:
        return None if number < 4 and b"Subject: %d" % (number + 1) in said else said

    with Meddler(dovecot.port, alter) as meddler:
        found = whole(before(dovecot, meddler))
        assert [each.split()[1] for each in found.values()] == [b"1", b"2", b"3", b"4"]
        assert meddler.connections == 4


def test_numbers_that_change_all_the_time_end_it(dovecot: Dovecot) -> None:
    for name in "123":
        dovecot.put(f"Subject: {name}\n\n{name}\n".encode(), f"{name}.a.host")

    def alter(number: int, said: bytes) -> bytes | None:
        if b"Subject: 2" in said:
            return None
        return re.sub(rb"UIDVALIDITY \d+", b"UIDVALIDITY %d" % (70 + number), said)

    with (
        Meddler(dovecot.port, alter) as meddler,
        pytest.raises(Unavailable, match="broke off twice: "),
    ):
        list(before(dovecot, meddler).read())


def test_one_that_breaks_again_and_again_is_unavailable(dovecot: Dovecot) -> None:
    for name in "123":
        dovecot.put(f"Subject: {name}\n\n{name}\n".encode(), f"{name}.a.host")
    with Meddler(dovecot.port, lambda _, said: None if b"Subject: 2" in said else said) as meddler:
        reading = before(dovecot, meddler).read()
        first = next(reading)
        assert isinstance(first, Mail)
        with pytest.raises(Unavailable, match="broke off twice: "):
            list(reading)
    assert len(list(imap(dovecot).read(first.cursor))) == 2


def test_a_new_numbering_in_between_starts_anew(dovecot: Dovecot) -> None:
    for name in "12":
        dovecot.put(f"Subject: {name}\n\n{name}\n".encode(), f"{name}.a.host")

    def alter(number: int, said: bytes) -> bytes | None:
        if number == 1 and b"Subject: 2" in said:
            return None
        return re.sub(rb"UIDVALIDITY \d+", b"UIDVALIDITY 77", said) if number == 2 else said

    with Meddler(dovecot.port, alter) as meddler:
        found = [each for each in before(dovecot, meddler).read() if isinstance(each, Mail)]
    assert [each.data.split()[1] for each in found] == [b"1", b"1", b"2"]
    assert found[-1].cursor is not None
    assert found[-1].cursor.uidvalidity == 77


@pytest.mark.parametrize("size", [b"{99999999999999}", b"{5000000}"])
def test_a_literal_larger_than_asked_for_is_not_read(dovecot: Dovecot, size: bytes) -> None:
    dovecot.put(REPORT, "1.a.host")
    with (
        Meddler(
            dovecot.port,
            lambda _, said: re.sub(rb"BODY\[\]<0> \{\d+\}", b"BODY[]<0> " + size, said),
        ) as meddler,
        pytest.raises(Unavailable, match="more than was asked for"),
    ):
        list(before(dovecot, meddler).read())


def test_an_answer_without_end_is_not_read(dovecot: Dovecot) -> None:
    dovecot.put(REPORT, "1.a.host")

    def alter(_: int, said: bytes) -> bytes:
        return b"* 1 FETCH (FLAGS ())\r\n" * 500_000 + said if b"RFC822.SIZE" in said else said

    with (
        Meddler(dovecot.port, alter) as meddler,
        pytest.raises(Unavailable, match="more than was asked for"),
    ):
        list(before(dovecot, meddler).read())


def test_a_server_that_falls_silent_is_not_waited_for(dovecot: Dovecot) -> None:
    dovecot.put(REPORT, "1.a.host")
    with (
        Meddler(dovecot.port, lambda _, said: b"" if b"RFC822.SIZE" in said else said) as meddler,
        pytest.raises(Unavailable, match=r"broke off twice: no whole answer within 0\.5 seconds"),
    ):
        list(before(dovecot, meddler, timeout=0.5).read())


def test_a_greeting_that_trickles_is_not_waited_for(dovecot: Dovecot) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stop = threading.Event()

        def trickle() -> None:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                while not stop.wait(0.05):
                    connection.sendall(b"*")

        thread = threading.Thread(target=trickle)
        thread.start()
        with pytest.raises(Unavailable, match=r"no whole answer within 0\.5 seconds"):
            list(imap(dovecot, listener.getsockname()[1], connect_timeout=0.5).read())
        stop.set()
        thread.join()


@pytest.mark.parametrize("speaker", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\xff\xfe\r\n", b""])
def test_what_does_not_speak_imap_is_unavailable(dovecot: Dovecot, speaker: bytes) -> None:
    with (
        Meddler(dovecot.port, lambda _, __: speaker or None) as meddler,
        pytest.raises(Unavailable, match="cannot be reached"),
    ):
        list(before(dovecot, meddler).read())


def test_starttls_that_is_not_offered_ends_it(dovecot: Dovecot) -> None:
    with (
        Meddler(dovecot.port, lambda _, said: said.replace(b" STARTTLS", b"")) as meddler,
        pytest.raises(Misconfigured, match="does not offer STARTTLS"),
    ):
        list(imap(dovecot, meddler.port).read())
    assert not any(b"AUTH" in said or b"LOGIN" in said for said in meddler.heard)


def test_a_server_with_login_alone(dovecot: Dovecot) -> None:
    with Meddler(dovecot.port, lambda _, said: said.replace(b"AUTH=PLAIN", b"X")) as meddler:
        with pytest.raises(Misconfigured, match="takes only ASCII") as caught:
            whole(before(dovecot, meddler))
        assert PASSWORD not in str(caught.value)
        with pytest.raises(Misconfigured, match="refused the login"):
            whole(before(dovecot, meddler, username='a "b" \\ c', password="x y"))  # noqa: S106
        assert any(rb'LOGIN "a \"b\" \\ c" "x y"' in said for said in meddler.heard)


@pytest.mark.parametrize(
    ("said", "raised"),
    [
        (b"NO [UNAVAILABLE] Temporary authentication failure.", Unavailable),
        (b"NO [AUTHENTICATIONFAILED] Not this one.", Misconfigured),
        (b"NO LOGIN failed.", Misconfigured),
        (b"BAD what?", Misconfigured),
        (b"* BYE Going down", Unavailable),
    ],
)
def test_a_login_that_is_refused(dovecot: Dovecot, said: bytes, raised: type[Exception]) -> None:
    echo = base64.b64encode(f"\0{USER}\0{PASSWORD}".encode())

    def alter(_: int, answer: bytes) -> bytes:
        if b"Logged in" not in answer:
            return answer
        tag = answer.split(b" ")[0] + b" " if not said.startswith(b"*") else b""
        if answer.startswith(b"*"):
            tag = answer.split(b"\r\n")[-2].split(b" ")[0] + b" " if tag else b""
        return tag + said + b" " + echo + b"\r\n"

    with (
        Meddler(dovecot.port, alter) as meddler,
        pytest.raises(raised) as caught,
    ):
        list(before(dovecot, meddler).read())
    assert echo.decode() not in str(caught.value)


@pytest.mark.parametrize(
    "refusal", [b"NO [SERVERBUG] corrupt", b"BAD Command Error 10", b"OK done"]
)
def test_a_message_that_cannot_be_fetched_is_named(dovecot: Dovecot, refusal: bytes) -> None:
    for name in "123":
        dovecot.put(f"Subject: {name}\n\n{name}\n".encode(), f"{name}.a.host")

    def alter(_: int, said: bytes) -> bytes:
        if b"Subject: 2" not in said:
            return said
        tag = said.split(b"\r\n")[-2].split(b" ")[0]
        seen = re.search(rb"UID \d+", said)
        assert seen
        item = b"* 2 FETCH (" + seen[0] + b")\r\n" if refusal.startswith(b"OK") else b""
        return item + tag + b" " + refusal + b"\r\n"

    with Meddler(dovecot.port, alter) as meddler:
        first, second, third = before(dovecot, meddler).read()
    assert isinstance(first, Mail)
    assert isinstance(second, Unreadable)
    assert isinstance(third, Mail)
    assert f"in the folder INBOX of {USER} at the mail server 127.0.0.1" in second.reason
    assert second.cursor is not None


@pytest.mark.parametrize(
    ("body", "data"), [(rb'"a \"b\" \\ c"', rb'a "b" \ c'), (b'""', b""), (b"NIL", b"")]
)
def test_a_body_that_is_no_literal(dovecot: Dovecot, body: bytes, data: bytes) -> None:
    dovecot.put(b"Subject: x\n\n", "1.a.host")

    def alter(_: int, said: bytes) -> bytes:
        return re.sub(rb"\{\d+\}\r\nSubject: x\r\n\r\n", lambda _: body, said)

    with Meddler(dovecot.port, alter) as meddler:
        assert list(whole(before(dovecot, meddler)).values()) == [data]


def test_a_message_deleted_while_reading_is_passed_over(dovecot: Dovecot) -> None:
    for name in "123":
        dovecot.put(f"Subject: {name}\n\n{name}\n".encode(), f"{name}.a.host")
    reading = imap(dovecot).read()
    first = next(reading)
    assert isinstance(first, Mail)
    second = imap(dovecot, move_to="Elsewhere")
    keys = list(whole(second))
    second.put_away([keys[1]])
    assert [each.key for each in reading] in ([keys[2]], keys[1:])


@pytest.mark.parametrize("offered", ["UIDPLUS", "neither"])
def test_moving_without_move(dovecot: Dovecot, offered: str) -> None:
    for name in "12":
        dovecot.put(f"Subject: {name}\n\n{name}\n".encode(), f"{name}.a.host")

    def alter(_: int, said: bytes) -> bytes:
        said = said.replace(b" MOVE ", b" ")
        return said if offered == "UIDPLUS" else said.replace(b" UIDPLUS ", b" ")

    keys = list(whole(imap(dovecot)))
    with Meddler(dovecot.port, alter) as meddler:
        mailbox = before(dovecot, meddler, move_to="Read")
        if offered == "neither":
            with pytest.raises(Misconfigured, match="cannot move single messages"):
                mailbox.put_away(keys[:1])
            assert list(whole(imap(dovecot))) == keys
            return
        mailbox.put_away(keys[:1])
    assert list(whole(imap(dovecot))) == keys[1:]
    assert len(whole(imap(dovecot, folder="Read"))) == 1


# ---- with a real relay


def test_reports_come_back_through_postfix_and_dovecot() -> None:
    with running_postfix() as postfix:
        with Transport(Relay(host=postfix.host, port=postfix.late_port)) as transport:
            transport.send(
                "bounces+token.mac@ombudsman.test",
                "nobody@council.test",
                b"Message-ID: <a@ombudsman.test>\r\n\r\nDear Chief Executive\r\n",
                lambda _: True,
            )
        postfix.settle()
        maildir = postfix.maildir("bounces@ombudsman.test")
        from_disk = list(whole(Maildir(path=maildir)).values())
        assert len(from_disk) == 1
        assert b"Delivered-To: bounces+token.mac@ombudsman.test" in from_disk[0]
        assert b"report-type=delivery-status" in from_disk[0]
        with running_dovecot(maildir) as dovecot:
            (over_imap,) = whole(imap(dovecot)).values()
        assert over_imap.replace(b"\r\n", b"\n") == from_disk[0]
