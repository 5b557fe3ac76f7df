"""Returned mail, out of a Maildir or an IMAP folder, one message at a time.

Reading changes nothing: no message is marked, moved or deleted, unless the settings name a folder
for what has been read and `put_away` is called. Whoever reads remembers what it has read by its
content, so that reading again is harmless; a `Cursor` only saves an IMAP server the trouble.

A message is read up to a limit, since a report stands at its beginning and what was returned, with
its attachments, behind it. What is there and cannot be read is named (`Unreadable`) rather than
passed over. A mailbox that cannot be read at all is `Unavailable`, or `Misconfigured` where a
person has to mend it first.
"""

import base64
import contextlib
import errno
import imaplib
import os
import re
import socket
import ssl
import stat
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from pipeline.address import is_loopback
from pipeline.deadline import Deadline
from pipeline.errors import LettersError, Misconfigured, Unavailable
from pipeline.masking import masked, printable

LIMIT: Final = 1024 * 1024
"""Octets of a message that are read: a report without its attachments has a few thousand."""

_LISTED_AT_ONCE: Final = 500
_OVERHEAD: Final = 256 * 1024
_SAID_LIMIT: Final = 300
_UID: Final = re.compile(rb"\bUID (\d+)")
_SIZE: Final = re.compile(rb"\bRFC822\.SIZE (\d+)")
_QUOTED_BODY: Final = re.compile(rb'BODY\[\](?:<\d+>)? (?:"((?:[^"\\]|\\.)*)"|(NIL))', re.DOTALL)
_CODE: Final = re.compile(r"\[([A-Z-]+)")
_PASSING: Final = frozenset({"UNAVAILABLE", "SERVERBUG", "INUSE", "LIMIT", "CONTACTADMIN"})
"""Response codes (RFC 5530) that may be gone another time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """How far an IMAP folder was read: the numbering it had, and the last number of it."""

    uidvalidity: int
    uid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """One message: its octets up to the limit, and how many it has altogether.

    `key` names it in its mailbox for `put_away`. `cursor` is where to go on once this one and all
    before it are recorded; None where a mailbox has no such thing. `left` is how many are known to
    wait behind it.
    """

    key: str
    data: bytes = field(repr=False)
    size: int
    cursor: Cursor | None
    left: int = field(default=0, compare=False)

    @property
    def whole(self) -> bool:
        """Whether `data` is all of it."""
        return len(self.data) >= self.size


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A message that is there and cannot be read; `reason` is whole sentences for a person."""

    key: str
    reason: str
    cursor: Cursor | None
    left: int = field(default=0, compare=False)


class Mailbox(Protocol):
    """Where returned mail is found."""

    @property
    def place(self) -> str:
        """The mailbox as people name it."""

    def read(self, after: Cursor | None = None) -> Iterator[Mail | Unreadable]:
        """Give the messages that came after `after`, or all of them, in the order they came.

        Raises `Unavailable` or `Misconfigured`, perhaps after some messages.
        """

    def put_away(self, keys: Iterable[str]) -> None:
        """Move messages that were read where the settings say; nothing where they do not say.

        One that is not there any more is passed over. Raises as `read` does.
        """


# ---- Maildir


