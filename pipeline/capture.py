"""The SMTP server on loopback that keeps mail at home: it writes a Maildir and sends nothing on.

Each envelope recipient gets a file of their own: `Return-Path:` and `Delivered-To:`, then the
octets that were sent, untouched and with their CRLF line endings (a Maildir may hold either; these
are kept because the stored message is compared with the sent one byte for byte). A file is written
in tmp/, flushed to disk and renamed into new/ before the client reads its 250, so what has been
accepted survives a crash of this process and of the machine. See https://cr.yp.to/proto/maildir.html.

Whether there is room is asked before each message. A Maildir that can keep nothing is trouble with
the server, not with the message: 421 at MAIL, so that nothing counts as an attempt.
"""

import asyncio
import contextlib
import errno
import ipaddress
import itertools
import os
import secrets
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from pipeline.address import ascii_address
from pipeline.errors import Refused, Unavailable

_SIZE_LIMIT: Final = 64 * 1024 * 1024
_HEAD_LIMIT: Final = 256 * 1024
_COPIES_AT_ONCE: Final = 8
"""As many as may be written between the question whether there is room and the last octet."""
_STOP_SECONDS: Final = 10.0
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

_counter = itertools.count()


class CaptureServer:
    """An SMTP server that stores whatever it is given in `maildir` while the context is open.

    `port` 0 takes any free one; read `.port` once inside the context. Two servers, in one process
    or in several, may share a Maildir. Raises `Refused` for a host that is not loopback, and
    `Unavailable` if the folder cannot be made or written to, or the port is taken.
    """

    def __init__(self, maildir: Path, host: str = "127.0.0.1", port: int = 0) -> None:
        self.maildir = maildir
        self.host = _loopback(host)
        self.port = port
        self._controller: _Controller | None = None

    def __enter__(self) -> Self:
        try:
            for folder in ("tmp", "new", "cur"):
                (self.maildir / folder).mkdir(mode=0o700, parents=True, exist_ok=True)
            _try_out(self.maildir)
        except OSError as error:
            raise Unavailable(
                f"The Maildir {self.maildir} cannot keep mail: {error.strerror}. "
                "Make room there and let whoever runs this write to it, or name another folder in "
                "mail.capture; then run this again."
            ) from error
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((self.host, self.port))
            port = int(listener.getsockname()[1])
            controller = _Controller(_Keeper(self.maildir), listener, self.host, port)
            controller.start()
        except BaseException as error:
            listener.close()
            if isinstance(error, OSError):
                raise Unavailable(
                    f"The capture server cannot listen on {self.host} port {self.port}: "
                    f"{error.strerror or error}."
                ) from error
            raise
        self._controller = controller
        self.port = port
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._controller is not None:
            self._controller.stop()
            self._controller = None


def find(maildir: Path, message_id: str, recipient: str) -> Path | None:
    """Return the captured file with this Message-ID for this envelope recipient, if there is one.

    Reads headers only. A find is proof that the message was taken. Nothing found is proof of the
    contrary only when no server is still writing to the Maildir: one that has read the dot may be
    about to rename its file.
    """
    wanted = _comparable(recipient)
    # new/ before cur/: a mail reader moves files in that direction, so none slips by.
    for folder in ("new", "cur"):
        for path in _files(maildir / folder):
            found_for: set[str] = set()
            found_id = None
            for name, value in _headers(path):
                if name == b"delivered-to":
                    found_for.add(value.decode("ascii", "replace"))
                elif name == b"message-id":
                    found_id = value.decode("ascii", "replace")
            if found_id == message_id and wanted in map(_comparable, found_for):
                return path
    return None


def kept(maildir: Path) -> Iterator[tuple[Path, str]]:
    """Every file of the Maildir, also one that was never finished, with its Message-ID or ""."""
    for folder in ("tmp", "new", "cur"):
        for path in _files(maildir / folder):
            found = (value for name, value in _headers(path) if name == b"message-id")
            yield path, next(found, b"").decode("ascii", "replace")


def _loopback(host: str) -> str:
    if host.lower() == "localhost":
        return "127.0.0.1"
    try:
        if ipaddress.ip_address(host).is_loopback:
            return host
    except ValueError:
        pass
    raise Refused(
        f"The capture server listens on this machine only, and {host!r} is not a loopback "
        "address; use 127.0.0.1."
    )


def _comparable(address: str) -> str:
    local, _, domain = (address if address.isascii() else ascii_address(address)).rpartition("@")
    return f"{local}@{domain.lower()}"


def _files(folder: Path) -> Iterator[Path]:
    try:
        with os.scandir(folder) as entries:
            yield from (Path(entry.path) for entry in entries if not entry.name.startswith("."))
    except FileNotFoundError:
        return


def _headers(path: Path) -> Iterator[tuple[bytes, bytes]]:
    """Yield the header fields, names in lower case, folded values on one line."""
    try:
        with path.open("rb") as stored:
            head = stored.read(8192)
            while b"\r\n\r\n" not in head and len(head) < _HEAD_LIMIT:
                more = stored.read(65536)
                if not more:
                    break
                head += more
    except FileNotFoundError:  # moved to cur/ by a mail reader, and looked at there
        return
    head = head.partition(b"\r\n\r\n")[0].replace(b"\r\n ", b" ").replace(b"\r\n\t", b" ")
    for line in head.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        if colon:
            yield name.strip().lower(), value.strip()


