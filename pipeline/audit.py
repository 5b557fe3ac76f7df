"""Prove the archive against the ledger: every file that was frozen is there, and is what it was.

Only looks: nothing is changed, put right or deleted. What the archive holds and the ledger does not
name is told as well; a run that was killed leaves such files, and they do no harm. What is
forgotten must not be there any more.
"""

import email
import email.policy
import hashlib
from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import islice

from pipeline import forgetting
from pipeline.archive import Archive
from pipeline.database import Database
from pipeline.errors import Refused, Unavailable
from pipeline.ledger import files
from pipeline.ledger.files import NamedFile
from pipeline.progress import Progress
from pipeline.run import template_name

_READERS = 4
_AHEAD = 4  # files handed out per reader: more would only fill memory
_CHUNK = 500


class Kind(StrEnum):
    """What a file is to the ledger."""

    LETTER = "letter"
    MESSAGE = "message"
    ENCLOSURE = "enclosure"
    TEMPLATE = "template"
    RETURNED = "returned mail"
    UNNAMED = "unnamed"


class Condition(StrEnum):
    """How a file was found; `NOT_NAMED` is one that the ledger does not speak of.

    One that is `FORGOTTEN` was removed on purpose, and one that is `NOT_REMOVED` should have been.
    """

    SOUND = "sound"
    MISSING = "missing"
    ALTERED = "altered"
    UNREADABLE = "unreadable"
    FORGOTTEN = "forgotten"
    NOT_REMOVED = "not removed"
    NOT_NAMED = "not named"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One file of the archive, or one that should be there.

    `name` is its name within the archive and `place` where that is; `said` is what is wrong, in a
    sentence. `year` and `authority` say whose it is, and `carrier` is the place of a sound message
    that the same PDF is attached to. A `stranger` is a message that the ledger has never frozen: it
    may record mail that this ledger does not know of.
    """

    kind: Kind
    condition: Condition
    name: str
    place: str
    said: str | None = None
    sha256: str | None = None
    year: int | None = None
    authority: str | None = None
    authority_name: str | None = None
    carrier: str | None = None
    stranger: bool = False

    @property
    def needs_a_person(self) -> bool:
        """Whether a file that must be there is not as it was, or one is that must not."""
        return self.condition not in {
            Condition.SOUND,
            Condition.FORGOTTEN,
            Condition.NOT_NAMED,
        }


def examine(
    db: Database, archive: Archive, year: int | None, *, progress: Progress
) -> Iterator[Finding]:
    """Look at every file of the year, or of all years, also of runs that were cancelled.

    Streamed: first what the ledger names, in its order, then what is forgotten (one that was not
    removed comes twice), then what the ledger does not name. Raises Unavailable if the archive is
    not there at all.
    """
    counts = files.count(db, year)
    total = (
        counts.letters + counts.messages + counts.templates + counts.returned + counts.enclosures
    )
    seen = array("Q")
    if total:
        archive.require()
        progress.begin("Verifying", total)
        try:
            for found in _examined(archive, _named(db, year, forgotten=False)):
                seen.append(_mark(found.name))
                progress.advance()
                if found.needs_a_person and found.kind is Kind.LETTER:
                    yield replace(found, carrier=_carrier(db, archive, found))
                else:
                    yield found
        finally:
            progress.end()
    for kind, one in _named(db, year, forgotten=True):
        yield _told(archive, kind, one, Condition.FORGOTTEN)
    yield from _unnamed(db, archive, year, sorted(seen))


def _named(db: Database, year: int | None, *, forgotten: bool) -> Iterator[tuple[Kind, NamedFile]]:
    for latest, sha256 in () if forgotten else files.templates(db, year):
        name = template_name(sha256)
        yield (
            Kind.TEMPLATE,
            NamedFile(name=name, sha256=sha256, year=latest, authority="", authority_name=""),
        )
    for one in files.letters(db, year, forgotten=forgotten):
        yield Kind.LETTER, one
    for one in files.messages(db, year, forgotten=forgotten):
        yield Kind.MESSAGE, one
    for one in files.enclosures(db, year, forgotten=forgotten):
        yield Kind.ENCLOSURE, one
    if year is None:  # a mail that came back belongs to none
        for one in files.returned(db, forgotten=forgotten):
            yield Kind.RETURNED, one


def _examined(archive: Archive, named: Iterable[tuple[Kind, NamedFile]]) -> Iterator[Finding]:
    """Each file's finding, in the order given; a few are read at a time."""
    waiting: deque[Future[Finding]] = deque()
    with ThreadPoolExecutor(_READERS, thread_name_prefix="verify") as readers:
        try:
            for kind, one in named:
                waiting.append(readers.submit(_finding, archive, kind, one))
                if len(waiting) >= _READERS * _AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            readers.shutdown(cancel_futures=True)


