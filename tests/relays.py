"""A mail server on loopback that misbehaves at one exact point, and certificates for it."""

import contextlib
import socket
import ssl
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

DROP: Final = b"<drop>"
HANG: Final = b"<hang>"
TRICKLE: Final = b"<trickle>"
PATIENCE: Final = 20.0

PLAIN_ANSWERS: Final = {
    "GREETING": b"220 relay.test ESMTP\r\n",
    "EHLO": b"250-relay.test\r\n250-SIZE 10000000\r\n250 8BITMIME\r\n",
    "HELO": b"250 relay.test\r\n",
    "STARTTLS": b"220 2.0.0 go ahead\r\n",
    "AUTH": b"235 2.7.0 ok\r\n",
    "MAIL": b"250 2.1.0 ok\r\n",
    "RCPT": b"250 2.1.5 ok\r\n",
    "DATA": b"354 go on\r\n",
    "DOT": b"250 2.0.0 Ok: queued as 4XyZ12abc\r\n",
    "RSET": b"250 2.0.0 ok\r\n",
    "QUIT": b"221 2.0.0 bye\r\n",
}


class WaywardRelay:
    """A relay that answers by the book, except where it was told otherwise.

    `answers` replaces what is said at GREETING, EHLO, MAIL, RCPT, DATA, DOT and so on; DROP hangs
    up there, HANG falls silent and TRICKLE never comes to an end. "EARLY" is said in the midst of
    the body, without waiting for the dot. `messages` are the bodies that were ended with a dot, as
    they came over the wire.
    """

    def __init__(
        self,
        answers: Mapping[str, bytes] | None = None,
        *,
        tls: ssl.SSLContext | None = None,
        tls_at_once: bool = False,
        hang_up_after: int | None = None,
    ) -> None:
        self.answers = {**PLAIN_ANSWERS, **(answers or {})}
        self.tls = tls
        self.tls_at_once = tls_at_once
        self.hang_up_after = hang_up_after
        self.commands: list[str] = []
        self.messages: list[bytes] = []
        self.connections = 0
        self.clients: list[int] = []
        self._body = bytearray()
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        thread = threading.Thread(target=self._accept)
        self._threads.append(thread)
        thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopping.set()
        # Closing a socket does not wake a thread that waits on it; shutting it down does.
        for each in [self._listener, *self._sockets]:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        for each in [self._listener, *self._sockets]:
            each.close()

    def wait_for_body(self, body: bytes) -> bytes:
        """Return what has come of the body once it has `body`'s length or more."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self._body) >= len(body), PATIENCE)
            return bytes(self._body)

    def wait_for_client_gone(self, number: int = 1) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.clients) >= number, PATIENCE)

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(connection, self.connections))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        try:
            if self.tls_at_once:
                assert self.tls is not None
                connection = self.tls.wrap_socket(connection, server_side=True)
            self._sockets.append(connection)
            self._converse(connection)
        except OSError:
            pass
        finally:
            connection.close()
            with self._changed:
                self.clients.append(number)
                self._changed.notify_all()

    def _say(self, connection: socket.socket, point: str) -> bool:
        answer = self.answers[point]
        if answer == DROP:
            return False
        if answer == TRICKLE:
            while not self._stopping.wait(0.1):
                connection.sendall(b"2")
            return False
        if answer == HANG:
            self._stopping.wait(PATIENCE)
            return False
        connection.sendall(answer)
        return True

    def _converse(self, connection: socket.socket) -> None:
        if not self._say(connection, "GREETING"):
            return
        lines = connection.makefile("rb")
        taken = 0
        try:
            while line := lines.readline():
                command = line.decode("ascii").rstrip("\r\n")
                self.commands.append(command)
                verb = command.partition(" ")[0].upper()
                if not self._say(connection, verb if verb in self.answers else "AUTH"):
                    return
                if verb == "QUIT":
                    return
                if verb == "STARTTLS" and self.answers[verb].startswith(b"220"):
                    assert self.tls is not None
                    lines.close()
                    connection = self.tls.wrap_socket(connection, server_side=True)
                    self._sockets.append(connection)
                    lines = connection.makefile("rb")
                if verb == "DATA" and self.answers[verb].startswith(b"354"):
                    if not self._take_body(connection, lines):
                        return
                    taken += 1
                    if taken == self.hang_up_after:
                        return
        finally:
            lines.close()
            if isinstance(connection, ssl.SSLSocket):
                connection.close()

    def _take_body(self, connection: socket.socket, lines: Any) -> bool:
        with self._changed:
            self._body.clear()
        if "EARLY" in self.answers and not self._say(connection, "EARLY"):
            return False
        while line := lines.readline():
            if line == b".\r\n":
                with self._changed:
                    self.messages.append(bytes(self._body))
                return self._say(connection, "DOT")
            with self._changed:
                self._body += line
                self._changed.notify_all()
        return False

    @property
    def verbs(self) -> list[str]:
        """The commands that came, without what stood behind them."""
        return [command.partition(" ")[0].upper() for command in self.commands]


@dataclass(frozen=True)
class Certificates:
    authority: Path
    trusted: ssl.SSLContext
    stranger: ssl.SSLContext
    misnamed: ssl.SSLContext


def make_certificates(folder: Path) -> Certificates:
    """An authority and three servers: one to trust, one nobody knows, one with another's name."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    def context(name: str) -> ssl.SSLContext:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
        return made

    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "3"]
    openssl(
        *("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=Test CA"),
        *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),  # Python 3.13 insists on it
    )
    for name, host in (("trusted", "IP:127.0.0.1"), ("misnamed", "DNS:elsewhere.test")):
        openssl(
            *("req", "-x509", *key, "-keyout", f"{name}.key", "-out", f"{name}.pem"),
            *("-subj", f"/CN={name}", "-addext", f"subjectAltName={host}"),
            *("-CA", "ca.pem", "-CAkey", "ca.key", "-addext", "basicConstraints=CA:FALSE"),
        )
    openssl(
        *("req", "-x509", *key, "-keyout", "stranger.key", "-out", "stranger.pem"),
        *("-subj", "/CN=stranger", "-addext", "subjectAltName=IP:127.0.0.1"),
    )
    return Certificates(
        authority=folder / "ca.pem",
        trusted=context("trusted"),
        stranger=context("stranger"),
        misnamed=context("misnamed"),
    )
