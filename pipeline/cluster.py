"""A Dask cluster: how it is reached, who works in it, and that nobody else is let in.

Dask carries Python objects as pickles, so whoever can speak to a scheduler or a worker can run any
program there. Hence only two kinds of cluster are used: one on this machine's loopback, and one
whose every connection is encrypted and proved on both sides by certificates of its own authority.
"""

import logging
import time
import warnings
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from pipeline.address import is_loopback
from pipeline.errors import Misconfigured, Unavailable

T = TypeVar("T")

INSTALL = "Install it with: pip install --require-hashes -r requirements-scale.txt"
OPEN = (
    "so anybody who reaches it could run programs there. Give the cluster certificates and write"
    " tls://, as docs/scaling.md says"
)
_OPENED = 10.0
"""Seconds that one look at the scheduler, or the end of a connection, may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a cluster's scheduler is, and what this machine proves itself with (PEM files)."""

    address: str
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Kit:
    """What letters are made with on one machine."""

    program: str
    libreoffice: str

    def __str__(self) -> str:
        return f"letters {self.program} with LibreOffice {self.libreoffice}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """A process that takes work; `name` is what people call it, `threads` what it does at once."""

    address: str
    name: str
    threads: int


class Cluster:
    """A connection to a scheduler; `client` is Dask's own. Made by `connected`."""

    def __init__(self, client: Any, place: Place) -> None:
        self.client = client
        self.place = place

    def workers(self) -> list[Worker]:
        """Who works in the cluster at this moment.

        Raises Unavailable if the scheduler does not answer, and Misconfigured for an open cluster
        that others can reach.
        """

        async def asked() -> Any:
            return await self.client.scheduler.identity(n_workers=-1)

        told = self.sync(asked, _OPENED)
        if told is None:
            raise Unavailable(
                f"The Dask scheduler at {self.place.address} does not answer any more. Everything "
                "done so far is kept; see that it runs, and run this again to go on."
            )
        found = [
            Worker(address=address, name=str(one["name"]), threads=int(one["nthreads"]))
            for address, one in told["workers"].items()
        ]
        for what, address in [
            ("scheduler", told["address"]),
            *(("worker", one.address) for one in found),
        ]:
            if is_open(address):
                raise Misconfigured(f"The Dask {what} at {address} takes all comers, {OPEN}.")
        return sorted(found, key=lambda one: one.address)

    def sync(self, work: Callable[[], Awaitable[T]], seconds: float) -> T | None:
        """What a coroutine comes to on the client's own loop; None if it takes longer than that.

        Raises Unavailable if the connection has ended.
        """
        try:
            return self.client.sync(work, callback_timeout=seconds)  # type: ignore[no-any-return]
        except TimeoutError:
            return None
        except (OSError, RuntimeError, CancelledError) as error:
            raise self.gone() from error

    def gone(self) -> Unavailable:
        """That the scheduler has gone."""
        return Unavailable(
            f"The connection to the Dask scheduler at {self.place.address} has ended. Everything "
            "done so far is kept; see that it runs, and run this again to go on."
        )


def program_version() -> str:
    """The version of this program that is installed here."""
    try:
        return metadata.version("annual-letters")
    except metadata.PackageNotFoundError:
        return "(not installed)"


def is_open(address: str) -> bool:
    """Whether an address is neither encrypted nor this machine's own."""
    parts = urlsplit(address)
    return parts.scheme != "tls" and not is_loopback(parts.hostname or "")


@contextmanager
def connected(place: Place, *, seconds: float) -> Iterator[Cluster]:
    """A connection to the scheduler, closed at the end.

    Raises Unavailable if the scheduler does not answer within `seconds`, and Misconfigured if it
    may not be used, a certificate's file cannot be, or Dask is not installed.
    """
    if is_open(place.address):
        raise Misconfigured(f"The Dask scheduler at {place.address} takes all comers, {OPEN}.")
    distributed = _distributed()
    security = _security(distributed, place)
    try:
        client = distributed.Client(
            place.address,
            security=security,
            timeout=seconds,
            set_as_default=False,
            name="letters",
        )
    except (OSError, ValueError) as error:
        reason = _reason(error)
        raise Unavailable(
            f"The Dask scheduler at {place.address} cannot be reached within {seconds:g} seconds"
            f"{reason}. Nothing is lost: see that it runs, that engine.address is right"
            f"{' and that both have certificates of one authority' if security else ''}, and run "
            "this again."
        ) from error
    try:
        yield Cluster(client, place)
    finally:
        with suppress(Exception):
            client.close(timeout=_OPENED)


def _security(distributed: Any, place: Place) -> Any:
    if not place.address.startswith("tls://"):
        return None
    files = {
        "engine.ca_file": place.ca_file,
        "engine.cert_file": place.cert_file,
        "engine.key_file": place.key_file,
    }
    for setting, file in files.items():
        if file is None:
            raise Misconfigured(f"engine.address begins with tls://, so {setting} must be set.")
        try:
            file.read_bytes()
        except OSError as error:
            raise Misconfigured(
                f"The file {file}, which {setting} names, cannot be read: {error.strerror}. Name "
                "a file in PEM form that whoever runs this may read."
            ) from None
    security = distributed.Security(
        require_encryption=True,
        tls_ca_file=str(place.ca_file),
        tls_client_cert=str(place.cert_file),
        tls_client_key=str(place.key_file),
    )
    try:
        security.get_connection_args("client")
    except OSError as error:
        raise Misconfigured(
            "The certificates that engine.ca_file, engine.cert_file and engine.key_file name "
            f"cannot be used ({getattr(error, 'reason', None) or type(error).__name__}). Name "
            "files in PEM form, the key being the certificate's own."
        ) from None
    return security


def _distributed() -> Any:
    """Dask's library, made to keep quiet: what is to be said is said by this program."""
    try:
        import distributed
        from distributed.versions import (
            VersionMismatchWarning,
        )
    except ImportError as error:
        raise Misconfigured(
            f"engine.kind is dask, and Dask is not installed here ({error}). {INSTALL}"
        ) from None
    for name in ("distributed", "tornado", "bokeh"):
        logger = logging.getLogger(name)
        for one in list(logger.handlers):
            logger.removeHandler(one)
        logger.addHandler(logging.NullHandler())
        logger.propagate = False
    # What differs is compared here by what letters are made with, not by what Dask came with.
    warnings.filterwarnings("ignore", category=VersionMismatchWarning)
    return distributed


def _reason(error: BaseException | None) -> str:
    """Why a connection was not made, as far as the errors behind one another tell."""
    seen = 0
    while error is not None and seen < 5:
        said = getattr(error, "reason", None) or getattr(error, "strerror", None)
        if said:
            return f" ({str(said).lower().replace('_', ' ')})"
        error, seen = error.__cause__ or error.__context__, seen + 1
    return ""


def soon(seconds: float) -> Callable[[], float]:
    """Seconds that are left of so many, at each call."""
    end = time.monotonic() + seconds
    return lambda: max(0.0, end - time.monotonic())
