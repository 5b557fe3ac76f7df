"""Turn a docx into a PDF with one LibreOffice that stays up, and never outlives its owner.

A `Converter` runs `uno_worker.py` under the distribution's own Python, the only one that can
`import uno`; the worker starts soffice.bin on a private profile and the two are one process group.
Whatever goes wrong with a letter (no answer in time, a crash, a refusal), the whole group is
killed, a new one started and the letter tried once more; a letter that fails twice is set aside
and the next one finds a fresh office. After a `kill -9` of the owner both processes die by
themselves; the directory they leave is swept by the next `Converter`.

`finish` then sets the few bytes in which two exports of the same docx differ.
"""

import contextlib
import dataclasses
import datetime as dt
import fcntl
import functools
import hashlib
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
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Self
from xml.sax.saxutils import quoteattr

from pipeline.errors import LetterFault, Misconfigured, Unavailable

WORKER = Path(__file__).with_name("uno_worker.py")
START_SECONDS = 60.0
"""How long a LibreOffice may take to start, the first time on a cold disk included."""
RECYCLE_AFTER = 400
"""Letters after which a LibreOffice is replaced by a fresh one, before its memory has grown."""
PREFIX = "letters-office-"
ROOM = 8 << 20
"""Bytes free below which a failure is put down to a full disk and not to the letter."""

INSTALL = (
    "Install LibreOffice Writer and its Python bridge by hand"
    " (apt install libreoffice-writer-nogui python3-uno),"
    " or name another LibreOffice in the environment variable LETTERS_SOFFICE."
)

_SETTINGS: dict[str, dict[str, bool | int | str]] = {
    "/org.openoffice.Office.Common/Security/Scripting": {
        "DisableActiveContent": True,
        "DisableMacrosExecution": True,
        "MacroSecurityLevel": 3,
        "BlockUntrustedRefererLinks": True,
    },
    "/org.openoffice.Office.Writer/Content/Update": {"Link": 0},  # never
    "/org.openoffice.Office.Calc/Content/Update": {"Link": 1},  # never
    # Whatever gets past the blocks above finds a proxy that is not there (port 9, discard).
    "/org.openoffice.Inet/Settings": {
        "ooInetProxyType": 2,
        "ooInetHTTPProxyName": "127.0.0.1",
        "ooInetHTTPProxyPort": 9,
        "ooInetHTTPSProxyName": "127.0.0.1",
        "ooInetHTTPSProxyPort": 9,
        "ooInetNoProxy": "",
    },
    "/org.openoffice.Office.Recovery/RecoveryInfo": {"Enabled": False},
    "/org.openoffice.Office.Recovery/AutoSave": {"Enabled": False},
    "/org.openoffice.Office.Common/Misc": {
        "FirstRun": False,
        "CrashReport": False,
        "ShowTipOfTheDay": False,
    },
    "/org.openoffice.Office.Common/History": {"PickListSize": 0},
    "/org.openoffice.Office.Java/VirtualMachine": {"Enable": False},
    "/org.openoffice.Setup/Office": {"ooSetupInstCompleted": True, "MigrationCompleted": True},
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Office:
    """A LibreOffice that was found: its soffice.bin, a Python with uno, and its version."""

    program: Path
    python: Path
    version: str


def find_office() -> Office:
    """Find LibreOffice and a Python that can `import uno`; takes some tenths of a second.

    Looks at LETTERS_SOFFICE (a program or its directory) and nowhere else if that is set, then at
    `soffice` and `libreoffice` on PATH, /usr/lib/libreoffice and /opt/libreoffice*.
    Raises `Misconfigured`, which says what to install, when there is none.
    """
    faults = []
    for program in _programs():
        version = _ask(program, "--version", "-env:UserInstallation=file:///nonexistent")
        found = re.search(r"\b\d+(\.\d+)+\b", version or "")
        if found is None:
            faults.append(f"{program} does not tell its version.")
            continue
        # A LibreOffice not from the distribution brings a Python of its own; it goes first,
        # because /usr/bin/python3 may have the bridge to another version.
        for python in (program.with_name("python"), Path("/usr/bin/python3")):
            if python.is_file() and _ask(python, "-I", "-c", "import uno; print('uno')") == "uno":
                return Office(program=program, python=python, version=found.group())
        faults.append(f"For {program} there is no Python that can import uno.")
    named = os.environ.get("LETTERS_SOFFICE")
    if named and not faults:
        faults.append(f"LETTERS_SOFFICE names {named}, where there is no soffice.bin.")
    raise Misconfigured(" ".join(["LibreOffice was not found.", *faults, INSTALL]))


def _programs() -> Iterator[Path]:
    named = os.environ.get("LETTERS_SOFFICE")
    if named:
        places = [Path(named)]
    else:
        on_path = [shutil.which(name) for name in ("soffice", "libreoffice")]
        places = [Path(place) for place in on_path if place]
        places.append(Path("/usr/lib/libreoffice/program"))
        places += sorted(Path("/opt").glob("libreoffice*/program"), reverse=True)
    seen = set()
    for place in places:
        directory = place.resolve() if place.is_dir() else place.resolve().parent
        for program in (directory / "soffice.bin", directory / "program" / "soffice.bin"):
            if program.is_file() and program not in seen:
                seen.add(program)
                yield program


def _environment(home: Path) -> dict[str, str]:
    # UTC, because LibreOffice writes local time into the PDF; nothing of the owner's environment,
    # because it may hold secrets and a virtual environment's paths.
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": str(home),
        "TMPDIR": str(home),
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "SAL_USE_VCLPLUGIN": "svp",
    }


