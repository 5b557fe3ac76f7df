"""The capture server over real SMTP: whole or not at all, as sent, and only on this machine."""

import os
import resource
import smtplib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.capture import CaptureServer, find
from pipeline.errors import Refused, Unavailable

BODY = b"Message-ID: <a@o.example>\r\nSubject: x\r\n\r\n.\r\n..two\r\ntail \r\n"
SENDER = "letters@o.example"
CHIEF = "chief@x.example"


def hand_over(port: int, data: bytes, *recipients: str) -> tuple[int, bytes]:
    with smtplib.SMTP("127.0.0.1", port, "client.test", timeout=20) as client:
        client.ehlo()
        client.mail(SENDER)
        for recipient in recipients or (CHIEF,):
            client.rcpt(recipient)
        return client.data(data)


@contextmanager
def in_a_transaction(port: int) -> Iterator[smtplib.SMTP]:
    """A client whose sender and recipient have been taken."""
    with smtplib.SMTP("127.0.0.1", port, "client.test", timeout=20) as client:
        client.ehlo()
        assert client.mail(SENDER)[0] == 250
        assert client.rcpt(CHIEF)[0] == 250
        yield client


def files(maildir: Path, folder: str = "new") -> list[Path]:
    return sorted((maildir / folder).iterdir())


def test_a_message_is_kept_as_it_was_sent(tmp_path: Path) -> None:
    maildir = tmp_path / "deep" / "mail"
    with CaptureServer(maildir) as server:
        assert server.port > 0
        code, text = hand_over(server.port, BODY)
    (path,) = files(maildir)
    assert (code, text.decode()) == (250, f"2.0.0 Ok: queued as {path.name}")
    assert path.read_bytes() == (
        b"Return-Path: <letters@o.example>\r\nDelivered-To: chief@x.example\r\n" + BODY
    )
    assert files(maildir, "tmp") == files(maildir, "cur") == []


def test_each_recipient_has_a_file_of_their_own(tmp_path: Path) -> None:
    with CaptureServer(tmp_path) as server:
        assert hand_over(server.port, BODY, CHIEF, "link@x.example", CHIEF)[0] == 250
    kept = [path.read_bytes().split(b"\r\n")[1] for path in files(tmp_path)]
    assert sorted(kept) == [b"Delivered-To: chief@x.example", b"Delivered-To: link@x.example"]


def test_a_message_without_its_dot_is_not_kept(tmp_path: Path) -> None:
    with CaptureServer(tmp_path) as server:
        with socket.create_connection(("127.0.0.1", server.port), 20) as client:
            lines = client.makefile("rb")
            for command in (b"", b"HELO x", b"MAIL FROM:<a@x>", b"RCPT TO:<b@x>", b"DATA"):
                if command:
                    client.sendall(command + b"\r\n")
                assert lines.readline()[:1] in b"23"
            client.sendall(b"Subject: x\r\n\r\nall but the dot\r\n")
            lines.close()
        # A later message shows that the server has come past the broken one.
        assert hand_over(server.port, b"whole\r\n")[0] == 250
    (path,) = files(tmp_path)
    assert path.read_bytes().endswith(b"\r\nwhole\r\n")


def test_stopping_with_clients_connected_is_clean(tmp_path: Path) -> None:
    # Libraries that earlier tests used in this process keep threads of their own.
    before = set(threading.enumerate())
    with CaptureServer(tmp_path) as server:
        client = smtplib.SMTP("127.0.0.1", server.port, "client.test", timeout=20)
        client.ehlo()
        client.mail(SENDER)
        client.rcpt(CHIEF)
        client.putcmd("DATA")
        assert client.getreply()[0] == 354
        client.send(b"half a mess")
    with pytest.raises(smtplib.SMTPServerDisconnected):
        client.noop()
    client.close()
    assert files(tmp_path) == files(tmp_path, "tmp") == []
    assert set(threading.enumerate()) <= before


def test_the_same_server_may_be_opened_again(tmp_path: Path) -> None:
    server = CaptureServer(tmp_path)
    for _ in range(2):
        with server:
            assert hand_over(server.port, BODY)[0] == 250
    assert len(files(tmp_path)) == 2