@dataclass(frozen=True, slots=True, kw_only=True)
class Maildir:
    """A Maildir that a mail server on this machine delivers to.

    `move_to` is a folder in it for what was read, made where it is missing ("Read" is `.Read` on
    disk, as Dovecot and Courier have it). `limit` is in octets. Links are not followed.
    """

    path: Path
    move_to: str | None = None
    limit: int = LIMIT

    def __post_init__(self) -> None:
        name = self.move_to
        if name is not None and (
            not name or name != name.strip(". ") or any(each in name for each in "/\0\r\n")
        ):
            raise Misconfigured(
                f"The folder {name!r} for mail that was read cannot be made in the Maildir "
                f"{self.path}; give it a plain name, such as Read."
            )

    @property
    def place(self) -> str:
        """The Maildir as people name it."""
        return f"the Maildir {self.path}"

    def read(self, after: Cursor | None = None) -> Iterator[Mail | Unreadable]:
        """Give all messages; files have no numbers to go on from, so `after` changes nothing."""
        del after
        done: set[str] = set()
        # A mail reader moves files from new to cur and renames them there: those that vanish
        # under our hands are looked for once more, under what they are called then.
        for again in (False, True):
            vanished = False
            with contextlib.ExitStack() as stack:
                opened = [
                    (folder, stack.enter_context(self._opened(folder))) for folder in ("new", "cur")
                ]
                listed = [(*each, self._names(each[1])) for each in opened]
                left = sum(len(names) for _, _, names in listed)
                for folder, descriptor, names in listed:
                    for name in names:
                        left -= 1
                        key = _unique(name)
                        if key in done:
                            continue
                        found = self._read(descriptor, folder, name, left)
                        if found is None:
                            vanished = True
                            continue
                        done.add(key)
                        if found:
                            yield from found
            if again or not vanished:
                return

    def put_away(self, keys: Iterable[str]) -> None:
        """Move messages to `move_to`, as read ones."""
        if self.move_to is None:
            return
        wanted = set(keys)
        target = self.path / f".{self.move_to}"
        try:
            for name in ("tmp", "new", "cur"):
                (target / name).mkdir(mode=0o700, parents=True, exist_ok=True)
            (target / "maildirfolder").touch()
            for folder in ("new", "cur"):
                for path in sorted((self.path / folder).iterdir()):
                    if _unique(path.name) in wanted and not path.is_symlink():
                        name = path.name if ":2," in path.name else f"{path.name}:2,S"
                        with contextlib.suppress(FileNotFoundError):
                            path.rename(target / "cur" / name)
        except OSError as error:
            raise Unavailable(
                f"Mail that was read cannot be moved to {target}: {error.strerror}. "
                "Let whoever runs this write there, or name no folder for what was read."
            ) from error

    @contextlib.contextmanager
    def _opened(self, folder: str) -> Iterator[int]:
        path = self.path / folder
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError as error:
            if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}:
                raise Misconfigured(
                    f"There is no Maildir {self.path}: {path} is not a folder. "
                    "Name the Maildir that returned mail is delivered to."
                ) from error
            raise self._unavailable(path, error) from error
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _names(self, descriptor: int) -> list[str]:
        try:
            return sorted(name for name in os.listdir(descriptor) if not name.startswith("."))
        except OSError as error:
            raise self._unavailable(self.path, error) from error

    def _unavailable(self, path: Path, error: OSError) -> Unavailable:
        return Unavailable(
            f"The Maildir {path} cannot be read: {error.strerror}. "
            "Let whoever runs this read it, then run this again."
        )

    def _read(
        self, descriptor: int, folder: str, name: str, left: int
    ) -> tuple[Mail | Unreadable, ...] | None:
        """One message; nothing for what is none, None for what is not there any more."""
        key = _unique(name)
        try:
            # Without waiting, should it be a pipe.
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            with os.fdopen(os.open(name, flags, dir_fd=descriptor), "rb") as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode):
                    return ()
                data = file.read(self.limit)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno in {errno.ELOOP, errno.ENXIO, errno.EISDIR}:
                return ()  # a link, a socket, a folder
            path = self.path / folder / name
            reason = (
                f"The message {_shown(str(path))} cannot be read: {error.strerror}. "
                "Let whoever runs this read it."
            )
            return (Unreadable(key=key, reason=reason, cursor=None, left=left),)
        size = max(status.st_size, len(data))
        return (Mail(key=key, data=data, size=size, cursor=None, left=left),)


def _unique(name: str) -> str:
    """The part of a file's name that stays, whatever happens to the message."""
    return name.partition(":2,")[0]


# ---- IMAP