def _ask(*command: str | Path) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603  (no shell)
            command,
            cwd="/",
            env=_environment(Path("/nonexistent")),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=START_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace").strip() if done.returncode == 0 else None


class _Failed(Exception):
    """One try at one letter did not give a PDF; says why, as a clause."""


class Converter:
    """One LibreOffice, kept up from letter to letter; for one thread of one process at a time.

    `timeout` is the seconds one letter may take. A context manager: entering starts the office,
    leaving ends it and removes its directory.
    """

    def __init__(
        self, office: Office, *, timeout: float, recycle_after: int = RECYCLE_AFTER
    ) -> None:
        self._office = office
        self._timeout = timeout
        self._recycle_after = recycle_after
        self._made_by = os.getpid()
        self._directory: Path | None = None
        self._lock = -1
        self._worker: subprocess.Popen[bytes] | None = None
        self._converted = 0
        self.office_pid: int | None = None
        """The process id of soffice.bin while it is up."""

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def convert(self, docx: bytes) -> bytes:
        """Answer the PDF of a docx, not yet finished (see `finish`).

        Raises `LetterFault` when this docx failed twice, each time in a fresh or proven office;
        `Unavailable` when LibreOffice cannot be started, or the disk is full.
        """
        if not docx.startswith(b"PK\x03\x04"):
            raise LetterFault("The stamped letter is not a docx (a zip file) at all.")
        reasons: list[str] = []
        while len(reasons) < 2:
            if not self._is_up() or self._converted >= self._recycle_after:
                self._start()
            try:
                pdf = self._try(docx)
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

    def close(self) -> None:
        """End LibreOffice and remove its directory; harmless when that is done already."""
        # A forked child has this object too, but neither the office nor the directory is its own.
        if self._made_by != os.getpid():
            return
        self._stop()
        if self._directory is not None:
            _remove(self._directory)
            os.close(self._lock)
            self._directory = None

    def _is_up(self) -> bool:
        return self._worker is not None and self._worker.poll() is None

    def _start(self) -> None:
        self._stop()
        if self._directory is None:
            root = Path(tempfile.gettempdir())
            _sweep(root)
            try:
                self._directory, self._lock = _own_directory(root)
            except OSError as fault:
                raise Unavailable(
                    f"LibreOffice cannot be given a directory in {root}: {fault}."
                    " Make room there, or set TMPDIR to another place."
                ) from fault
        directory = self._directory
        try:
            _discard_office(directory)
            profile = directory / "profile" / "user"
            profile.mkdir(parents=True)
            (profile / "registrymodifications.xcu").write_text(_registry(), encoding="utf-8")
            # The kernel's death signal follows the thread that starts a process, so it may only
            # be asked for by the thread that lasts as long as the process.
            tie = "tied" if threading.current_thread() is threading.main_thread() else "free"
            with (directory / "stderr").open("wb") as stderr:
                self._worker = subprocess.Popen(  # noqa: S603  (no shell)
                    [
                        *(self._office.python, "-I", WORKER),
                        *(str(os.getpid()), tie, self._office.program, directory),
                    ],
                    cwd=directory,
                    env=_environment(directory),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=stderr,
                    bufsize=0,
                    start_new_session=True,
                )
            kind, content = self._exchange(b"", START_SECONDS)
            if kind != b"R":
                raise _Failed(f"it answered {kind!r}")
        except (OSError, _Failed) as fault:
            self._stop()
            self._blame_a_full_disk()
            raise Unavailable(
                f"LibreOffice {self._office.version} ({self._office.program}) does not start:"
                f" {fault}. It last said: {_tail(directory / 'stderr') or 'nothing'}"
            ) from fault
        self.office_pid = int(content)
        self._converted = 0

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

    def _try(self, docx: bytes) -> bytes:
        frame = b"C" + struct.pack(">I", len(docx)) + docx
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