def _finding(archive: Archive, kind: Kind, one: NamedFile) -> Finding:
    condition, said = Condition.SOUND, None
    try:
        archive.get(one.name, one.sha256)
    except (Unavailable, Refused) as fault:
        condition, said = _condition(fault), str(fault)
    return _told(archive, kind, one, condition, said)


def _told(
    archive: Archive, kind: Kind, one: NamedFile, condition: Condition, said: str | None = None
) -> Finding:
    place = one.name
    with suppress(Refused):  # no name that the archive would have taken
        place = archive.location(one.name)
    return Finding(
        kind=kind,
        condition=condition,
        name=one.name,
        place=place,
        said=said,
        sha256=one.sha256,
        year=one.year,
        authority=one.authority or None,
        authority_name=one.authority_name or None,
    )


def _condition(fault: Exception) -> Condition:
    if isinstance(fault.__cause__, FileNotFoundError):
        return Condition.MISSING
    # The archive read it and found another hash: then no error of the system is behind it.
    return Condition.ALTERED if fault.__cause__ is None else Condition.UNREADABLE


def _carrier(db: Database, archive: Archive, lost: Finding) -> str | None:
    """Where a sound message lies that this PDF can be taken from."""
    for name, sha256 in files.carriers(db, lost.name):
        try:
            data = archive.get(name, sha256)
        except (Unavailable, Refused):
            continue
        for part in email.message_from_bytes(data, policy=email.policy.default).walk():
            content = part.get_payload(decode=True)
            if isinstance(content, bytes) and hashlib.sha256(content).hexdigest() == lost.sha256:
                return archive.location(name)
    return None


def _unnamed(
    db: Database, archive: Archive, year: int | None, seen: Sequence[int]
) -> Iterator[Finding]:
    """What lies in the archive and was not among what has been seen: not named, or forgotten."""
    within = "" if year is None else f"{year:04d}"
    listed = (name for name in archive.names(within) if not _among(seen, _mark(name)))
    while chunk := list(islice(listed, _CHUNK)):
        # Asked again by name: a run that goes on meanwhile has recorded more.
        since = files.named(db, [_text(name) for name in chunk]) | {
            template_name(one) for _, one in files.templates(db)
        }
        gone = files.forgotten(db, [name for name in chunk if name in since])
        for name in chunk:
            if name in gone:
                what, one = gone[name]
                before = "YEAR" if one.year is None else one.year + 1
                yield _told(
                    archive,
                    Kind(what),
                    one,
                    Condition.NOT_REMOVED,
                    f"It is forgotten, and {archive.location(name)} is still there: letters forget"
                    f" --before {before}",
                )
            elif name not in since:
                yield Finding(
                    kind=Kind.UNNAMED,
                    condition=Condition.NOT_NAMED,
                    name=_text(name),
                    place=f"{place_of(archive)}/{_text(name)}",
                    stranger=forgetting.is_stranger(db, archive, name),
                )


def _text(name: str) -> str:
    """The name as it can be printed; the ledger's own are always plain."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _mark(name: str) -> int:
    # Eight bytes for each file: whole names would take some hundred.
    digest = hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def _among(ordered: Sequence[int], mark: int) -> bool:
    at = bisect_left(ordered, mark)
    return at < len(ordered) and ordered[at] == mark


def place_of(archive: Archive) -> str:
    """Where the archive lies: a path or a URL, without a slash at its end."""
    return archive.location("x").removesuffix("/x")
