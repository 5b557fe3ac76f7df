"""Evidence from a Postfix log: did the relay take what one attempt may have sent, and what then?

A delivery is in doubt when no answer came to the final dot. The relay has written down what became
of it, and this reads that, without ever taking silence for an answer:

* It was taken if the queue manager says so (`qmgr ...: QID: from=... (queue active)`). That
  `cleanup` has seen its Message-ID is not enough: it sees a message before the dot.
* It was not taken if the relay heard no dot (`lost connection after DATA (N bytes) from
  HOST[IP]:PORT`, or `timeout`) and counted none taken when it hung up (`disconnect from
  HOST[IP]:PORT ... data=0/1`) in the session that carried it. The count alone proves nothing: what
  is taken ten seconds or more after its dot, when nobody is there any more to be told, is not
  counted. The session is known by our own port (`smtpd_client_port_logging = yes`), by the
  Message-ID it was given and by lasting beyond the intent; a port alone is soon used again.
* Everything else is unknown: a session that goes on, a log that does not reach so far, two
  sessions that could both be meant. A later look may tell more.

Logs are read as they lie: `mail.log`, and what was rotated into `mail.log.1`, `mail.log.2.gz` or
`mail.log-20261123.gz`, from shortly before the intent on, a line at a time. Times are those of
syslog, with or without a year and a zone. Many attempts are looked up in one reading, and whoever
keeps the `Position` that it reached reads afterwards only what is new, and of what is old the day
that an attempt was made on.
"""

import calendar
import errno
import gzip
import hashlib
import io
import ipaddress
import os
import re
import stat
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Final

from pipeline.errors import Misconfigured, Unavailable

_LINE_LIMIT: Final = 64 * 1024
_HEAD_LIMIT: Final = 1024
_BISECT_TO: Final = 64 * 1024
_LOOKS: Final = 3
_KNOWN_BY: Final = 15
_DAY: Final = timedelta(days=1)
"""How long after an attempt its part of the log is read again and again, at each look."""
_RECOGNISED_WITHIN: Final = 1024 * 1024
_MONTHS: Final = b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()

