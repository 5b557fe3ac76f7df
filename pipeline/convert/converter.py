"""One LibreOffice that stays up, supervised, and never outlives its owner."""

import contextlib
import os
import re
import selectors
import shutil
import signal
import struct
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from pipeline.capacity import resident
from pipeline.convert.directory import discard_office, own_directory, registry, remove, sweep
from pipeline.convert.fonts import EQUALS, missing
from pipeline.convert.office import START_SECONDS, Office, environment
from pipeline.convert.sandbox import NONE, Sandbox
from pipeline.errors import LetterFault, Misconfigured, Unavailable

WORKER = Path(__file__).parent.with_name("uno_worker.py")
RECYCLE_AFTER = 20_000
"""Letters after which a LibreOffice is replaced whatever it holds; its memory decides before."""
MEMORY = 500_000_000
"""Bytes of memory above which it is replaced, however few letters it has made."""
ROOM = 8 << 20
"""Bytes free below which a failure is put down to a full disk and not to the letter."""

INSTALL_FONTS = (
    "Install the Liberation fonts (apt install fonts-liberation), which do for Arial,"
    " Times New Roman and Courier New, or the font itself."
)
_NO_FONTS = "No fonts could be found on the system"
_ADDRESS = re.compile(r"#\d+\s|(?:/\S+)?\(\S*\+0x|\S+\.(?:so|bin)\S*\(|Backtrace|Unspecified")
_TAIL = 600
"""Characters that are repeated of what LibreOffice said."""


class _Failed(Exception):
    """One try at one letter did not give a PDF; says why, as a clause."""


class NotKept(Exception):
    """A document cannot be kept loaded, or is not any more; says why, as a clause.

    `ended` is true where the office failed at it and was ended; else it is as before.
    """

    def __init__(self, why: str, *, ended: bool) -> None:
        super().__init__(why)
        self.ended = ended