class _Keeper:
    """What aiosmtpd calls with each message; the reply it returns goes to the client."""

    def __init__(self, maildir: Path) -> None:
        self._maildir = maildir

    async def handle_MAIL(  # noqa: N802 -- the name aiosmtpd looks for
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Take the sender, if mail can be kept just now."""
        del server, session
        try:
            _try_out(self._maildir, _announced(options))
        except OSError as error:
            return (
                f"421 4.3.1 The Maildir {self._maildir} cannot keep mail: {error.strerror}. "
                "Make room there and let whoever runs this write to it; then run this again."
            )
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 Ok"

    async def handle_DATA(  # noqa: N802 -- the name aiosmtpd looks for
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        """Store the message; the loop waits meanwhile, so stopping never cuts one short."""
        del server, session
        content = envelope.original_content or b""
        try:
            name = self._store(envelope.mail_from or "", envelope.rcpt_tos, content)
        except OSError as error:
            if error.errno in _NO_ROOM:
                return "452 4.3.1 Insufficient system storage"
            return f"451 4.3.0 Cannot store the message: {error.strerror}"
        return f"250 2.0.0 Ok: queued as {name}"

    def _store(self, sender: str, recipients: list[str], content: bytes) -> str:
        written: list[Path] = []
        try:
            for recipient in dict.fromkeys(recipients):
                path = self._maildir / "tmp" / _unique_name()
                with path.open("xb") as file:
                    written.append(path)
                    file.write(
                        f"Return-Path: <{sender}>\r\nDelivered-To: {recipient}\r\n".encode("ascii")
                    )
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
            for index, path in enumerate(written):
                written[index] = path.rename(self._maildir / "new" / path.name)
            _sync_folder(self._maildir / "new")
        except OSError:
            # The client will be told that nothing was taken, so nothing may be there.
            for path in written:
                path.unlink(missing_ok=True)
            raise
        return written[0].name


def _announced(options: list[str]) -> int:
    """The octets that a client says its message has; 0 if it does not say."""
    sizes = [option.upper().removeprefix("SIZE=") for option in options]
    return max((int(size) for size in sizes if size.isdecimal()), default=0)


def _try_out(maildir: Path, size: int = 0) -> None:
    """Raise OSError unless a file can go through tmp/ into new/ and there is room for a message."""
    probe = maildir / "tmp" / f".{_unique_name()}"
    arrived = maildir / "new" / probe.name
    try:
        probe.write_bytes(b"\r\n")
        probe.rename(arrived)
    finally:
        for path in (probe, arrived):
            with contextlib.suppress(OSError):
                path.unlink()
    disk = os.statvfs(maildir)
    if disk.f_blocks and disk.f_bavail * disk.f_frsize < size * _COPIES_AT_ONCE:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _unique_name() -> str:
    """A name no other delivery has: time, process, counter, chance and host, as Maildir has it."""
    now = time.time_ns()
    host = socket.gethostname().replace("/", "\\057").replace(":", "\\072")
    return (
        f"{now // 10**9}.M{now // 1000 % 10**6:06}P{os.getpid()}Q{next(_counter)}"
        f"R{secrets.token_hex(4)}.{host}"
    )


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class _Controller(Controller):
    """aiosmtpd's server in a thread, on a socket that is already bound, and tidy when it stops."""

    def __init__(self, keeper: _Keeper, listener: socket.socket, host: str, port: int) -> None:
        super().__init__(
            keeper,
            hostname=host,
            port=port,
            server_hostname="capture.localhost",
            ident="captured mail goes nowhere",
            data_size_limit=_SIZE_LIMIT,
            enable_SMTPUTF8=False,
        )
        self._listener = listener
        self._open: set[SMTP] = set()

    def factory(self) -> SMTP:
        connection = _Connection(self.handler, loop=self.loop, **self.SMTP_kwargs)
        connection.among = self._open
        self._open.add(connection)
        return connection

    async def _create_server(self) -> asyncio.AbstractServer:
        return await self.loop.create_server(self._factory_invoker, sock=self._listener)

    def stop(self, no_assert: bool = False) -> None:
        """Stop listening, close every connection, then end the thread."""
        asyncio.run_coroutine_threadsafe(self._hang_up(), self.loop).result(_STOP_SECONDS)
        super().stop(no_assert)

    async def _hang_up(self) -> None:
        if self.server is not None:
            self.server.close()
        for connection in list(self._open):
            if connection.transport is not None:
                connection.transport.close()
        # Nothing else runs in this loop: what is left are the connections' own tasks, ending.
        if tasks := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(tasks, timeout=_STOP_SECONDS / 2)


class _Connection(SMTP):
    """One client; takes itself off the list of open connections when it goes."""

    among: set[SMTP]

    def connection_lost(self, error: Exception | None) -> None:
        """Forget the connection once aiosmtpd has."""
        super().connection_lost(error)
        self.among.discard(self)
