"""A token endpoint on loopback, and a relay that lets in whoever has one of its tokens."""

import asyncio
import base64
import contextlib
import http.server
import json
import ssl
import threading
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

from tests.postgres import free_port

PATIENCE: Final = 20.0
USER: Final = "annual.letters@ombudsman.test"
SCOPE: Final = "https://mail.relay.test/send"


@dataclass
class Answer:
    """One answer of the endpoint; a `body` that is no text is written as JSON."""

    body: Any
    status: int = 200
    kind: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)


class TokenEndpoint:
    """Gives TOKEN-1, TOKEN-2 and so on, unless `answers` hold something else to say first.

    `asked` are the forms that came; `good` the tokens that are good. While `held` is clear nobody
    is answered. `lifetime` is what it says of each token, in seconds.
    """

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.asked: list[dict[str, str]] = []
        self.good: set[str] = set()
        self.lifetime: Any = 3600
        self.rotated: str | None = None
        self.arrived = threading.Event()
        self.held = threading.Event()
        self.held.set()
        self.trickles = False
        self.over = threading.Event()
        self.url = ""
        self._counting = threading.Lock()

    def answer(self, form: dict[str, str]) -> Answer:
        with self._counting:
            self.asked.append(form)
            self.arrived.set()
            if self.answers:
                return self.answers.pop(0)
            token = f"TOKEN-{len(self.asked)}-of-the-endpoint"
            self.good.add(token)
        body = {"token_type": "Bearer", "access_token": token, "expires_in": self.lifetime}
        if self.rotated:
            body["refresh_token"] = self.rotated
        return Answer(body)


class _Endpoint(http.server.BaseHTTPRequestHandler):
    endpoint: TokenEndpoint

    def do_POST(self) -> None:
        text = self.rfile.read(int(self.headers["Content-Length"])).decode("ascii")
        form = dict(urllib.parse.parse_qsl(text, strict_parsing=True))
        assert self.headers["Content-Type"] == "application/x-www-form-urlencoded"
        answer = self.endpoint.answer(form)
        self.endpoint.held.wait(PATIENCE)
        with contextlib.suppress(OSError):
            self._say(answer)

    def _say(self, answer: Answer) -> None:
        body = answer.body if isinstance(answer.body, str) else json.dumps(answer.body)
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        while self.endpoint.trickles and not self.endpoint.over.wait(0.05):
            self.wfile.write(b" ")
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        del format, args


class _Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that do not trust us, or do not wait, are what some tests are about."""


@contextlib.contextmanager
def token_endpoint(tls: ssl.SSLContext | None = None) -> Iterator[TokenEndpoint]:
    """An endpoint at `url`; with `tls` it is encrypted."""
    endpoint = TokenEndpoint()
    handler = type("Handler", (_Endpoint,), {"endpoint": endpoint})
    with _Server(("127.0.0.1", 0), handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        scheme = "http" if tls is None else "https"
        endpoint.url = f"{scheme}://127.0.0.1:{server.server_port}/tenant/oauth2/v2.0/token"
        try:
            yield endpoint
        finally:
            endpoint.over.set()
            endpoint.held.set()
            server.shutdown()
            thread.join()


class TokenRelay:
    """A relay that takes XOAUTH2 alone, and mail from its own account alone if told so.

    `good` are the tokens that it lets in. `refuses` is where it refuses another sender (MAIL, RCPT
    or DATA), and `refusal` what it says then.
    """

    def __init__(self, good: set[str]) -> None:
        self.good = good
        self.logins: list[str] = []
        self.taken: list[tuple[str, list[str]]] = []
        self.wants = SCOPE
        self.refuses = ""
        self.refusal = ""
        self.port = free_port()

    async def auth_XOAUTH2(self, server: SMTP, args: list[str]) -> AuthResult:  # noqa: N802
        given = base64.b64decode(args[1]).decode()
        user, bearer, *rest = given.split("\1")
        assert (user, bearer[:12], rest) == (f"user={USER}", "auth=Bearer ", ["", ""])
        self.logins.append(bearer[12:])
        if bearer[12:] in self.good:
            return AuthResult(success=True, auth_data=user)
        why = {"status": "400", "schemes": "Bearer", "scope": self.wants}
        assert await server.challenge_auth(json.dumps(why)) == b""
        return AuthResult(success=False, handled=False)

    def _said(self, point: str, sender: str | None) -> str | None:
        return self.refusal if self.refuses == point and sender != USER else None

    async def handle_MAIL(  # noqa: N802
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        said = self._said("MAIL", address)
        if said is None:
            envelope.mail_from = address
            envelope.mail_options.extend(options)
        return said or "250 2.1.0 ok"

    async def handle_RCPT(  # noqa: N802
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _: list[str]
    ) -> str:
        said = self._said("RCPT", envelope.mail_from)
        if said is None:
            envelope.rcpt_tos.append(address)
        return said or "250 2.1.5 ok"

    async def handle_DATA(  # noqa: N802
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        said = self._said("DATA", envelope.mail_from)
        if said is None:
            self.taken.append((envelope.mail_from or "", list(envelope.rcpt_tos)))
        return said or f"250 2.0.0 Ok: queued as Q{len(self.taken)}"


@contextlib.contextmanager
def token_relay(good: set[str], tls: ssl.SSLContext) -> Iterator[TokenRelay]:
    """A relay on loopback that wants STARTTLS and then a token."""
    relay = TokenRelay(good)
    controller = Controller(
        relay,
        hostname="127.0.0.1",
        port=relay.port,
        tls_context=tls,
        require_starttls=True,
        auth_required=True,
        auth_exclude_mechanism=["LOGIN", "PLAIN"],
        loop=asyncio.new_event_loop(),
    )
    controller.start()
    try:
        yield relay
    finally:
        controller.stop()
