"""A real S3 server for the tests, in a process of its own, and a way to it that has faults.

The server is moto's (`s3_server.py`), on loopback. What can go wrong between it and who asks does
so in `Way`, one fault for one request.
"""

import http.client
import socket
import struct
import sys
import threading
import urllib.parse
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from tests import servers

KEYS = {
    "AWS_ACCESS_KEY_ID": "AKIALETTERSFORTESTS1",
    "AWS_SECRET_ACCESS_KEY": "swordfish/swordfish/swordfish/swordfish1",
    "AWS_REGION": "eu-west-2",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/nonexistent",
    "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
}
"""What the server is told by whom it is asked; nobody's."""

_SOMEBODY = {
    "Authorization": "AWS4-HMAC-SHA256 Credential=TEST/20201123/eu-west-2/s3/aws4_request,"
    " SignedHeaders=host, Signature=0"
}
"""The server looks whether a request is signed, and not by whom."""
_NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """A running server; what lies in it is seen and changed here past all that is tested."""

    port: int
    scheme: str = "http"

    @property
    def endpoint(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def ask(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> "Answer":
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=servers.PATIENCE)
        try:
            connection.request(method, path, body, headers or _SOMEBODY)
            answer = connection.getresponse()
            return Answer(status=answer.status, headers=answer.getheaders(), body=answer.read())
        finally:
            connection.close()

    def make_bucket(self) -> str:
        """A new bucket; its name."""
        name = f"letters-{uuid.uuid4().hex[:12]}"
        there = (
            "<CreateBucketConfiguration><LocationConstraint>eu-west-2</LocationConstraint>"
            "</CreateBucketConfiguration>"
        )
        assert self.ask("PUT", f"/{name}", there.encode()).status == 200
        return name

    def put(self, bucket: str, key: str, data: bytes) -> None:
        assert self.ask("PUT", f"/{bucket}/{urllib.parse.quote(key)}", data).status == 200

    def delete(self, bucket: str, key: str) -> None:
        assert self.ask("DELETE", f"/{bucket}/{urllib.parse.quote(key)}").status == 204

    def keys(self, bucket: str) -> list[str]:
        found: list[str] = []
        after = ""
        while True:
            asked = urllib.parse.urlencode({"list-type": "2", "start-after": after})
            page = ET.fromstring(self.ask("GET", f"/{bucket}?{asked}").body)  # noqa: S314 - our own server's
            found += [str(one.text) for one in page.iter(f"{_NAMESPACE}Key")]
            if page.findtext(f"{_NAMESPACE}IsTruncated") != "true":
                return found
            after = found[-1]

    def objects(self, bucket: str) -> dict[str, bytes]:
        """Everything in a bucket."""
        return {
            key: self.ask("GET", f"/{bucket}/{urllib.parse.quote(key)}").body
            for key in self.keys(bucket)
        }


@contextmanager
def running_s3(certificate: Path | None = None, key: Path | None = None) -> Iterator[Store]:
    """Start a server with nothing in it, and end it; with a certificate it speaks HTTPS."""
    [port] = servers.free_ports(1)
    with servers.folder("letters-s3-") as place:
        output = place / "output"
        program = Path(__file__).with_name("s3_server.py")
        command: list[str | Path] = [sys.executable, "-W", "ignore", program, str(port)]
        if certificate is not None and key is not None:
            command += [certificate, key]
        with servers.running(command, place, output):
            servers.await_that(
                "the S3 server took connections",
                lambda: servers.listening(port),
                lambda: output.read_text(encoding="utf-8", errors="replace")[-2000:],
            )
            yield Store(port=port, scheme="https" if certificate else "http")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a server answered."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


@dataclass(slots=True, kw_only=True)
class Turn:
    """One request on its way; a fault does with it what it likes, once."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    store: Store
    released: threading.Event
    _out: Any = field(repr=False)

    @property
    def key(self) -> str:
        """What is asked for, without its question: /bucket/key."""
        return urllib.parse.unquote(self.path.partition("?")[0])

    def forward(self) -> Answer:
        return self.store.ask(self.method, self.path, self.body, self.headers)

    def give(self, answer: Answer, *, length: int | None = None) -> None:
        """Hand an answer over, as one of `length` bytes if that is said."""
        kept = [
            (name, value)
            for name, value in answer.headers
            if name.lower() not in {"content-length", "connection", "transfer-encoding"}
        ]
        size = len(answer.body) if length is None else length
        body = answer.body
        if self.method == "HEAD":
            size, body = int(dict(answer.headers).get("Content-Length", "0")), b""
        lines = [f"HTTP/1.1 {answer.status} So"]
        lines += [f"{name}: {value}" for name, value in kept]
        lines += [f"Content-Length: {size}", "Connection: close", "", ""]
        self._out.write("\r\n".join(lines).encode("latin-1") + body)
        self._out.flush()

    def refuse(self, status: int, code: str, words: str = "No.", **more: str) -> None:
        """Answer as S3 does when it says no."""
        told = {"Code": code, "Message": words, **more}
        inside = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in told.items())
        body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{inside}</Error>'.encode()
        headers = [("Content-Type", "application/xml"), ("x-amz-request-id", "0123456789ABCDEF")]
        if "Region" in more:
            headers.append(("x-amz-bucket-region", more["Region"]))
        self.give(Answer(status=status, headers=headers, body=body))


Fault = Callable[[Turn], None]


class _Gone(Exception):
    """The connection is to be cut."""


def passed(turn: Turn) -> None:
    """Nothing is wrong."""
    turn.give(turn.forward())


def dropped_before(_turn: Turn) -> None:
    """The server never hears of it."""
    raise _Gone


def dropped_after(turn: Turn) -> None:
    """The server does it, and its answer is lost."""
    turn.forward()
    raise _Gone


def slow_down(turn: Turn) -> None:
    turn.refuse(503, "SlowDown", "Please reduce your request rate.")


def truncated(turn: Turn) -> None:
    """Half an answer, that said it was a whole one."""
    answer = turn.forward()
    half = Answer(
        status=answer.status, headers=answer.headers, body=answer.body[: len(answer.body) // 2]
    )
    turn.give(half, length=len(answer.body))
    raise _Gone


def spoilt_down(turn: Turn) -> None:
    """One bit of the answer's body is another."""
    answer = turn.forward()
    turn.give(Answer(status=answer.status, headers=answer.headers, body=spoilt(answer.body)))


def spoilt_up(turn: Turn) -> None:
    """One bit of the request's body is another."""
    turn.body = spoilt(turn.body)
    turn.give(turn.forward())


def spoilt(data: bytes) -> bytes:
    """The same with one bit changed."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def stalled(turn: Turn) -> None:
    """It is taken, and never answered."""
    turn.released.wait(servers.PATIENCE)
    raise _Gone


def unconditional(turn: Turn) -> None:
    """A server that has never heard of conditions, and says so."""
    if any(name.lower() == "if-none-match" for name in turn.headers):
        turn.refuse(501, "NotImplemented", "A header you provided is not implemented.")
    else:
        passed(turn)


def careless(turn: Turn) -> None:
    """A server that has never heard of conditions, and does not say so."""
    turn.headers = {
        name: value for name, value in turn.headers.items() if name.lower() != "if-none-match"
    }
    passed(turn)


def refused(status: int, code: str, words: str = "No.", **more: str) -> Fault:
    """A server that says no."""
    return lambda turn: turn.refuse(status, code, words, **more)


class Way:
    """A way to the server: `faults` befall one request each, then `always` all that follow."""

    def __init__(self, store: Store) -> None:
        self.faults: deque[Fault] = deque()
        self.always: Fault = passed
        self.asked: list[tuple[str, str]] = []
        """Method and path of every request, in the order in which they came."""
        self._store = store
        self._released = threading.Event()
        self._guard = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = False  # so that all are waited for at the end

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def methods(self) -> list[str]:
        return [method for method, _ in self.asked]

    def _next(self, turn: Turn) -> None:
        with self._guard:
            self.asked.append((turn.method, turn.path))
            fault = self.faults.popleft() if self.faults else self.always
        fault(turn)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        way = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = servers.PATIENCE

            def parse_request(self) -> bool:
                # Whatever the method, it is handled alike.
                parsed = super().parse_request()
                if parsed:
                    self.command, self.method = "ANY", self.command
                return parsed

            def do_ANY(self) -> None:
                self.close_connection = True
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                turn = Turn(
                    method=self.method,
                    path=self.path,
                    headers={
                        name: value for name, value in self.headers.items() if name != "Expect"
                    },
                    body=body,
                    store=way._store,
                    released=way._released,
                    _out=self.wfile,
                )
                try:
                    way._next(turn)
                except _Gone:
                    # A reset and not an orderly end: what was under way is lost.
                    self.connection.setsockopt(
                        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                    )
                    self.connection.close()
                except OSError:
                    self.connection.close()  # who asked did not wait for the answer

            def log_message(self, *_: Any) -> None:
                pass

        return Handler

    @contextmanager
    def open(self) -> Iterator["Way"]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield self
        finally:
            self._released.set()
            self._server.shutdown()
            thread.join()
            self._server.server_close()