@dataclass(frozen=True, slots=True, kw_only=True)
class Imap:
    """A folder on an IMAP server.

    With `token` the login is by an access token (XOAUTH2), else by `password`. It is called for
    each login, with None or with the token that the server has just refused, and raises a
    LettersError where it has none to give. `ca_file` replaces the system's trusted certificates;
    `security` "none" and `verify` switched off are for a server on this machine only. `move_to` is
    a folder for what was read, made where it is missing. `timeout` is for one command and its
    answer, in seconds; `limit` is in octets. `login_fix` says, in sentences, what to put right when
    a password is refused.
    """

    host: str
    username: str
    password: str | None = field(default=None, repr=False)
    token: Callable[[str | None], str] | None = field(default=None, repr=False)
    security: Literal["tls", "starttls", "none"] = "tls"
    port: int = 993
    folder: str = "INBOX"
    move_to: str | None = None
    ca_file: str | None = None
    verify: bool = True
    timeout: float = 60.0
    connect_timeout: float = 30.0
    limit: int = LIMIT
    login_fix: str = (
        "Correct the name in reports.mailbox and what the file in reports.password_file holds."
    )

    def __post_init__(self) -> None:
        if (self.password is None) == (self.token is None):
            raise Misconfigured(
                f"The login at the mail server {self.host} needs either a password or a token."
            )
        if not self.folder or self.move_to == "":
            raise Misconfigured(f"The folder at the mail server {self.host} has no name.")
        for name in (self.folder, self.move_to or "", self.username, self.password or ""):
            if any(each in name for each in "\0\r\n"):
                raise Misconfigured(
                    f"A folder, the username or the password for the mail server {self.host} "
                    "holds a line break; write it on one line."
                )
        if not self._loopback:
            if not self.verify:
                raise Misconfigured(
                    f"The certificate of the mail server {self.host} must be verified; only one on "
                    "this machine may go without."
                )
            if self.security == "none":
                raise Misconfigured(
                    f"The login at the mail server {self.host} would be sent unencrypted; set the "
                    "security to starttls or tls."
                )

    @property
    def place(self) -> str:
        """The folder as people name it."""
        return f"the folder {self.folder} of {self.username} at {self.server}"

    @property
    def server(self) -> str:
        """The server as people name it."""
        return f"the mail server {self.host} port {self.port}"

    @property
    def _loopback(self) -> bool:
        return is_loopback(self.host)

    def read(self, after: Cursor | None = None) -> Iterator[Mail | Unreadable]:
        """Give the messages after `after`; all, where the server has numbered them anew.

        A connection that breaks is opened once more, and reading goes on where it was; one that
        breaks twice at the same message is not.
        """
        session = _Session(self)
        try:
            yield from self._read(session, after)
        finally:
            session.close()

    def _read(self, session: "_Session", after: Cursor | None) -> Iterator[Mail | Unreadable]:
        uidvalidity = 0
        waiting: deque[tuple[int, int]] = deque()
        listed = reopened = renumbered = False
        while not listed or waiting:
            try:
                if not session.open:
                    numbering = session.select(self.folder, readonly=True)
                    if not listed or numbering != uidvalidity:
                        # What was given already under other numbers is harmless to give again.
                        renumbered, uidvalidity = listed, numbering
                        known = after is not None and after.uidvalidity == uidvalidity != 0
                        last = after.uid if known and after is not None else 0
                        waiting = deque(session.after(last))
                        listed = True
                while waiting:
                    uid, size = waiting[0]
                    cursor = Cursor(uidvalidity=uidvalidity, uid=uid)
                    found = session.fetch(uid, size, cursor)
                    waiting.popleft()
                    reopened = renumbered
                    if found is not None:
                        after = cursor
                        yield replace(found, left=len(waiting))
            except _RefusedError as refused:
                raise self._useless(f"does not go on: {refused}.") from refused
            except _BrokenError as broken:
                session.cut()
                if reopened:
                    raise self._useless(f"broke off twice: {broken}") from broken
                reopened = True

    def put_away(self, keys: Iterable[str]) -> None:
        """Move messages to `move_to`; those of an earlier numbering are left where they are."""
        wanted = [key.split(".") for key in keys]
        if self.move_to is None or not wanted:
            return
        session = _Session(self)
        try:
            numbering = session.select(self.folder, readonly=False)
            uids = sorted(int(uid) for validity, uid in wanted if int(validity) == numbering != 0)
            session.move(uids, self.move_to)
        except _RefusedError as refused:
            raise self._useless(f"does not move mail: {refused}.") from refused
        except _BrokenError as broken:
            raise self._useless(f"broke off: {broken}") from broken
        finally:
            session.close()

    def _useless(self, how: str) -> Unavailable:
        return Unavailable(f"{_capital(self.server)} {how} Try again later.")


class _BrokenError(Exception):
    """The connection has ended, timed out, or cannot be understood any more."""


class _RefusedError(Exception):
    """The server will not do what it was told."""


class _StaleTokenError(Exception):
    """The server refused an access token, which may have ended; it says what the server said."""

    def __init__(self, token: str, said: str) -> None:
        super().__init__(said)
        self.token = token


_FAULTS: Final = (imaplib.IMAP4.error, OSError, ValueError, EOFError)
"""What imaplib raises of a server: its own, the connection's, and what it cannot read."""


