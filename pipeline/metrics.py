"""What Prometheus is told: the ledger's counts, in its text format, whenever it asks.

Labels are years, modes, states and relays. No authority is one, and no person: what is watched is
open to everybody who may look at graphs.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from pipeline import log
from pipeline.delivery import Mode
from pipeline.errors import LettersError, Refused
from pipeline.ledger.counts import Counts

if TYPE_CHECKING:
    from prometheus_client.core import GaugeMetricFamily

LOOPBACK = "127.0.0.1"
PATH = "/metrics"

_SECONDS = 10  # that whoever asks may take to do so


def exposition(counts: Counts, *, now: datetime) -> bytes:
    """The counts as Prometheus reads them: the text format, UTF-8."""
    from prometheus_client import CollectorRegistry, generate_latest  # noqa: PLC0415
    from prometheus_client.registry import Collector  # noqa: PLC0415

    class Ledger(Collector):
        def collect(self) -> Iterable["GaugeMetricFamily"]:
            return _families(counts, now)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Ledger())
    return generate_latest(registry)


def _families(counts: Counts, now: datetime) -> Iterator["GaugeMetricFamily"]:
    from prometheus_client.core import GaugeMetricFamily  # noqa: PLC0415

    def gauge(
        name: str, said: str, labels: Iterable[str], values: Iterable[tuple[Iterable[Any], float]]
    ) -> GaugeMetricFamily:
        family = GaugeMetricFamily(f"letters_{name}", said, labels=list(labels))
        for of, value in values:
            family.add_metric([str(one) for one in of], value)
        return family

    yield gauge(
        "letters",
        "Letters of each year's run, by how they stand.",
        ("year", "state"),
        counts.letters.items(),
    )
    yield gauge(
        "deliveries",
        "Deliveries of each year's run, by mode and state; only live is mail to authorities.",
        ("year", "mode", "state"),
        (
            ((year, mode.value, state.value), number)
            for (year, mode, state), number in counts.deliveries.items()
        ),
    )
    yield gauge(
        "needing_a_person",
        "Letters that cannot be made, and deliveries that failed or are in doubt and were not made "
        "up for since.",
        ("year", "mode"),
        (((year, mode.value), number) for (year, mode), number in counts.pressing.items()),
    )
    yield gauge(
        "paused",
        "Whether somebody has paused the year's run.",
        ("year",),
        (((year,), float(paused)) for year, paused in counts.paused.items()),
    )
    yield gauge(
        "oldest_doubt_age_seconds",
        "How long the oldest delivery has been in doubt, by mode; 0 where none is.",
        ("mode",),
        [((mode.value,), _age(counts.doubts.get(mode), now)) for mode in Mode],
    )
    if counts.newest is not None:
        yield gauge(
            "last_event_age_seconds",
            "How long ago the last thing happened that is on record.",
            (),
            [((), _age(counts.newest, now))],
        )
    yield gauge(
        "relay_in_trouble",
        "Whether the relay is left alone because it could not be used.",
        ("relay",),
        (((one.relay,), float(one.in_trouble_since is not None)) for one in counts.relays),
    )
    yield gauge(
        "relay_trouble_age_seconds",
        "How long the relay has been in trouble; 0 if it is well.",
        ("relay",),
        (((one.relay,), _age(one.in_trouble_since, now)) for one in counts.relays),
    )
    yield gauge(
        "starts",
        "Starts of the schedule: due (and not done), done or missed.",
        ("year", "step", "mode", "standing"),
        (
            ((one.year, one.step.value, one.mode.value, standing), float(holds))
            for one in counts.starts
            for standing, holds in (
                ("due", not one.done and not one.missed),
                ("done", one.done),
                ("missed", one.missed),
            )
        ),
    )
    yield gauge(
        "alerts_open",
        "What needs a person, for all that the schedule has put on record, by kind and mode.",
        ("kind", "mode"),
        (((kind, mode.value), number) for (kind, mode), number in counts.alerts.items()),
    )
    yield gauge(
        "returned_mail_waiting",
        "Mail that came back and waits for a person, by what it is.",
        ("kind",),
        (((kind.value,), number) for kind, number in counts.returned.items()),
    )


def _age(since: datetime | None, now: datetime) -> float:
    return 0.0 if since is None else max(0.0, (now - since).total_seconds())


@contextmanager
def served(text: Callable[[], bytes], *, host: str = LOOPBACK, port: int) -> Iterator[str]:
    """Answer at http://HOST:PORT/metrics with what `text` gives at that moment; the URL.

    Where that raises, the answer is 503, and whoever watches sees that it is down. Raises Refused
    if nothing can listen there. Port 0 takes any that is free.
    """
    from prometheus_client.exposition import CONTENT_TYPE_LATEST  # noqa: PLC0415

    class Answer(BaseHTTPRequestHandler):
        timeout = _SECONDS
        server_version = "letters"
        sys_version = ""

        def do_GET(self) -> None:
            if self.path.partition("?")[0] != PATH:
                self._say(HTTPStatus.NOT_FOUND, "text/plain", f"Ask for {PATH}.\n".encode())
                return
            try:
                body = text()
            except LettersError as fault:
                log.error("metrics.stopped", error=type(fault).__name__)
                said = b"The ledger cannot be read at this moment; letters check says why.\n"
                self._say(HTTPStatus.SERVICE_UNAVAILABLE, "text/plain", said)
                return
            self._say(HTTPStatus.OK, CONTENT_TYPE_LATEST, body)

        def _say(self, status: HTTPStatus, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *_arguments: object) -> None:  # noqa: A002
            """Nothing: who looks how often is nobody's news."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
            """Nothing to standard error: whoever asked has hung up, or gets no answer."""
            log.error("metrics.stopped")

    try:
        server = Server((host, port), Answer)
    except (OSError, OverflowError) as error:
        raise Refused(
            f"Nothing can listen at {host} port {port}: {getattr(error, 'strerror', None) or error}"
            ". Choose another with --metrics-port, or --metrics-host."
        ) from error
    with server:
        thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
        thread.start()
        try:
            where = f"[{host}]" if ":" in host else host
            yield f"http://{where}:{server.server_address[1]}{PATH}"
        finally:
            server.shutdown()
            thread.join()