@contextmanager
def files_no_larger_than(octets: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (octets, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_no_room_is_452_and_leaves_nothing(tmp_path: Path) -> None:
    large = b"x" * 70 + b"\r\n"
    with CaptureServer(tmp_path) as server:
        with files_no_larger_than(1_000_000):
            code, _ = hand_over(server.port, large * 20_000)
        assert code == 452
        assert files(tmp_path) == files(tmp_path, "tmp") == []
        assert hand_over(server.port, large * 20_000)[0] == 250


def test_a_folder_that_has_gone_is_451_and_a_later_message_is_kept(tmp_path: Path) -> None:
    with CaptureServer(tmp_path) as server:
        with in_a_transaction(server.port) as client:
            (tmp_path / "new").rmdir()
            assert client.data(BODY)[0] == 451
        assert files(tmp_path, "tmp") == []
        (tmp_path / "new").mkdir()
        assert hand_over(server.port, BODY)[0] == 250


def test_where_nothing_can_be_kept_no_message_is_begun(tmp_path: Path) -> None:
    """Trouble with the server, at MAIL: so no message counts as refused."""
    with CaptureServer(tmp_path) as server:
        (tmp_path / "new").rmdir()
        with smtplib.SMTP("127.0.0.1", server.port, "client.test", timeout=20) as client:
            client.ehlo()
            code, text = client.mail(SENDER)
        assert code == 421
        assert f"{tmp_path} cannot keep mail: No such file or directory. " in text.decode()
        (tmp_path / "new").mkdir()
        assert files(tmp_path, "tmp") == []
        assert hand_over(server.port, BODY)[0] == 250


def test_two_servers_share_a_maildir(tmp_path: Path) -> None:
    with CaptureServer(tmp_path) as one, CaptureServer(tmp_path) as two:
        threads = [
            threading.Thread(target=lambda port=port: [hand_over(port, BODY) for _ in range(10)])
            for port in (one.port, two.port)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    names = [path.name for path in files(tmp_path)]
    assert len(names) == 20
    assert not [name for name in names if "/" in name or ":" in name]
    assert {int(name.split("P")[1].split("Q")[0]) for name in names} == {os.getpid()}


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "mail.example", ""])  # noqa: S104
def test_it_listens_on_this_machine_only(tmp_path: Path, host: str) -> None:
    with pytest.raises(Refused, match="loopback"):
        CaptureServer(tmp_path, host)


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with CaptureServer(tmp_path) as server, pytest.raises(Unavailable, match=str(server.port)):
        CaptureServer(tmp_path, port=server.port).__enter__()


def test_a_maildir_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(Unavailable, match=r"file/mail cannot keep mail: Not a dir.* mail\.capture"):
        CaptureServer(tmp_path / "file" / "mail").__enter__()


def test_evidence_is_found_by_message_id_and_recipient(tmp_path: Path) -> None:
    folded = b"Message-Id:\r\n <b@o.example>\r\nSubject: y\r\n\r\nMessage-ID: <body@o.example>\r\n"
    with CaptureServer(tmp_path) as server:
        hand_over(server.port, BODY, CHIEF, "link@x.example")
        hand_over(server.port, folded, "prif@xn--mn-8ja.example")
    found = find(tmp_path, "<a@o.example>", CHIEF)
    assert found is not None
    assert b"Delivered-To: chief@x.example" in found.read_bytes()
    assert find(tmp_path, "<a@o.example>", "link@X.example") not in (None, found)
    assert find(tmp_path, "<b@o.example>", "prif@môn.example") is not None
    for message_id, recipient in [
        ("<a@o.example>", "prif@xn--mn-8ja.example"),
        ("<b@o.example>", CHIEF),
        ("<body@o.example>", "prif@xn--mn-8ja.example"),
        ("<a@o.example", CHIEF),
        ("<a@o.example>", "Chief@x.example"),
    ]:
        assert find(tmp_path, message_id, recipient) is None


def test_evidence_is_found_after_a_mail_reader_has_filed_it(tmp_path: Path) -> None:
    with CaptureServer(tmp_path) as server:
        hand_over(server.port, BODY)
    (path,) = files(tmp_path)
    filed = path.rename(tmp_path / "cur" / f"{path.name}:2,S")
    assert find(tmp_path, "<a@o.example>", CHIEF) == filed


def test_without_a_maildir_nothing_is_found(tmp_path: Path) -> None:
    assert find(tmp_path / "nowhere", "<a@o.example>", CHIEF) is None
