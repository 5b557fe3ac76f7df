"""Access tokens: what Microsoft 365 and Google want at a login instead of a password (RFC 6749).

There are three ways to one. A person has once let the program in, and a refresh token says so; the
program is known by itself, with a secret of its own; or a command of the organisation's own prints
one. A token is kept until shortly before it ends and shared by all threads; who is told that a
token was refused asks for another.

Secrets are read when they are needed, so that a new one in its file counts at once, and no message
shows one: what an endpoint says is shown without them.
"""

import contextlib
import errno
import http.client
import json
import os
import re
import selectors
import signal
import socket
import ssl
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlencode, urlsplit

from pipeline import log
from pipeline.address import is_loopback
from pipeline.deadline import Deadline
from pipeline.errors import LettersError, Misconfigured, Unavailable
from pipeline.masking import masked, printable

PATIENCE: Final = 10.0
"""Seconds that an endpoint or a command may take altogether."""
UNTOLD: Final = timedelta(minutes=5)
"""How long a token is kept of which nobody says when it ends."""

_MARGIN: Final = timedelta(minutes=1)
_LIMIT: Final = 64 * 1024
_SAID_LIMIT: Final = 300
_TOKEN: Final = re.compile(r"[\x21-\x7e]{1,16384}")

_RENEW: Final = (
    "Let the owner of the mailbox sign in anew, and put the new refresh token into the file that "
    "oauth2.refresh_token_file names."
)
_CLIENT: Final = (
    "Correct oauth2.client_id and what the file in oauth2.client_secret_file holds; such a secret "
    "ends on the day that was chosen when it was made."
)
_GRANTED: Final = (
    "Let whoever runs the directory allow this application what oauth2.scope asks for."
)
_ASKED: Final = "Correct token_url, client_id and scope in the section [oauth2]."
_URL: Final = (
    "Check oauth2.token_url, and that neither a firewall nor a sign-in page stands between."
)
_BY_HAND: Final = "Run it by hand, as the user that runs this, to see why."
_FIXES: Final = {
    "invalid_grant": _RENEW,
    "interaction_required": _RENEW,
    "invalid_client": _CLIENT,
    "unauthorized_client": _GRANTED,
    "access_denied": _GRANTED,
    "invalid_scope": "Correct oauth2.scope.",
}
_PASSING: Final = frozenset({"temporarily_unavailable", "server_error", "slow_down"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """An access token; `until` is when it ends, None where nobody has said so.

    `kept_until` is when to ask for the next one.
    """

    value: str = field(repr=False)
    until: datetime | None
    kept_until: datetime


class Source(Protocol):
    """Where access tokens come from: an `Endpoint` or a `Command`."""

    def fetch(self) -> Token:
        """A new token. Raises Unavailable or Misconfigured."""


class AccessTokens:
    """The access tokens of one account, shared by all threads of the process.

    It is called for a token: `tokens()`, or `tokens(refused)` by whoever was told that `refused` is
    not valid any more. Raises Unavailable or Misconfigured, whole sentences without a secret.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._token: Token | None = None
        self._fetching = threading.Lock()
        self._failures = 0
        self._failed: LettersError | None = None

    def __call__(self, refused: str | None = None) -> str:
        """A token that is good for a while yet, and not `refused`; fetched if there is none."""
        before = self._failures
        with self._fetching:
            held = self._token
            if held and held.value != refused and datetime.now(UTC) < held.kept_until:
                return held.value
            # Whoever waited for an endpoint that does not answer need not wait for it again.
            if self._failed is not None and self._failures != before:
                raise type(self._failed)(str(self._failed))
            try:
                self._token = self._source.fetch()
            except LettersError as error:
                self._token, self._failed = None, error
                self._failures += 1
                raise
            return self._token.value

    @property
    def until(self) -> datetime | None:
        """When the token that is held ends; None where there is none, or nobody has said so."""
        held = self._token
        return held.until if held else None


# ---- An endpoint


class RefreshToken:
    """A refresh token in a file, which the endpoint may replace by a newer one at any time.

    `read` gives what the file holds; `tell` gets sentences for a person, standard error if nobody
    else does.
    """

    def __init__(
        self, file: Path, read: Callable[[], str], tell: Callable[[str], None] | None = None
    ) -> None:
        self._file = file
        self._read = read
        self._tell = tell or _on_standard_error
        self._in_memory: tuple[str, str] | None = None

    def current(self) -> str:
        """The newest token: the file's, or what came in its place and could not be written."""
        held = self._read()
        if self._in_memory is not None and self._in_memory[0] == held:
            return self._in_memory[1]
        return held

    def replace(self, used: str, newer: str) -> None:
        """Keep a newer token in the place of the one `used`.

        In the file, in one step and with the same permissions; where that cannot be written, in
        memory and with a warning. A file that somebody else has changed meanwhile is left alone.
        """
        held = self._read()
        if newer == used or self.current() != used:
            return
        try:
            _rewrite(self._file, newer + "\n")
        except OSError as error:
            self._in_memory = (held, newer)
            log.warning("oauth2.token_not_kept", error=type(error).__name__)
            self._tell(
                "The token endpoint gave a new refresh token, which cannot be written to "
                f"{self._file}: {error.strerror}. It is lost when this program ends; let the user "
                "that runs this write that file and its folder."
            )
        else:
            self._in_memory = None


def _on_standard_error(told: str) -> None:
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(f"{told}\n")


def may_rewrite(file: Path) -> bool:
    """Whether a new refresh token can be kept in this file: it and its folder may be written."""
    target = file.resolve()
    return all(os.access(each, os.W_OK, effective_ids=True) for each in (target, target.parent))


def _rewrite(file: Path, text: str) -> None:
    if not may_rewrite(file):
        raise PermissionError(errno.EACCES, "the file or its folder is read only")
    target = file.resolve()
    status = target.stat()
    made, name = tempfile.mkstemp(prefix=".token-", dir=target.parent)
    try:
        with os.fdopen(made, "w", encoding="utf-8") as opened:
            os.fchmod(opened.fileno(), stat.S_IMODE(status.st_mode))
            with contextlib.suppress(PermissionError):
                os.fchown(opened.fileno(), status.st_uid, status.st_gid)
            opened.write(text)
            opened.flush()
            os.fsync(opened.fileno())
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A token endpoint, and as whom we ask: with a refresh token, or else as the client itself.

    `secret` gives the client's secret, None for a client that has none. `timeout` is for all of a
    question and its answer, in seconds. Raises `Misconfigured` for a URL that would let secrets be
    overheard.
    """

    url: str
    client_id: str
    scope: str = ""
    secret: Callable[[], str | None] = lambda: None
    refresh: RefreshToken | None = None
    timeout: float = PATIENCE

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        host = parts.hostname or ""
        allowed = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))
        try:
            allowed = allowed and parts.port != 0
        except ValueError:
            allowed = False
        if not host or not allowed:
            raise Misconfigured(
                "oauth2.token_url must begin with https:// and name a host, so that nobody "
                "overhears the secret; http:// is for this machine only."
            )

    @property
    def place(self) -> str:
        """The endpoint as people name it, without what a URL may hold besides."""
        parts = urlsplit(self.url)
        return f"the token endpoint {parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    def fetch(self) -> Token:
        """Ask for a token; a newer refresh token that comes with it is kept."""
        secret = self.secret()
        form = {"client_id": self.client_id}
        if secret is not None:
            form["client_secret"] = secret
        if self.scope:
            form["scope"] = self.scope
        if self.refresh is None:
            return self._token(self._asked({**form, "grant_type": "client_credentials"}))
        used, answer = self._refreshed(form, self.refresh)
        # Kept before anything else: the one that was used may be good no more.
        rotated = answer.get("refresh_token")
        if isinstance(rotated, str) and _TOKEN.fullmatch(rotated):
            self.refresh.replace(used, rotated)
        return self._token(answer)

    def _refreshed(
        self, form: Mapping[str, str], refresh: RefreshToken
    ) -> tuple[str, Mapping[str, Any]]:
        """The refresh token that was used, and the answer to it."""
        used = refresh.current()
        while True:
            try:
                with_it = {**form, "grant_type": "refresh_token", "refresh_token": used}
                return used, self._asked(with_it)
            except _RefusedError as refused:
                # Another process, or a person, may have put a newer one there a moment ago.
                before, used = used, refresh.current()
                if used == before:
                    raise refused.error from None

    def _asked(self, form: Mapping[str, str]) -> Mapping[str, Any]:
        """The endpoint's answer, if it grants what was asked for."""
        secrets = [form[name] for name in ("client_secret", "refresh_token") if name in form]
        status, kind, body = self._answered(urlencode(form).encode("ascii"))
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError):
            answer = None
        if status == http.HTTPStatus.OK and isinstance(answer, dict) and "access_token" in answer:
            return answer
        if isinstance(answer, dict) and isinstance(answer.get("error"), str):
            raise self._refusal(answer, status, secrets)
        told = f"{_capital(self.place)} answered with the status {status} and"
        shown = _shown(kind.partition(";")[0]) or "nothing"
        raise Unavailable(f"{told} no token in JSON, but {shown}. {_URL}")

    def _refusal(
        self, answer: Mapping[str, Any], status: int, secrets: list[str]
    ) -> "LettersError | _RefusedError":
        name = _masked(str(answer["error"]), secrets)
        # Microsoft's first line says it, and those behind it name the request.
        described, *_ = str(answer.get("error_description") or "").splitlines() or [""]
        said = f"{name} ({_masked(described, secrets).rstrip('.')})" if described else name
        words = f"{_capital(self.place)} gave no token: {said}."
        if name in _PASSING or status >= 500 or status == http.HTTPStatus.TOO_MANY_REQUESTS:
            return Unavailable(f"{words} Try again later.")
        fix = _FIXES.get(name, _ASKED)
        if name == "invalid_grant" and self.refresh is not None:
            return _RefusedError(Misconfigured(f"{words} {fix}"))
        return Misconfigured(f"{words} {_ASKED if fix is _RENEW and not self.refresh else fix}")

    def _token(self, answer: Mapping[str, Any]) -> Token:
        value, kind = answer["access_token"], answer.get("token_type", "Bearer")
        if not isinstance(value, str) or not _TOKEN.fullmatch(value) or not _is_bearer(kind):
            raise Unavailable(
                f"{_capital(self.place)} answered with something that is no bearer token. {_URL}"
            )
        now = datetime.now(UTC)
        try:
            lifetime = timedelta(seconds=float(answer["expires_in"]))
            until = now + lifetime
        except (KeyError, TypeError, ValueError, OverflowError):
            return Token(value=value, until=None, kept_until=now + UNTOLD)
        return Token(value=value, until=until, kept_until=until - min(_MARGIN, lifetime / 10))

    def _answered(self, data: bytes) -> tuple[int, str, bytes]:
        """The status, the content's type and the content of the answer to a form."""
        parts = urlsplit(self.url)
        deadline = Deadline(self.timeout)
        try:
            with deadline, contextlib.closing(self._connected(deadline)) as connection:
                path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
                connection.request(
                    "POST",
                    path,
                    data,
                    {
                        "Accept": "application/json",
                        "Content-Type": "application/x-www-form-urlencoded",
                        "Connection": "close",
                    },
                )
                with connection.getresponse() as response:
                    body = response.read(_LIMIT + 1)
                    kind = response.headers.get_content_type()
                    if deadline.over:
                        raise TimeoutError
        except ssl.SSLCertVerificationError as error:
            raise Unavailable(
                f"The certificate of {self.place} is not trusted: {error.verify_message}. {_URL}"
            ) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            # Not chained: the request that is being sent holds the secrets.
            why = deadline.named(error, told=False)
            raise Unavailable(f"{_capital(self.place)} does not answer: {why} {_URL}") from None
        if len(body) > _LIMIT:
            raise Unavailable(f"{_capital(self.place)} answers without end. {_URL}")
        return response.status, kind, body

    def _connected(self, deadline: Deadline) -> http.client.HTTPConnection:
        parts = urlsplit(self.url)
        host, encrypted = parts.hostname or "", parts.scheme == "https"
        port = parts.port or (443 if encrypted else 80)
        made = socket.create_connection((host, port), self.timeout)
        try:
            if encrypted:
                context = ssl.create_default_context()
                # Held before the handshake, so that the deadline can end that too.
                made = context.wrap_socket(
                    made, server_hostname=host, do_handshake_on_connect=False
                )
            deadline.sock = made
            if isinstance(made, ssl.SSLSocket):
                made.do_handshake()
        except BaseException:
            made.close()
            raise
        connection = http.client.HTTPConnection(host, port, self.timeout)
        connection.sock = made
        return connection


class _RefusedError(Exception):
    """The endpoint does not know the refresh token any more; `error` is what a person is told."""

    def __init__(self, error: LettersError) -> None:
        super().__init__(str(error))
        self.error = error


# ---- A command


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command that prints an access token, on one line; run without a shell, in `folder`.

    What it prints is never shown, nor are its words. It gets `timeout` seconds.
    """

    words: tuple[str, ...] = field(repr=False)
    folder: Path
    timeout: float = PATIENCE

    def fetch(self) -> Token:
        """Run the command, and end it with all that it started."""
        try:
            process = subprocess.Popen(  # noqa: S603 - the settings' own command, without a shell
                self.words,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            words = getattr(error, "strerror", None) or "its name cannot be one"
            raise Misconfigured(
                f"The command in oauth2.command cannot be run: {words}. Name a program and what it "
                "is to be given, as in a shell; none is used."
            ) from None
        deadline = time.monotonic() + self.timeout
        try:
            printed = self._printed(process, deadline)
            status = process.wait(max(0.0, deadline - time.monotonic()))
        except (TimeoutError, subprocess.TimeoutExpired):
            raise Unavailable(
                f"The command in oauth2.command did not end within {self.timeout:g} seconds. "
                f"{_BY_HAND}"
            ) from None
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
        if len(printed) <= _LIMIT and status:
            ended = f"was ended by the signal {-status}" if status < 0 else f"ended with {status}"
            raise Unavailable(f"The command in oauth2.command {ended}. {_BY_HAND}")
        value = printed.decode("ascii", "replace").strip()
        if not _TOKEN.fullmatch(value):
            raise Misconfigured(
                "The command in oauth2.command must print one line with an access token and "
                f"nothing else, and printed something else. {_BY_HAND}"
            )
        return Token(value=value, until=None, kept_until=datetime.now(UTC) + UNTOLD)

    def _printed(self, process: "subprocess.Popen[bytes]", deadline: float) -> bytes:
        """What the command prints, up to a limit; raises TimeoutError if that does not end."""
        assert process.stdout is not None  # noqa: S101 - it was asked for
        printed = bytearray()
        with selectors.DefaultSelector() as selector:
            # Not only until the command ends: what it started may hold the other end of the pipe.
            selector.register(process.stdout, selectors.EVENT_READ)
            while len(printed) <= _LIMIT:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise TimeoutError
                piece = os.read(process.stdout.fileno(), 4096)
                if not piece:
                    break
                printed += piece
        if len(printed) > _LIMIT:
            process.kill()
        return bytes(printed)


def _is_bearer(kind: object) -> bool:
    return isinstance(kind, str) and kind.lower() == "bearer"


def _masked(text: str, secrets: list[str]) -> str:
    """Text without the secrets in it, on one line, not too long."""
    return masked(text, tokens=secrets)[:_SAID_LIMIT]


def _shown(text: str) -> str:
    return printable(text)[:_SAID_LIMIT]


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]