class _Session:
    """One connection to an IMAP server, opened when a folder is selected."""

    def __init__(self, imap: Imap) -> None:
        self.imap = imap
        self.open = False
        self._exists = 0
        self._secrets: list[str] = []
        self._tokens: list[bytes] = []
        self._client: _Client | None = None
        self._context = _tls_context(imap) if imap.security != "none" else None

    def close(self) -> None:
        """Take leave if there is a connection."""
        if self._client is not None:
            with contextlib.suppress(_BrokenError, _RefusedError), self._talking(5.0) as client:
                client.logout()
        self.cut()

    def cut(self) -> None:
        client, self._client = self._client, None
        self.open = False
        if client is not None:
            client.cut()

    def select(self, folder: str, *, readonly: bool) -> int:
        """Connect, log in and open a folder; give its UIDVALIDITY, 0 if it has none."""
        self._connect()
        try:
            self._log_in(None)
        except _StaleTokenError as stale:
            self.close()
            self._connect()
            self._log_in(stale)
        with self._talking() as client:
            status, said = client.select(_mailbox_name(folder), readonly)
            if status != "OK":
                raise self._refused(
                    f"{_capital(self.imap.server)} does not open the folder {folder}",
                    _text(said),
                    "Name the folder that returned mail is delivered to.",
                )
            _, validity = client.response("UIDVALIDITY")
            self._exists = _number(said[-1])
            self.open = True
            return _number(validity[-1])

    def after(self, uid: int) -> list[tuple[int, int]]:
        """The numbers and sizes of the messages after a number, in order."""
        found: dict[int, int] = {}
        # From the end, in parts: the new ones are few, and a long answer in one line is refused.
        last = self._exists
        while last > 0:
            first = max(1, last - _LISTED_AT_ONCE + 1)
            with self._talking() as client:
                status, lines = client.fetch(f"{first}:{last}", "(UID RFC822.SIZE)")
            if status != "OK":
                raise _BrokenError(f"{self._words(_text(lines))}.")
            oldest = None
            for line in map(_flat, lines):
                number, size = _UID.search(line), _SIZE.search(line)
                if number and size:
                    found[int(number[1])] = int(size[1])
                    oldest = min(oldest or int(number[1]), int(number[1]))
            if oldest is not None and oldest <= uid:
                break
            last = first - 1
        return sorted(item for item in found.items() if item[0] > uid)

    def fetch(self, uid: int, size: int, cursor: Cursor) -> Mail | Unreadable | None:
        """One message up to the limit; None if it is not there any more."""
        limit = self.imap.limit
        key = f"{cursor.uidvalidity}.{uid}"
        # One octet more tells whether that was all: some servers only guess at sizes.
        try:
            with self._talking(room=limit + 1) as client:
                status, answer = client.uid("FETCH", str(uid), f"(UID BODY.PEEK[]<0.{limit + 1}>)")
        except _RefusedError as refused:
            status, answer = "BAD", [str(refused).encode()]
        data = _body(answer) if status == "OK" else None
        if data is None:
            if status == "OK" and not any(f"UID {uid}".encode() in _flat(each) for each in answer):
                return None
            reason = (
                f"The message {uid} in {self.imap.place} cannot be read; the server said: "
                f"{self._words(_text(answer))}. Look at it in a mail program."
            )
            return Unreadable(key=key, reason=reason, cursor=cursor)
        if len(data) > limit:
            return Mail(key=key, data=data[:limit], size=max(size, len(data)), cursor=cursor)
        return Mail(key=key, data=data, size=len(data), cursor=cursor)

    def move(self, uids: list[int], folder: str) -> None:
        """Move messages, in a way that touches no other."""
        with self._talking() as client:
            # Servers offer more to those they know.
            offered = _text(client.capability()[1]).upper().split()
        can_move, can_expunge = "MOVE" in offered, "UIDPLUS" in offered
        if not (can_move or can_expunge):
            raise Misconfigured(
                f"{_capital(self.imap.server)} cannot move single messages (it offers neither MOVE "
                "nor UIDPLUS); name no folder for what was read."
            )
        for start in range(0, len(uids), _LISTED_AT_ONCE):
            some = ",".join(map(str, uids[start : start + _LISTED_AT_ONCE]))
            self._transfer("MOVE" if can_move else "COPY", some, folder)
            if not can_move:
                with self._talking() as client:
                    client.uid("STORE", some, "+FLAGS.SILENT", r"(\Deleted)")
                    client.uid("EXPUNGE", some)

    def _transfer(self, command: str, uids: str, folder: str) -> None:
        name = _mailbox_name(folder)
        with self._talking() as client:
            status, said = client.uid(command, uids, name)
            if status != "OK" and "TRYCREATE" in _text(said):
                client.create(name)
                status, said = client.uid(command, uids, name)
        if status != "OK":
            raise self._refused(
                f"{_capital(self.imap.server)} does not move mail to the folder {folder}",
                _text(said),
                "Name another folder for what was read, or none.",
            )

    def _connect(self) -> None:
        imap = self.imap
        server = _capital(imap.server)
        deadline = Deadline(imap.connect_timeout)
        try:
            with deadline:
                self._client = _Client(imap, self._context, deadline)
                if imap.security == "starttls" and self._context is not None:
                    if "STARTTLS" not in self._client.capabilities:
                        raise Misconfigured(
                            f"{server} does not offer STARTTLS, which the settings ask for; "
                            "nothing was read. Write imaps:// in reports.mailbox if it takes that."
                        )
                    self._client.starttls(self._context)
        except LettersError:
            self.cut()
            raise
        except ssl.SSLCertVerificationError as error:
            self.cut()
            raise Unavailable(
                f"The certificate of {imap.server} is not trusted: "
                f"{error.verify_message.rstrip('.')}. Nothing was read. Name the server in "
                "reports.mailbox as its certificate does, or let whoever runs it renew a "
                "certificate that has ended; one that was signed by your own authority is trusted "
                "with that authority's certificate in the file that reports.ca_file names."
            ) from error
        except _FAULTS as error:
            self.cut()
            raise Unavailable(f"{server} cannot be reached: {deadline.named(error)}") from error

    def _log_in(self, stale: _StaleTokenError | None) -> None:
        """Log in; `stale` is what became of the token before, in whose place another is asked for.

        Raises `_StaleTokenError` if it is None and the server refuses the token.
        """
        imap = self.imap
        client = self._client
        if client is not None and client.state == "AUTH":
            return  # it greeted us as somebody it knows
        token = imap.token(stale.token if stale else None) if imap.token is not None else None
        if stale is not None and stale.token == token:
            raise self._login_refused(str(stale))
        login = f"user={imap.username}\1auth=Bearer {token}\1\1".encode()
        if token is not None:
            secrets = [token.encode(), login]
            self._tokens += [*secrets, *(base64.b64encode(each) for each in secrets)]
        else:
            self._secrets = [
                each
                for secret in (imap.password or "", f"\0{imap.username}\0{imap.password}")
                for each in (secret, base64.b64encode(secret.encode()).decode())
            ]
        try:
            with self._talking() as client:
                if token is not None:
                    answers = iter([login])
                    # Refusing, it first gives a reason, which wants an empty answer.
                    client.authenticate("XOAUTH2", lambda _: next(answers, b""))
                elif "AUTH=PLAIN" in client.capabilities:
                    plain = f"\0{imap.username}\0{imap.password}".encode()
                    client.authenticate("PLAIN", lambda _: plain)
                else:
                    client.log_in(imap.username, imap.password or "")
        except _RefusedError as error:
            if token is not None and stale is None and not _is_passing(str(error)):
                raise _StaleTokenError(token, str(error)) from error
            raise self._login_refused(str(error)) from error

    def _login_refused(self, said: str) -> Misconfigured | Unavailable:
        imap = self.imap
        fix = imap.login_fix
        if imap.token is not None:
            fix = (
                f"Check that {imap.username} is the mailbox that the access token is for, that "
                "oauth2.scope is what the server wants, and that the mailbox may be read by IMAP."
            )
        what = f"{_capital(imap.server)} refused the login of {imap.username}"
        return self._refused(what, said, fix)

    @contextlib.contextmanager
    def _talking(self, seconds: float | None = None, room: int = 0) -> "Iterator[_Client]":
        """Say something and hear the answer, within the time-out and without being flooded."""
        client = self._client
        if client is None:
            raise _BrokenError("there is no connection.")
        deadline = Deadline(seconds or self.imap.timeout)
        deadline.sock = client.sock
        client.allowance = room + _OVERHEAD
        try:
            with deadline:
                yield client
        except imaplib.IMAP4.abort as error:
            raise _BrokenError(f"{self._words(deadline.named(error))}.") from error
        except imaplib.IMAP4.error as error:
            raise _RefusedError(self._words(str(error))) from error
        except _FAULTS as error:
            raise _BrokenError(f"{self._words(deadline.named(error))}.") from error

    def _refused(self, what: str, said: str, fix: str) -> Misconfigured | Unavailable:
        words = f"{what}; it said: {self._words(said)}."
        if _is_passing(said):
            return Unavailable(f"{words} Try again later.")
        return Misconfigured(f"{words} {fix}")

    def _words(self, said: str) -> str:
        """What a server said, fit to be shown; a careless one repeats what it was given."""
        words = masked(
            said, passwords=self._secrets, tokens=[token.decode() for token in self._tokens]
        )
        return words[:_SAID_LIMIT].rstrip(".")