class Converter:
    """One LibreOffice, kept up from letter to letter; for one thread of one process at a time.

    `timeout` is the seconds one letter may take, `start_timeout` those of a start. An office that
    holds more than `memory` bytes after a letter, its worker included, is replaced before the next.
    `sandbox` is how it is kept apart from the machine; one that it does not start in is done
    without, unless it is required. A context manager: entering starts the office, leaving ends it
    and removes its directory.
    """

    def __init__(
        self,
        office: Office,
        *,
        timeout: float,
        recycle_after: int = RECYCLE_AFTER,
        memory: int = MEMORY,
        sandbox: Sandbox = NONE,
        start_timeout: float = START_SECONDS,
    ) -> None:
        self._office = office
        self._timeout = timeout
        self._start_timeout = start_timeout
        self._recycle_after = recycle_after
        self._memory = memory
        self.sandbox = sandbox
        """How the office is kept apart; once it has started, that may be less than was asked."""
        self._has_started = False
        self._made_by = os.getpid()
        self._directory: Path | None = None
        self._lock = -1
        self._worker: subprocess.Popen[bytes] | None = None
        self._converted = 0
        self._starts = 0
        self._fonts: frozenset[str] = frozenset()
        self._has_fonts = False
        self.office_pid: int | None = None
        """The process id of soffice.bin while it is up."""

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.close()  # nobody leaves what could not be entered
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def convert(self, docx: bytes, *, settle: bool = False) -> bytes:
        """Answer the PDF of a docx, not yet finished (see `finish`).

        With `settle` its rings are drawn as `export` draws them, a twentieth of a point otherwise.

        Raises `LetterFault` when this docx failed twice, each time in a fresh or proven office;
        `Unavailable` when LibreOffice cannot be started, or the disk is full; `Misconfigured` when
        a font that its words are set in is not installed.
        """
        if not docx.startswith(b"PK\x03\x04"):
            raise LetterFault("The stamped letter is not a docx (a zip file) at all.")
        reasons: list[str] = []
        while len(reasons) < 2:
            self.ready()
            if not self._has_fonts:
                self._require_fonts(docx)
            try:
                pdf = self._try(b"S" if settle else b"C", docx)
            except _Failed as failed:
                reasons.append(str(failed))
                self._stop()  # an office that failed one letter is not trusted with another
                self._blame_a_full_disk()
            else:
                self._converted += 1
                return pdf
        tries = reasons[0] if reasons[0] == reasons[1] else f"first {reasons[0]}, then {reasons[1]}"
        raise LetterFault(
            f"LibreOffice {self._office.version} failed twice to turn this letter into a PDF:"
            f" {tries}. Open its docx to see what sets it apart."
        )

    def ready(self) -> int:
        """Start an office, or a fresh one, where one is due; answer the number of the start.

        What is kept loaded (see `keep`) ends with the office that it was loaded in.
        """
        if not self._is_up() or self._converted >= self._recycle_after or self._has_grown():
            self._start()
        return self._starts

    def keep(self, asked: bytes, docx: bytes) -> None:
        """Have a document kept loaded: `asked` is the line of JSON that the worker wants of it.

        Like `export` and `forget` it neither starts an office nor tries again; all raise `NotKept`.
        """
        self._keep(b"L", asked + b"\n" + docx)

    def forget(self, number: int) -> None:
        """Have a kept document closed."""
        self._keep(b"X", str(number).encode())

    def export(self, asked: bytes) -> bytes:
        """Answer the PDF of a kept document with other values; not finished (see `finish`)."""
        try:
            pdf = self._try(b"V", asked)
        except _Failed as failed:
            self._stop()
            raise NotKept(str(failed), ended=True) from failed
        self._converted += 1
        return pdf

    def _keep(self, kind: bytes, content: bytes) -> None:
        frame = kind + struct.pack(">I", len(content)) + content
        try:
            answer, said = self._exchange(frame, self._timeout)
            if answer not in {b"K", b"N"}:
                raise _Failed(said.decode(errors="replace").strip().rstrip("."))
        except _Failed as failed:
            self._stop()
            raise NotKept(str(failed), ended=True) from failed
        if answer == b"N":
            raise NotKept(said.decode(errors="replace"), ended=False)

    def close(self) -> None:
        """End LibreOffice and remove its directory; harmless when that is done already."""
        # A forked child has this object too, but neither the office nor the directory is its own.
        if self._made_by != os.getpid():
            return
        self._stop()
        if self._directory is not None:
            remove(self._directory)
            os.close(self._lock)
            self._directory = None

    def _is_up(self) -> bool:
        return self._worker is not None and self._worker.poll() is None

    def _has_grown(self) -> bool:
        return self._converted > 0 and self.resident() > self._memory

    def resident(self) -> int:
        """Answer the bytes of memory that the office and its worker hold; 0 where none is up."""
        worker = self._worker.pid if self._worker is not None else None
        return sum(resident(pid) for pid in (self.office_pid, worker) if pid is not None)

    def _start(self) -> None:
        try:
            self._start_kept()
        except Unavailable as fault:
            kept = self.sandbox
            if self._has_started or kept.required or not (kept.bubblewrap or kept.no_network):
                raise
            reason = f"LibreOffice does not start in it ({fault.__cause__ or fault})"
            self.sandbox = Sandbox(reason=reason, fix="Set convert.sandbox to off.")
            self._start_kept()
        self._has_started = True

    def _start_kept(self) -> None:
        self._stop()
        if self._directory is None:
            self._directory, self._lock = _own_directory()
        directory = self._directory
        try:
            discard_office(directory)
            profile = directory / "profile" / "user"
            profile.mkdir(parents=True)
            if self.sandbox.bubblewrap is not None:
                (directory / "tmp").mkdir()
            (profile / "registrymodifications.xcu").write_text(registry(), encoding="utf-8")
            # The kernel's death signal follows the thread that starts a process, so it may only
            # be asked for by the thread that lasts as long as the process.
            tie = "tied" if threading.current_thread() is threading.main_thread() else "free"
            with (directory / "stderr").open("wb") as stderr:
                self._worker = subprocess.Popen(  # noqa: S603  (no shell)
                    [
                        *(self._office.python, "-I", WORKER),
                        *(str(os.getpid()), tie, self._office.program, directory),
                        *self.sandbox.command(directory, self._office.program),
                    ],
                    cwd=directory,
                    env=environment(directory),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=stderr,
                    bufsize=0,
                    start_new_session=True,
                )
            kind, content = self._exchange(b"", self._start_timeout)
            if kind != b"R":
                raise _Failed(f"it answered {kind!r}")
        except (OSError, _Failed) as fault:
            self._stop()
            self._blame_a_full_disk()
            self._blame_missing_fonts(directory / "stderr")
            raise Unavailable(
                f"LibreOffice {self._office.version} ({self._office.program}) does not start:"
                f" {fault}. It last said: {_tail(directory / 'stderr') or 'nothing'}."
                " Install it again, or name another in LETTERS_SOFFICE; then run this again."
            ) from fault
        pid, *fonts = content.decode().splitlines()
        self.office_pid = int(pid)
        self._fonts, self._has_fonts = frozenset(fonts), False
        self._converted = 0
        self._starts += 1

    def _stop(self) -> None:
        worker, self._worker, self.office_pid = self._worker, None, None
        if worker is None or self._made_by != os.getpid():
            return
        _stdin(worker).close()  # at which the worker ends its office, takes its exit code and goes
        with selectors.DefaultSelector() as selector:
            selector.register(_stdout(worker), selectors.EVENT_READ)
            deadline = time.monotonic() + 2
            while selector.select(max(0.0, deadline - time.monotonic())):
                if not _stdout(worker).read(1 << 16):
                    break
        _stdout(worker).close()
        # The group's number is still its own here, because its leader has not been waited for.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()

    def _try(self, asked: bytes, content: bytes) -> bytes:
        frame = asked + struct.pack(">I", len(content)) + content
        kind, content = self._exchange(frame, self._timeout)
        if kind == b"F":
            raise _Failed(content.decode(errors="replace").strip().rstrip("."))
        if kind != b"P":
            raise _Failed(f"the worker answered {kind!r}")
        if not content.startswith(b"%PDF-"):
            raise _Failed("what came back is no PDF")
        if not content.rstrip().endswith(b"%%EOF"):
            raise _Failed("the PDF that came back breaks off")
        return content

    def _exchange(self, frame: bytes, seconds: float) -> tuple[bytes, bytes]:
        """Write a frame and read the one that answers it; both within the seconds given."""
        try:
            return self._write_and_read(frame, seconds)
        except BaseException:
            # Also when a person interrupts: an answer left unread would pass for the next one's.
            self._stop()
            raise

    def _write_and_read(self, frame: bytes, seconds: float) -> tuple[bytes, bytes]:
        worker = self._worker
        if worker is None:
            raise _Failed("the worker is not there")
        stdin, stdout = _stdin(worker), _stdout(worker)
        deadline = time.monotonic() + seconds
        left = memoryview(frame)
        answer = bytearray()
        os.set_blocking(stdin.fileno(), False)
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            if left:
                selector.register(stdin, selectors.EVENT_WRITE)
            while len(answer) < 5 or len(answer) < 5 + struct.unpack(">I", answer[1:5])[0]:
                ready = selector.select(max(0.0, deadline - time.monotonic()))
                if not ready and time.monotonic() >= deadline:
                    raise _Failed(f"no answer within {seconds:g} seconds")
                for key, _ in ready:
                    if key.fileobj is stdout:
                        part = stdout.read(1 << 20)
                        if not part:
                            raise _Failed("LibreOffice crashed or was killed")
                        answer += part
                    else:
                        try:
                            left = left[stdin.write(left) or 0 :]
                        except BrokenPipeError as fault:
                            raise _Failed("LibreOffice crashed or was killed") from fault
                        if not left:
                            selector.unregister(stdin)
        return bytes(answer[:1]), bytes(answer[5:])

    def _blame_a_full_disk(self) -> None:
        if self._directory is not None and shutil.disk_usage(self._directory).free < ROOM:
            raise Unavailable(
                f"There is no room left in {self._directory.parent}, where LibreOffice works."
                " Make room there, or set TMPDIR to another place."
            )

    def _blame_missing_fonts(self, stderr: Path) -> None:
        if _NO_FONTS in _read(stderr):
            raise Misconfigured(
                "LibreOffice does not start, because this machine has no fonts at all."
                f" {INSTALL_FONTS}"
            )

    def _require_fonts(self, docx: bytes) -> None:
        """Before letters are made: LibreOffice would set them in another font and not say so.

        Asked of the first letter after each start: those of a run are of one template.
        """
        lacking = missing(docx, self._fonts)
        if not lacking:
            self._has_fonts = True
            return
        name = lacking[0]
        others = " or ".join(EQUALS.get(name, ()))
        raise Misconfigured(
            f"The letters are set in {' and in '.join(lacking)}, which this machine does not have"
            + (f" (nor {others}, which would do for {name})" if others else "")
            + f": their lines would break elsewhere. {INSTALL_FONTS}"
            " Or set the template in a font that is here."
        )


def _own_directory() -> tuple[Path, int]:
    root = "any temporary folder"
    try:
        root = tempfile.gettempdir()
        sweep(Path(root))
        return own_directory(Path(root))
    except OSError as fault:
        raise Unavailable(
            f"LibreOffice cannot be given a directory in {root}: {fault.strerror or fault}."
            " Make room there, or set TMPDIR to another place."
        ) from fault


def _stdin(worker: subprocess.Popen[bytes]) -> IO[bytes]:
    assert worker.stdin is not None  # noqa: S101  (it was asked for)
    return worker.stdin


def _stdout(worker: subprocess.Popen[bytes]) -> IO[bytes]:
    assert worker.stdout is not None  # noqa: S101  (it was asked for)
    return worker.stdout


def _tail(path: Path) -> str:
    """What was said last, without the list of addresses that a crash prints."""
    lines = [line.strip() for line in _read(path).splitlines()]
    told = [line for line in lines if line and not _ADDRESS.match(line)]
    return " ".join(told)[-_TAIL:].rstrip(".")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
