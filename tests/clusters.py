"""Real Dask clusters on loopback: a scheduler and workers, each a process of its own."""

import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.cluster import Place, connected
from tests import servers

WAYWARD = Path(__file__).with_name("wayward_worker.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class Certified:
    """An authority's certificate, and one that it signed, with its key; PEM files."""

    ca: Path
    cert: Path
    key: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A scheduler or a worker; what it says is in `output`."""

    pid_file: Path
    output: Path

    @property
    def pid(self) -> int:
        return int(self.pid_file.read_text(encoding="ascii"))

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def said(self) -> str:
        if not self.output.exists():
            return ""
        return self.output.read_text(encoding="utf-8", errors="replace")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dask:
    """A scheduler at an address, and a place for what its workers need."""

    address: str
    folder: Path
    scheduler: Process
    certified: Certified | None = None

    @property
    def place(self) -> Place:
        mine = self.certified
        return Place(
            address=self.address,
            ca_file=mine.ca if mine else None,
            cert_file=mine.cert if mine else None,
            key_file=mine.key if mine else None,
        )

    @contextmanager
    def worker(
        self,
        name: str,
        home: Path,
        *options: str,
        env: Mapping[str, str] | None = None,
        nanny: bool = False,
    ) -> Iterator[Process]:
        """A worker with one thread and the settings that are in `home`."""
        command = [
            *(sys.executable, "-W", "ignore", "-m", "distributed.cli.dask_worker", self.address),
            *("--name", name, "--nthreads", "1", "--memory-limit", "0", "--no-dashboard"),
            *("--local-directory", str(self.folder), "--death-timeout", "20"),
            *(() if nanny else ("--no-nanny",)),
            *(() if "--contact-address" in options else ("--host", "127.0.0.1")),
            *options,
        ]
        more = {"LETTERS_HOME": str(home), **(env or {})}
        with _running(command, self.folder / name, self.certified, more) as process:
            yield process

    def await_workers(self, *names: str) -> None:
        """Wait until these are there, and nobody else."""
        with connected(self.place, seconds=servers.PATIENCE) as cluster:
            servers.await_that(
                f"the workers were {names}",
                lambda: sorted(one.name for one in cluster.workers()) == sorted(names),
                self.scheduler.said,
            )

    def at_scheduler(self, function: Callable[..., Any], **told: Any) -> Any:
        """What a function comes to within the scheduler's process."""
        with connected(self.place, seconds=servers.PATIENCE) as cluster:
            return cluster.client.run_on_scheduler(function, **told)

    def at_workers(self, function: Callable[[], Any]) -> dict[str, Any]:
        """What a function comes to within each worker's process, by its address."""
        with connected(self.place, seconds=servers.PATIENCE) as cluster:
            found: dict[str, Any] = cluster.client.run(function)
            return found


@contextmanager
def scheduler(
    folder: Path, *, port: int = 0, certified: Certified | None = None, failures: int = 3
) -> Iterator[Dask]:
    """A scheduler; a task that ended more than `failures` workers is given up."""
    folder.mkdir(parents=True, exist_ok=True)
    [port] = [port] if port else servers.free_ports(1)
    address = f"{'tls' if certified else 'tcp'}://127.0.0.1:{port}"
    command = [
        *(sys.executable, "-W", "ignore", "-m", "distributed.cli.dask_scheduler"),
        *("--host", address, "--no-dashboard", "--no-show"),
    ]
    env = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": str(failures)}
    with _running(command, folder / f"scheduler-{port}", certified, env) as process:
        servers.await_that(
            "the scheduler took connections", lambda: servers.listening(port), process.said
        )
        yield Dask(address=address, folder=folder, scheduler=process, certified=certified)


@contextmanager
def _running(
    command: Sequence[str], place: Path, certified: Certified | None, env: Mapping[str, str]
) -> Iterator[Process]:
    process = Process(pid_file=place.with_suffix(".pid"), output=place.with_suffix(".log"))
    process.pid_file.unlink(missing_ok=True)
    security: list[str] = []
    if certified is not None:
        security = [
            *("--tls-ca-file", str(certified.ca), "--tls-cert", str(certified.cert)),
            *("--tls-key", str(certified.key)),
        ]
    variables = [f"{name}={value}" for name, value in env.items()]
    whole = ["env", *variables, *command, *security, "--pid-file", str(process.pid_file)]
    # The guard removes the folder that it is given should the tests be killed.
    rubbish = place.with_suffix(".d")
    rubbish.mkdir(exist_ok=True)
    with servers.running(whole, rubbish, process.output):
        servers.await_that(
            "the process began",
            lambda: process.pid_file.exists() and process.pid_file.read_text("ascii").strip() != "",
            process.said,
        )
        yield process