class _Client(imaplib.IMAP4):
    """imaplib's client, on a connection of ours, which neither waits nor reads without end."""

    allowance = _OVERHEAD

    def __init__(self, imap: Imap, context: ssl.SSLContext | None, deadline: Deadline) -> None:
        self._imap = imap
        self._context = context if imap.security == "tls" else None
        self._deadline = deadline
        super().__init__(imap.host, imap.port, imap.connect_timeout)
        self.sock.settimeout(imap.timeout)

    def _create_socket(self, timeout: float | None = None) -> socket.socket:
        made = socket.create_connection((self._imap.host, self._imap.port), timeout)
        self._deadline.sock = made
        if self._context is None:
            return made
        try:
            return self._context.wrap_socket(made, server_hostname=self._imap.host)
        except BaseException:
            made.close()
            raise

    def read(self, size: int) -> bytes:
        """Read a literal, if there is room for one of that size."""
        self._spend(size)
        return super().read(size)

    def readline(self) -> bytes:
        """Read a line of an answer."""
        line = super().readline()
        self._spend(len(line))
        return line

    def log_in(self, username: str, password: str) -> None:
        """LOGIN; imaplib's own sends a username as it stands, whatever it holds."""
        if "LOGINDISABLED" in self.capabilities:
            raise self.error("it takes no passwords on this connection")
        for word in (username, password):
            if not word.isascii():
                raise self.error("it takes only ASCII in usernames and passwords")
        status, said = self._simple_command("LOGIN", _quoted(username), _quoted(password))
        if status != "OK":
            raise self.error(_text(said))
        self.state = "AUTH"

    def cut(self) -> None:
        """Close at once."""
        with contextlib.suppress(OSError, ValueError):
            self.shutdown()

    def _spend(self, octets: int) -> None:
        if octets > self.allowance:
            raise self.abort(f"it sends more than was asked for: {octets} octets in one piece")
        self.allowance -= octets