_TRADITIONAL: Final = re.compile(
    rb"(?P<month>[A-Z][a-z]{2}) (?P<day>[ \d]\d) (?P<time>\d\d:\d\d:\d\d)(?P<fraction>\.\d{1,6})? "
)
_ISO: Final = re.compile(
    rb"(?P<date>\d{4}-\d\d-\d\d)[T ](?P<time>\d\d:\d\d:\d\d)(?P<fraction>[.,]\d{1,9})?"
    rb"(?P<zone>Z|[+-]\d\d:?\d\d)? "
)
_SAID: Final = re.compile(
    r"(?P<host>\S+) (?P<tag>\S+)/(?P<daemon>[a-z-]+)\[(?P<pid>\d+)\]: (?P<text>.*)"
)
_CLIENT: Final = r"\S*\[(?P<ip>[0-9A-Fa-f.:]+)\]:(?P<port>\d+)"
_CONNECT: Final = re.compile(rf"connect from {_CLIENT}")
_DISCONNECT: Final = re.compile(rf"disconnect from {_CLIENT}(?P<counts>(?: [a-z]+=\d+(?:/\d+)?)*)")
_BEFORE_DOT: Final = re.compile(
    rf"(?:lost connection|timeout) after DATA \(\d+ bytes\) from {_CLIENT}"
)
_BEGUN: Final = re.compile(rf"(?P<qid>\w+): client={_CLIENT}(?:,.*)?")
_NAMED: Final = re.compile(rb"\]: (?P<qid>\w+): ")
_ANYBODYS: Final = re.compile(r"(?P<qid>\w+): client=")
_MESSAGE_ID: Final = re.compile(r"(?P<qid>\w+): message-id=(?P<id>.*)")
_ACTIVE: Final = re.compile(r"(?P<qid>\w+): from=<(?P<sender>.*)>, size=.*\(queue active\)")
_REMOVED: Final = re.compile(r"(?P<qid>\w+): removed")
_STATUS: Final = re.compile(
    r"(?P<qid>\w+): to=<(?P<to>.*?)>, (?:orig_to=<(?P<orig>.*?)>, )?relay=(?P<relay>.*?), .*?"
    r"dsn=(?P<dsn>[\d.]+), status=(?P<status>\w+)(?: \((?P<reply>.*)\))?"
)
_EXPIRED: Final = re.compile(r"(?P<qid>\w+): from=<.*>, status=(?:force-)?expired, .*")
_COUNT: Final = re.compile(r" (?P<name>[a-z]+)=(?P<done>\d+)(?:/(?P<tried>\d+))?")
_PORT: Final = re.compile(rb"\]:\d+")
_WITH_ID: Final = re.compile(rb": message-id=(.*)")
_USED_AGAIN: Final = re.compile(r"[0-9A-F]+")
"""A short queue id, which is the queue file's number in hexadecimal."""
_ROTATED: Final = re.compile(r"[.-](?P<number>\d+)(?:\.gz)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What is known of one attempt at handing a message over.

    `local_host` and `local_port` are this end of the connection, as the relay sees it; `intent_at`
    is when the intent was committed, before the dot. `recipient` and `sender` are the envelope's:
    one message may go to several recipients in separate transactions, over one connection and with
    one Message-ID, and only these tell them apart. Give `sender` only if it is this delivery's own.
    """

    local_host: str
    local_port: int
    intent_at: datetime
    message_id: str
    recipient: str
    sender: str | None = None
    queue_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """The relay has the message, as `queue_id`; `line` of its log says so."""

    queue_id: str
    line: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Absent:
    """The relay did not take the message in that session; `line` of its log says so."""

    line: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """The log does not tell, or not yet; `reason` is whole sentences."""

    reason: str


Evidence = Taken | Absent | Unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What became of a message that the relay has, for one recipient.

    `status` is Postfix's: sent, bounced, deferred, expired. Sent means handed on to `relay`, which
    is the mailbox itself only where it says so. `recipient` is as the envelope named them, and ""
    where all that were left are meant (expired). `reply` is what the next server said.
    """

    queue_id: str
    recipient: str
    status: str
    dsn: str
    relay: str
    reply: str
    at: datetime
    line: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """How far a log was read: the file, known by how it begins, and the octets read of it.

    `head` is 15 hexadecimal digits, so that it fits where whole numbers are kept; it is empty for a
    log that does not hold a whole line yet.
    """

    head: str
    offset: int


_NOWHERE: Final = Position(head="", offset=0)


class RelayLog:
    """A Postfix log and what was rotated out of it.

    `zone` is the relay's, for times without one; without it, this machine's. `look_back` is how
    long before the intent a connection may have been opened, `skew` how far the relay's clock may
    be behind ours.
    """

    def __init__(
        self,
        path: Path,
        *,
        zone: tzinfo | None = None,
        look_back: timedelta = timedelta(hours=2),
        skew: timedelta = timedelta(seconds=2),
    ) -> None:
        self.path = path
        self.zone = zone
        self.look_back = look_back
        self.skew = skew

    def evidence(self, attempt: Attempt) -> Evidence:
        """Say whether the relay took what this attempt may have sent. Nothing is raised."""
        (found,), _ = self.all_evidence([attempt])
        return found

    def all_evidence(
        self, attempts: Sequence[Attempt], after: Position | None = None
    ) -> tuple[list[Evidence], Position | Unavailable]:
        """The evidence of each attempt, from one reading, and how far that came.

        `after` is how far the log was read before: then, of what lies before that, only the days
        on which the attempts were made are read. Nothing is raised: a log that cannot be read to
        its end gives the error in the place of a position, and what follows from the rest.
        """
        trails = _Trails(attempts, self.skew)
        trouble = None
        position: Position | Unavailable = after or _NOWHERE
        try:
            if attempts:
                position = self._follow(trails, after)
        except _UnreadableError as error:
            trouble, position = str(error), Unavailable(str(error))
        return [self._judged(trail, trouble) for trail in trails.each], position

    def _judged(self, trail: "_Trail", trouble: str | None) -> Evidence:
        found = trail.verdict()
        if isinstance(found, Unknown):
            about = f"The relay's log {self.path}: {found.reason}"
            return Unknown(reason=f"{trouble} {about}" if trouble else about)
        if isinstance(found, Absent) and trouble:
            # What cannot be read might say the contrary.
            return Unknown(reason=f"{trouble} The rest of the log says: {found.line}")
        return found

    def fates(
        self,
        queue_ids: Collection[str],
        since: datetime,
        after: Position | None = None,
        *,
        anew: datetime | None = None,
    ) -> tuple[list[Fate], Position]:
        """What `follow` finds, as a list, and how far the log goes."""
        found: list[Fate] = []
        position = self.follow(queue_ids, since, found.append, after=after, anew=anew)
        return found, position

    def follow(
        self,
        queue_ids: Collection[str],
        since: datetime,
        tell: Callable[[Fate], object],
        *,
        after: Position | None = None,
        anew: datetime | None = None,
    ) -> Position:
        """Tell what the log says became of messages from `since` on, in its order.

        Returns how far it goes. Give that as `after`, and the next call goes on from there. If some
        of the queue ids are asked about for the first time, give also since when these messages can
        have been logged: `anew`. A position in a file that is not there any more is none. Raises
        `Unavailable` if the log cannot be read.
        """
        wanted = frozenset(each.encode() for each in queue_ids)
        position = _NOWHERE
        try:
            with ExitStack() as stack:
                files = self._files(stack, since)
                reached = _reached(files, after)
                for number, file in enumerate(files):
                    start = self._start(file, since)
                    if after is not None and reached is not None:
                        new = anew is not None and anew <= file.written
                        if number < reached and not new:
                            continue
                        known = [after.offset] if number == reached else []
                        known += [self._start(file, anew)] if anew is not None and new else []
                        start = max(start, min(known, default=0))
                    file.seek(start)
                    for line in file.lines():
                        fate = self._fate(line, file, wanted) if b"status=" in line else None
                        if fate is not None and fate[1].latest >= since:
                            tell(fate[0])
                    if file.head:
                        position = Position(head=file.head, offset=file.offset)
        except _UnreadableError as error:
            raise Unavailable(str(error)) from error
        return position

    def look(self) -> bool:
        """Whether there is a log of a mail server; False if there is not a line in it yet.

        Raises `Misconfigured` for a file that holds lines and none of a mail server's, and
        `Unavailable` if it cannot be read.
        """
        lines = 0
        try:
            with ExitStack() as stack:
                for file in reversed(self._files(stack, None)):
                    for start in (0, max(0, (file.size or 0) - _RECOGNISED_WITHIN)):
                        file.seek(start)
                        for line in file.lines():
                            if self._record(line, file) is not None:
                                return True
                            lines += 1
                            if file.offset - start > _RECOGNISED_WITHIN:
                                break
                    if file.begun and self._stamp(file.begun, file) is None:
                        lines += 1  # also where it has no end
        except _UnreadableError as error:
            raise Unavailable(str(error)) from error
        if lines:
            raise Misconfigured(
                f"{self.path} is not the log of a mail server: none of its lines is one that "
                "Postfix writes. Name the file that Postfix logs to, often /var/log/mail.log, in "
                "reports.relay_log."
            )
        return False

    def _fate(
        self, line: bytes, file: "_File", wanted: Collection[bytes]
    ) -> tuple[Fate, "_Stamp"] | None:
        named = _NAMED.search(line)
        if named is None or named["qid"] not in wanted:
            return None
        record = self._record(line, file)
        if record is None:
            return None
        match = _STATUS.fullmatch(record.text) or _EXPIRED.fullmatch(record.text)
        if match is None:
            return None
        said = match.groupdict()
        fate = Fate(
            queue_id=match["qid"],
            recipient=said.get("orig") or said.get("to") or "",
            status=said.get("status") or "expired",
            dsn=said.get("dsn") or "",
            relay=said.get("relay") or "",
            reply=said.get("reply") or "",
            at=record.stamp.earliest,
            line=record.line,
        )
        return fate, record.stamp

    def _follow(self, trails: "_Trails", after: Position | None) -> Position:
        """Let the trails hear the lines that may concern them; how far the log goes."""
        position = _NOWHERE
        with ExitStack() as stack:
            files = self._files(stack, trails.since(self.look_back))
            reached = _reached(files, after)
            goes_on = False
            for number, file in enumerate(files):
                for start, end in self._parts(file, trails, after, number, reached):
                    if start or not goes_on:
                        trails.skip()
                    file.seek(start)
                    for line in file.lines(end):
                        self._hear(line, file, trails)
                    goes_on = end is None
                if file.head:
                    position = Position(head=file.head, offset=file.offset)
        return position

    def _hear(self, line: bytes, file: "_File", trails: "_Trails") -> None:
        concerned = trails.concerned(line)
        if concerned and (record := self._record(line, file)) is not None:
            for trail in concerned:
                # Before that, it would be heard only because of another one.
                if record.stamp.latest >= trail.attempt.intent_at - self.look_back:
                    trail.add(record)

    def _parts(
        self,
        file: "_File",
        trails: "_Trails",
        after: Position | None,
        number: int,
        reached: int | None,
    ) -> list[tuple[int, int | None]]:
        """Which parts of a file to read, in order: from where, and up to where."""
        first = self._start(file, trails.since(self.look_back))
        if after is None or reached is None or number > reached:
            return [(first, None)]
        parts: list[tuple[int, int | None]] = [
            (self._start(file, since), self._end(file, since + self.look_back + _DAY))
            for since in {trail.attempt.intent_at - self.look_back for trail in trails.each}
            if file.written >= since
        ]
        if number == reached:
            parts.append((max(first, after.offset), None))
        return _merged(parts)

    def _end(self, file: "_File", moment: datetime) -> int | None:
        """Behind the last line before a moment; None where that is not known."""
        return None if file.size is None else self._start(file, moment) + 2 * _BISECT_TO

    def _files(self, stack: ExitStack, since: datetime | None) -> list["_File"]:
        """The log's files that reach beyond `since`, oldest first, each once."""
        for _ in range(_LOOKS):
            files: list[_File] = []
            vanished = False
            # The newest first: what is rotated meanwhile is then met twice, and not missed.
            for path in [self.path, *_rotated(self.path)]:
                try:
                    file = _File(path, stack)
                except FileNotFoundError:
                    vanished = True
                    continue
                except OSError as error:
                    raise _UnreadableError(
                        f"The relay's log {path} cannot be read: {error.strerror}. "
                        "Let whoever runs this read it (on Debian, the group adm may)."
                    ) from error
                if file.head and file.head in {each.head for each in files}:
                    continue
                if since is not None and path != self.path and file.written < since:
                    break
                files.append(file)
            if not vanished:
                return files[::-1]
        raise _UnreadableError(
            f"There is no relay's log {self.path}, or it is being rotated all the time; "
            "name the file that Postfix logs to."
        )

    def _start(self, file: "_File", since: datetime) -> int:
        """Where a line begins that is not after `since`, and not long before it, by halving."""
        if file.size is None:
            return 0
        low, high = 0, file.size
        while high - low > _BISECT_TO:
            middle = (low + high) // 2
            file.seek(middle)
            file.rest_of_line()
            stamp = None
            for line in file.lines():
                stamp = self._stamp(line, file)
                if stamp is not None or file.offset >= high:
                    break
            if stamp is not None and stamp.latest < since:
                low = middle
            else:
                high = middle
        file.seek(low)
        if low:
            file.rest_of_line()
        return file.offset

    def _record(self, line: bytes, file: "_File") -> "_Record | None":
        stamp = self._stamp(line, file)
        if stamp is None:
            return None
        text = line.decode("utf-8", "replace").rstrip("\r\n")
        match = _SAID.fullmatch(line[stamp.length :].decode("utf-8", "replace").rstrip("\r\n"))
        if match is None:
            return None
        return _Record(
            stamp=stamp,
            host=match["host"],
            daemon=match["daemon"],
            pid=match["pid"],
            text=match["text"],
            line=text,
        )

    def _stamp(self, line: bytes, file: "_File") -> "_Stamp | None":
        """The moment a line was written: somewhere from `earliest` to `latest`."""
        try:
            if match := _ISO.match(line):
                day = datetime.fromisoformat(match["date"].decode())
            elif match := _TRADITIONAL.match(line):
                day = _day_before(file.written.astimezone(self.zone), match)
            else:
                return None
            hour, minute, second = map(int, match["time"].split(b":"))
            # A leap second is not worth an error.
            local = day.replace(hour=hour, minute=minute, second=min(second, 59))
        except (ValueError, KeyError):
            return None
        if (zone := match.groupdict().get("zone")) is not None:
            try:
                known = datetime.fromisoformat(f"{local.isoformat()}{zone.decode()}")
            except ValueError:
                return None
            moments = [known.astimezone(UTC)]
        else:
            # Once a year an hour comes twice.
            moments = sorted(
                local.replace(tzinfo=self.zone, fold=fold).astimezone(UTC) for fold in (0, 1)
            )
        earliest, latest = moments[0], moments[-1] + timedelta(seconds=1)
        if fraction := match["fraction"]:
            part = timedelta(microseconds=int(float(b"0." + fraction[1:]) * 1_000_000))
            earliest, latest = earliest + part, moments[-1] + part
        return _Stamp(earliest=earliest, latest=latest, length=match.end())


class _UnreadableError(Exception):
    """A part of the log cannot be read; the message is a whole sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stamp:
    earliest: datetime
    latest: datetime
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Record:
    stamp: _Stamp
    host: str
    daemon: str
    pid: str
    text: str
    line: str


class _File:
    """One file of the log, plain or compressed; `head` says which one, whatever its name is."""

    def __init__(self, path: Path, stack: ExitStack) -> None:
        self.path = path
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for
            raise OSError(errno.EINVAL, "it is not a file")
        opened = stack.enter_context(path.open("rb"))
        status = os.fstat(opened.fileno())
        self.written = datetime.fromtimestamp(status.st_mtime, UTC)
        self.size = None if path.suffix == ".gz" else status.st_size
        self._octets: io.BufferedReader | gzip.GzipFile = opened
        if self.size is None:
            self._octets = stack.enter_context(gzip.GzipFile(fileobj=opened, mode="rb"))
        self.offset = 0
        first = self._read_line(_HEAD_LIMIT)
        # A line that is still being written would look like another one later.
        whole = first.endswith(b"\n") or len(first) == _HEAD_LIMIT
        self.begun = first
        self.head = hashlib.sha256(first).hexdigest()[:_KNOWN_BY] if whole else ""
        self.seek(0)

    def seek(self, offset: int) -> None:
        try:
            self._octets.seek(offset)
        except (OSError, EOFError, zlib.error) as error:
            raise self._unreadable(error) from error
        self.offset = offset

    def rest_of_line(self) -> None:
        """Go to where the next line begins."""
        while (part := self._read_line(_LINE_LIMIT)) and not part.endswith(b"\n"):
            pass
        self.offset = self._octets.tell()

    def lines(self, end: int | None = None) -> Iterator[bytes]:
        """The whole lines that begin from here on and before `end`.

        What has no end yet is left to be read another time.
        """
        while (end is None or self.offset < end) and (line := self._read_line(_LINE_LIMIT)):
            if line.endswith(b"\n"):
                self.offset += len(line)
                yield line
            elif len(line) == _LINE_LIMIT:
                self.rest_of_line()
            else:
                return

    def _read_line(self, limit: int) -> bytes:
        try:
            return self._octets.readline(limit)
        except (OSError, EOFError, zlib.error) as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> _UnreadableError:
        why = getattr(error, "strerror", None) or "it is damaged or still being written"
        return _UnreadableError(f"The relay's log {self.path} cannot be read to its end: {why}.")


def _rotated(path: Path) -> list[Path]:
    """What was rotated out of a log, the newest first; not the copy of one being compressed."""
    found = {}
    for each in path.parent.glob(f"{path.name}[.-]*"):
        if match := _ROTATED.fullmatch(each.name.removeprefix(path.name)):
            number = int(match["number"])
            # A number counts back from now, a date onwards from then.
            age = -number if len(match["number"]) >= 8 else number
            if age not in found or each.suffix != ".gz":
                found[age] = each
    return [found[age] for age in sorted(found)]


def _reached(files: list[_File], after: Position | None) -> int | None:
    """Which file a position is in; None where there is no such file any more."""
    heads = [file.head for file in files]
    return heads.index(after.head) if after is not None and after.head in heads else None


def _merged(parts: Iterable[tuple[int, int | None]]) -> list[tuple[int, int | None]]:
    """The same parts of a file in order, each once; one that ends nowhere is the last."""
    merged: list[tuple[int, int | None]] = []
    for start, end in sorted(parts, key=lambda part: part[0]):
        before = merged[-1][1] if merged else -1
        if before is None:
            break
        if start > before:
            merged.append((start, end))
        elif end is None or end > before:
            merged[-1] = (merged[-1][0], end)
    return merged


def _day_before(latest: datetime, match: re.Match[bytes]) -> datetime:
    """The last day of this name that is not after `latest`, when the file was last written."""
    month, day = _MONTHS.index(match["month"]) + 1, int(match["day"])
    years = (latest.year + 1, latest.year, latest.year - 1)
    until = latest.replace(tzinfo=None) + timedelta(days=1)
    days = [datetime(year, month, day) for year in years if _exists(year, month, day)]  # noqa: DTZ001
    return next(each for each in days if each <= until)


def _exists(year: int, month: int, day: int) -> bool:
    return (month, day) != (2, 29) or calendar.isleap(year)


class _Session:
    """One connection from our own address and port, as the relay saw it."""

    def __init__(self, began: _Stamp | None) -> None:
        self.began = began
        self.ended: _Record | None = None
        self.before_dot = False
        self.messages: list[_Message] = []
        self.counts: dict[str, tuple[int, int]] = {}

    def lasted_over(self, moment: datetime, skew: timedelta) -> bool:
        """Whether it can be the one that was open at a moment; what has not ended may be."""
        began_before = self.began is None or self.began.earliest <= moment + skew
        return began_before and (self.ended is None or self.ended.stamp.latest >= moment)


class _Message:
    """One message that the relay was given, perhaps not to its end."""

    def __init__(self, queue_id: str, session: _Session | None) -> None:
        self.queue_id = queue_id
        self.session = session
        self.message_id: str | None = None
        self.active: _Record | None = None
        self.sender: str | None = None
        self.recipients: set[str] = set()


class _Trails:
    """The trails of several attempts, and which of them a line concerns."""

    def __init__(self, attempts: Sequence[Attempt], skew: timedelta) -> None:
        self._by: dict[bytes, dict[_Trail, None]] = {}
        self.each = [_Trail(attempt, skew, self._listen) for attempt in attempts]

    def since(self, look_back: timedelta) -> datetime:
        """From when on a log is worth reading."""
        return min(trail.attempt.intent_at for trail in self.each) - look_back

    def concerned(self, line: bytes) -> list["_Trail"]:
        """The trails for which a line is worth a closer look, each once."""
        found: dict[_Trail, None] = {}
        if named := _NAMED.search(line):
            found |= self._by.get(named["qid"], {})
            if with_id := _WITH_ID.search(line, named.end("qid")):
                found |= self._by.get(with_id[1].strip(), {})
        if b"]:" in line:
            for port in _PORT.findall(line):
                found |= self._by.get(port, {})
        return list(found)

    def skip(self) -> None:
        """Some lines are not heard: what they would have ended is not known any more."""
        for trail in self.each:
            trail.skip()

    def _listen(self, trail: "_Trail", token: bytes) -> None:
        self._by.setdefault(token, {})[trail] = None


class _Trail:
    """What a log says that concerns one attempt, and what follows from it.

    `listen` is told by which port, Message-ID or queue id a line concerns it.
    """

    def __init__(
        self, attempt: Attempt, skew: timedelta, listen: Callable[["_Trail", bytes], None]
    ) -> None:
        self.attempt = attempt
        self.skew = skew
        self._listen = listen
        self._address = _address(attempt.local_host)
        listen(self, f"]:{attempt.local_port}".encode())
        listen(self, attempt.message_id.encode())
        self._queued: dict[tuple[str, str], _Message] = {}
        self._messages: list[_Message] = []
        self._open: dict[tuple[str, str], _Session] = {}
        self._sessions: list[_Session] = []

    def skip(self) -> None:
        """Some lines are not heard, so that a process may serve another, and a short name too."""
        self._open.clear()
        for key in [key for key in self._queued if _USED_AGAIN.fullmatch(key[1])]:
            del self._queued[key]

    def add(self, record: _Record) -> None:
        """Take in one line."""
        if record.daemon == "smtpd":
            self._add_session(record)
        elif record.daemon == "cleanup":
            if match := _MESSAGE_ID.fullmatch(record.text):
                message = self._message(record, match["qid"])
                if message is not None and message.message_id not in {None, match["id"]}:
                    self._forget(record, match["qid"])
                    message = None
                if message is None and match["id"] == self.attempt.message_id:
                    message = self._meet(record, match["qid"], None)
                if message is not None:
                    message.message_id = match["id"]
        elif record.daemon == "qmgr" and (match := _ACTIVE.fullmatch(record.text)):
            if (message := self._message(record, match["qid"])) and message.active is None:
                message.active, message.sender = record, match["sender"]
        elif record.daemon == "qmgr" and (match := _REMOVED.fullmatch(record.text)):
            self._forget(record, match["qid"])
        elif (match := _STATUS.fullmatch(record.text)) and (
            message := self._message(record, match["qid"])
        ):
            message.recipients.add(_comparable(match["orig"] or match["to"]))

    def _add_session(self, record: _Record) -> None:
        process = (record.host, record.pid)
        if match := self._own(_CONNECT, record):
            self._open[process] = _Session(record.stamp)
            self._sessions.append(self._open[process])
        elif match := self._own(_BEGUN, record):
            session = self._session(process)
            session.messages.append(self._meet(record, match["qid"], session))
        elif self._own(_BEFORE_DOT, record):
            self._session(process).before_dot = True
        elif match := self._own(_DISCONNECT, record):
            session = self._session(process)
            session.ended = record
            session.counts = {
                each["name"]: (int(each["done"]), int(each["tried"] or each["done"]))
                for each in _COUNT.finditer(match["counts"])
            }
            del self._open[process]
        elif match := _ANYBODYS.match(record.text):
            self._forget(record, match["qid"])

    def _own(self, pattern: re.Pattern[str], record: _Record) -> re.Match[str] | None:
        match = pattern.fullmatch(record.text)
        if match is None or int(match["port"]) != self.attempt.local_port:
            return None
        same = self._address is not None and self._address == _address(match["ip"])
        return match if same else None

    def _session(self, process: tuple[str, str]) -> _Session:
        if process not in self._open:  # the log begins in the midst of it
            self._open[process] = _Session(None)
            self._sessions.append(self._open[process])
        return self._open[process]

    def _message(self, record: _Record, queue_id: str) -> _Message | None:
        return self._queued.get((record.host, queue_id))

    def _forget(self, record: _Record, queue_id: str) -> None:
        """From here on this name is that of another message: short ones are used again."""
        self._queued.pop((record.host, queue_id), None)

    def _meet(self, record: _Record, queue_id: str, session: _Session | None) -> _Message:
        message = _Message(queue_id, session)
        self._queued[record.host, queue_id] = message
        self._messages.append(message)
        self._listen(self, queue_id.encode())
        return message

    def verdict(self) -> Evidence:
        """What follows from all that was taken in."""
        undecided = []
        for message in self._with_our_id():
            if message.active is not None:
                ours = self._is_ours(message)
                if ours:
                    return Taken(queue_id=message.queue_id, line=message.active.line)
                if ours is None:
                    undecided.append(message)
        if undecided:
            return self._by_session(undecided)
        return self._absence()

    def _with_our_id(self) -> list[_Message]:
        return [each for each in self._messages if each.message_id == self.attempt.message_id]

    def _is_ours(self, message: _Message) -> bool | None:
        """Whether a message with our Message-ID is this delivery's; None where it is not said."""
        attempt = self.attempt
        if message.queue_id == attempt.queue_id:
            return True
        if attempt.sender is not None and message.sender is not None:
            return _comparable(attempt.sender) == _comparable(message.sender)
        if message.recipients:
            return _comparable(attempt.recipient) in message.recipients
        return None

    def _by_session(self, undecided: list[_Message]) -> Evidence:
        """Of messages that may be ours: the one that came over our connection, if it is alone."""
        attempt = self.attempt
        near = [
            each
            for each in undecided
            if each.session is not None
            and each.session.lasted_over(attempt.intent_at, self.skew)
            and each.active is not None
            and each.active.stamp.latest + self.skew >= attempt.intent_at
        ]
        if len(near) == 1 and near[0].active is not None and near[0].session is not None:
            of_ours = [each for each in near[0].session.messages if each in self._with_our_id()]
            if len(of_ours) == 1:
                return Taken(queue_id=near[0].queue_id, line=near[0].active.line)
        names = ", ".join(each.queue_id for each in undecided)
        return Unknown(
            reason=f"it took a message with this Message-ID ({names}), and does not say yet for "
            "which recipient. Ask again when it has tried to deliver it."
        )

    def _absence(self) -> Evidence:
        attempt = self.attempt
        ours = self._with_our_id()
        carried = [
            session
            for session in self._sessions
            if session.lasted_over(attempt.intent_at, self.skew)
            and any(each in ours and each.active is None for each in session.messages)
        ]
        if not carried:
            return Unknown(reason=self._nowhere())
        if len(carried) > 1:
            return Unknown(
                reason="more than one session from this port could be the one that carried the "
                "message."
            )
        session = carried[0]
        if session.ended is None:
            return Unknown(
                reason="the session that carried the message has not ended, so the relay may still "
                "take it. Ask again later."
            )
        return self._of_ended(session, session.ended)

    def _of_ended(self, session: _Session, ended: _Record) -> Evidence:
        """Whether the session that carried the message ended without its having been taken."""
        taken, tried = session.counts.get("data", (0, 0))
        known = [each for each in session.messages if each.active is not None]
        if "bdat" in session.counts or taken >= tried:
            return Unknown(
                reason="the session that carried the message ended with nothing refused, and the "
                f"queue manager has not named the message yet: {ended.line}"
            )
        if not session.before_dot or session.messages[-1] not in self._with_our_id():
            # What is taken after its sender has gone is not always counted.
            return Unknown(
                reason="the session that carried the message ended, and the relay does not say "
                "that this was before the dot; the queue manager has not named the message: "
                f"{ended.line}"
            )
        if len(known) != taken or any(each.message_id is None for each in known):
            return Unknown(
                reason="of the session that carried the message the log does not name everything "
                f"that was taken: {ended.line}"
            )
        return Absent(line=ended.line)

    def _nowhere(self) -> str:
        attempt = self.attempt
        if self._with_our_id():
            return (
                f"it was given this message, but not from port {attempt.local_port} at "
                f"{attempt.intent_at.astimezone(UTC):%d %B %Y %H:%M:%S} UTC. "
                "Postfix names ports with smtpd_client_port_logging = yes."
            )
        return (
            f"it does not hold this Message-ID after a session from {attempt.local_host} port "
            f"{attempt.local_port}. It may not be written yet, not reach back so far, or be "
            "another relay's."
        )


def _comparable(address: str) -> str:
    local, at, domain = address.rpartition("@")
    return f"{local}{at}{domain.lower()}"


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An address in the one form that can be compared; None if it is none."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