def _stdin(worker: subprocess.Popen[bytes]) -> IO[bytes]:
    assert worker.stdin is not None  # noqa: S101  (it was asked for)
    return worker.stdin


def _stdout(worker: subprocess.Popen[bytes]) -> IO[bytes]:
    assert worker.stdout is not None  # noqa: S101  (it was asked for)
    return worker.stdout


def _tail(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()[-1000:]
    except OSError:
        return ""


def _registry() -> str:
    items = []
    for path, settings in _SETTINGS.items():
        for name, value in settings.items():
            text = str(value).lower() if isinstance(value, bool) else str(value)
            items.append(
                f"<item oor:path={quoteattr(path)}><prop oor:name={quoteattr(name)}"
                f' oor:op="fuse"><value>{text}</value></prop></item>'
            )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<oor:items xmlns:oor="http://openoffice.org/2001/registry">\n'
        + "\n".join(items)
        + "\n</oor:items>\n"
    )


def _own_directory(root: Path) -> tuple[Path, int]:
    # Locked under another name and then renamed, so that a sweep in another process never sees
    # it unlocked. The lock ends with its owner, also after kill -9, also in another container.
    new = Path(tempfile.mkdtemp(prefix="letters-new-", dir=root))
    lock = os.open(new / "owner", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return new.rename(root / (PREFIX + new.name.removeprefix("letters-new-"))), lock


def _sweep(root: Path) -> None:
    for directory in root.glob(PREFIX + "*"):
        try:
            if directory.is_symlink() or directory.stat().st_uid != os.geteuid():
                continue
            lock = os.open(directory / "owner", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            _remove(directory)  # an earlier sweep was cut short
            continue
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue  # its owner lives
        else:
            _remove(directory)
        finally:
            os.close(lock)


def _remove(directory: Path) -> None:
    _discard_office(directory)
    shutil.rmtree(directory, ignore_errors=True)


def _discard_office(directory: Path) -> None:
    """Remove what a killed office left: its profile, its files, and its sockets in /tmp."""
    sockets = directory / "sockets"
    if sockets.is_file():
        for line in sockets.read_text(encoding="utf-8").splitlines():
            if Path(line).name.startswith("OSL_PIPE_"):
                Path(line).unlink(missing_ok=True)
    for path in directory.iterdir() if directory.is_dir() else ():
        if path.name == "owner":
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


_DATE = re.compile(rb"/(?:CreationDate|ModDate)\(D:(\d{14}Z)'?\)")
_XMP_DATE = re.compile(
    rb"<xmp:(?:CreateDate|ModifyDate|MetadataDate)>(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)<"
)
_ID = re.compile(rb"/ID ?\[ ?<([0-9A-Fa-f]{32})>\s*<([0-9A-Fa-f]{32})> ?\]")
_CHECKSUM = re.compile(rb"/DocChecksum ?/([0-9A-Fa-f]{32})")
_CONFORMANCE = re.compile(rb"<pdfaid:part>2</pdfaid:part>\s*<pdfaid:conformance>([AB])<")
_TAGGED = (b"/MarkInfo<</Marked true>>", b"/StructTreeRoot ", b"/Lang(", b"/DisplayDocTitle true")
_PROFILE = re.compile(rb"<</N 3/Length (\d+) 0 R/Filter/FlateDecode>>\s*stream\r?\n")
_XREF = re.compile(rb"(\d{10}) \d{5} n")
_START = re.compile(rb"startxref\s+(\d+)\s+%%EOF\s*$")


def finish(pdf: bytes, *, created: dt.datetime, seed: str) -> bytes:
    """Answer the PDF with its dates and identifiers set, the same bytes from the same docx.

    `created` (aware) becomes every date in it; `seed`, best the SHA-256 of the docx, decides /ID
    and the checksum. A PDF that is tagged, in a stated language, with every font mapped to
    Unicode, is also marked PDF/A-2A, where LibreOffice writes 2B whatever it holds. Nothing is
    parsed or compressed anew but the colour profile, which holds the second it was made in: under
    half a millisecond, where reading and saving with pikepdf takes two. "The same bytes"
    supposes the same LibreOffice, fonts and zlib.
    Raises `Unavailable` when the bytes are not those of a LibreOffice that is known.
    """
    if created.tzinfo is None:
        raise ValueError("created must be aware")
    utc = created.astimezone(dt.UTC)
    digest = hashlib.sha256(seed.encode()).hexdigest().upper().encode()
    patches = [
        ("a creation date in UTC", _DATE, [utc.strftime("%Y%m%d%H%M%SZ").encode()]),
        ("an XMP date in UTC", _XMP_DATE, [utc.strftime("%Y-%m-%dT%H:%M:%SZ").encode()]),
        ("an /ID", _ID, [digest[:32], digest[:32]]),
        ("a /DocChecksum", _CHECKSUM, [digest[32:]]),
    ]
    if _may_be_called_accessible(pdf):
        patches.append(("a PDF/A-2 mark", _CONFORMANCE, [b"A"]))
    patched = bytearray(pdf)
    for what, pattern, values in patches:
        found = False
        for match in pattern.finditer(pdf):
            found = True
            for group, value in enumerate(values, start=1):
                patched[match.start(group) : match.end(group)] = value
        if not found:
            raise _unknown_office(what)
    return _with_timeless_profile(bytes(patched))


def _unknown_office(what: str) -> Unavailable:
    return Unavailable(
        f"The PDF from LibreOffice has not {what} where one is known to stand;"
        " use LibreOffice 25.2, or have `finish` in pipeline/convert.py taught this one's ways."
    )


def _may_be_called_accessible(pdf: bytes) -> bool:
    # LibreOffice writes these objects uncompressed. A CID font has its mapping in its parent.
    fonts = pdf.count(b"/Type/Font/Subtype/") - pdf.count(b"/Type/Font/Subtype/CIDFont")
    return all(mark in pdf for mark in _TAGGED) and pdf.count(b"/ToUnicode ") >= fonts


def _with_timeless_profile(pdf: bytes) -> bytes:
    """Take the time of its making out of the colour profile, which is compressed.

    Its length changes by a byte or two with the time, so what follows it moves.
    """
    stream = _PROFILE.search(pdf)
    if stream is None:
        return pdf  # not PDF/A: there is no profile
    length = re.compile(rb"\n%b 0 obj\s+(\d+)\s+endobj" % stream[1]).search(pdf, stream.end())
    start = _START.search(pdf)
    if length is None or start is None:
        raise _unknown_office("a colour profile and a cross-reference table")
    end = stream.end() + int(length[1])
    profile = bytearray(zlib.decompress(pdf[stream.end() : end]))
    profile[24:36] = struct.pack(">6H", 2000, 1, 1, 0, 0, 0)  # ICC.1, 7.2: the header's date
    packed = _packed(bytes(profile))
    written = str(len(packed)).encode()
    table = int(start[1])
    # Three places change, in this order; the offsets after each move by what it grew.
    moves = [
        (end, len(packed) - (end - stream.end())),
        (length.end(), len(written) - len(length[1])),
    ]

    def moved(place: int) -> int:
        return place + sum(by for after, by in moves if place >= after)

    return b"".join(
        [
            pdf[: stream.end()],
            packed,
            pdf[end : length.start(1)],
            written,
            pdf[length.end(1) : table],
            _XREF.sub(
                lambda entry: b"%010d" % moved(int(entry[1])) + entry[0][10:],
                pdf[table : start.start()],
            ),
            pdf[start.start() : start.start(1)],
            str(moved(table)).encode(),
            pdf[start.end(1) :],
        ]
    )


@functools.lru_cache(maxsize=4)
def _packed(profile: bytes) -> bytes:
    return zlib.compress(profile, 9)