def _tls_context(imap: Imap) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=imap.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise Misconfigured(
            f"The certificates in {imap.ca_file}, which reports.ca_file names, cannot be read: "
            f"{error.strerror or error}. Name a file in PEM form that whoever runs this may read."
        ) from error
    if not imap.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _mailbox_name(name: str) -> str:
    """A folder's name as IMAP writes it: modified UTF-7 (RFC 3501 section 5.1.3), quoted."""
    coded = ""
    for plain, other in re.findall(r"([\x20-\x7e]+)|([^\x20-\x7e]+)", name):
        coded += plain.replace("&", "&-")
        if other:
            sixes = base64.b64encode(other.encode("utf-16-be"), b"+,").decode().rstrip("=")
            coded += f"&{sixes}-"
    return _quoted(coded)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", r"\\").replace('"', r"\"")
    return f'"{escaped}"'


def _body(answer: list[Any]) -> bytes | None:
    """The octets of a message in an answer to FETCH, None if there are none."""
    for item in answer:
        if isinstance(item, tuple):
            if b"BODY[]" in item[0].upper():
                return bytes(item[1])
        elif item and (match := _QUOTED_BODY.search(item)):
            return re.sub(rb"\\(.)", rb"\1", match[1] or b"", flags=re.DOTALL)
    return None


def _flat(item: Any) -> bytes:
    if isinstance(item, tuple):
        return b" ".join(map(_flat, item))
    return bytes(item or b"")


def _text(said: list[Any]) -> str:
    return " ".join(_flat(item).decode("utf-8", "replace") for item in said)


def _number(octets: Any) -> int:
    return int(octets) if octets and octets.isdigit() else 0


def _is_passing(said: str) -> bool:
    code = _CODE.search(said)
    return code is not None and code[1] in _PASSING


def _shown(text: str) -> str:
    """Text without what cannot be seen, on one line, not too long."""
    return printable(text)[:_SAID_LIMIT]


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]
