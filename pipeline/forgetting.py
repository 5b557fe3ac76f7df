"""Forget the people of old years: in the ledger first, then in files, then in what was left over.

The ledger says at once that a year is forgotten. What a crash leaves lying after that is removed by
the next call, and `audit` says until then that it is still there.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.parser import BytesHeaderParser
from itertools import islice
from pathlib import Path

from pipeline import home, log
from pipeline.archive import Archive, enclosure_name, letter_name, message_name
from pipeline.database import Database
from pipeline.errors import Misconfigured, Refused, Unavailable
from pipeline.ledger import files, forgetting
from pipeline.ledger.forgetting import Extent
from pipeline.letter import CASES
from pipeline.london import LONDON
from pipeline.progress import Progress
from pipeline.run import Pipeline

_CHUNK = 500
_HEAD = 64 * 1024  # of a message, in which its Message-ID stands
_MESSAGE = re.compile(r"\d{4}/messages/[^/]+\.eml")
_NAMED = re.compile(r"(?P<stem>.+)\.[0-9a-f]{12}\.(pdf|eml|xlsx)")
_PART = re.compile(r"(.*/)?\.[^/]*\.part")  # what a write that was broken off has left


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What forgetting would concern: in ledger and archive, and of mail kept on this machine."""

    extent: Extent
    captured: int

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to forget."""
        return self.extent.is_empty and not self.captured


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """What was forgotten by one call, and how much of each kind.

    `left` are the places of files of these years that the ledger does not know, and that may be
    another one's. `versions`: the archive has kept older versions of what was removed.
    """

    years: Sequence[int]
    letters: int
    files: int
    captured: int
    mails: int
    officers: int
    remarks: int
    left: Sequence[str]
    versions: bool


def look(pipeline: Pipeline, before: int, *, keep: int, statistics: bool, now: datetime) -> Look:
    """What forgetting the years before `before` would concern; changes nothing.

    Letters are kept for `keep` whole years after their own, 0: for ever. `statistics`: those in the
    ledger's database are meant, too. Raises Refused for years that have to be kept or are not
    finished.
    """
    _refuse_younger(before, keep, now)
    return Look(
        extent=forgetting.extent(pipeline.ledger, before, statistics=statistics),
        captured=len(_captured(pipeline, before)),
    )


def forget(
    pipeline: Pipeline,
    before: int,
    *,
    keep: int,
    statistics: bool,
    person: str,
    now: datetime,
    progress: Progress,
) -> Forgotten:
    """Forget the people of the years before `before`, or go on with it.

    Raises Refused as `look`, Misconfigured for a ledger that may be a copy of another one, whose
    archive this would empty, and Unavailable where something does not let itself be removed: the
    next call goes on.
    """
    _refuse_younger(before, keep, now)
    _refuse_elsewhere(pipeline)
    db = pipeline.ledger
    found = forgetting.extent(db, before, statistics=statistics)
    years = forgetting.begin(db, found, person=person, now=now)
    letters = 0
    if total := sum(found.letters.values()) + found.pending:
        progress.begin("Forgetting", total)
        try:
            while some := forgetting.forget_some(db, now=now):
                letters += some
                for _ in range(some):
                    progress.advance()
        finally:
            progress.end()
    mails = forgetting.forget_mails(db, before, now=now)
    officers, remarks = forgetting.forget_statistics(db, before) if statistics else (0, 0)
    log.info("letters.forgotten", letters=letters)
    removed, versions, left = _remove_files(pipeline, progress)
    captured = _captured(pipeline, None)
    for path in captured:
        path.unlink(missing_ok=True)
    if found.interrupted or years or letters or mails or officers or remarks:
        try:
            db.rewrite(forgetting.TABLES)
        except Unavailable as error:
            raise Unavailable(
                f"{error} What was to be forgotten is, but its bytes may still lie in files of the"
                " database. Stop whatever else uses it, such as letters serve, and give the same"
                " command again: it goes on."
            ) from error
        forgetting.end(db, before, files=removed, person=person, now=now)
    log.info("files.removed", count=removed + len(captured))
    return Forgotten(
        years=years,
        letters=letters,
        files=removed,
        captured=len(captured),
        mails=mails,
        officers=officers,
        remarks=remarks,
        left=left,
        versions=versions,
    )


def is_stranger(db: Database, archive: Archive, name: str) -> bool:
    """Whether a file is a message that the ledger has never frozen, in these bytes or in others.

    Of two that wrote the same message down at once, or of one that was killed between writing and
    recording, the ledger has the message in the other's bytes: that is harmless.
    """
    if not _MESSAGE.fullmatch(name):
        return False
    try:
        head = BytesHeaderParser().parsebytes(archive.beginning(name, _HEAD))
    except (Unavailable, Refused):
        return True
    return not files.is_frozen(db, str(head.get("Message-ID", "")).strip())


def _refuse_younger(before: int, keep: int, now: datetime) -> None:
    if not keep:
        raise Refused(
            "retention.years is 0 in the settings, so nothing is ever forgotten. To forget old "
            "years, set for how many years their letters have to be kept."
        )
    latest = now.astimezone(LONDON).year - keep
    if before > latest:
        raise Refused(
            f"The letters of {before - 1} have to be kept until the end of {before - 1 + keep} "
            f"(retention.years is {keep}). The latest year that can be named now is {latest}: "
            f"letters forget --before {latest}"
        )


def _refuse_elsewhere(pipeline: Pipeline) -> None:
    """In every mode: a copy's archive may be the original's."""
    mark = pipeline.outbox.mark
    if mark is None:
        return
    found = home.look(pipeline.ledger, mark)
    if not found.may_send:
        raise Misconfigured(
            f"{home.sentence(pipeline.ledger, mark, found)}. Nothing is forgotten with it, as its "
            f"archive may be another ledger's. {home.FIX}"
        )


def _remove_files(pipeline: Pipeline, progress: Progress) -> tuple[int, bool, list[str]]:
    """Remove what lies in the archive of all that is forgotten, also what is left of earlier calls.

    How many files, whether older versions of them were kept, and the places of those that the
    ledger does not know.
    """
    db, archive = pipeline.ledger, pipeline.archive
    years, mails = forgetting.years(db), forgetting.any_mail(db)
    if not years and not mails:
        return 0, False, []
    archive.require()  # a place that is away would look as empty as it should be
    names: list[str] = []
    left: list[str] = []
    for year, whole in years.items():
        stems = _stems(db, year) if whole else set()
        for name, known in _listed(db, archive, f"{year:04d}"):
            if known or _is_left_over(db, archive, name, stems):
                names.append(name)
            elif known is None and whole:
                left.append(f"{archive.location(f'{year:04d}')}/{name.partition('/')[2]}")
    if mails:
        names += (name for name, known in _listed(db, archive, "returned") if known)
    removed, versions = 0, False
    if not names:
        return 0, False, left
    progress.begin("Removing", len(names))
    try:
        for kept in archive.remove(names):
            removed += 1
            versions = versions or kept
            progress.advance()
    finally:
        progress.end()
    return removed, versions, left


def _listed(db: Database, archive: Archive, within: str) -> Iterator[tuple[str, bool | None]]:
    """The names in a folder of the archive, and whether the ledger has forgotten what they hold.

    None where it does not know of them.
    """
    listed = archive.names(within)
    while chunk := list(islice(listed, _CHUNK)):
        plain = [name for name in chunk if name.isprintable()]
        named, gone = files.named(db, plain), files.forgotten(db, plain)
        for name in chunk:
            yield name, name in gone if name in named else None


def _stems(db: Database, year: int) -> set[str]:
    """How the names begin of all files of forgotten letters of the year."""
    nobody = "0" * 64
    found: set[str] = set()
    for code, authority in forgetting.stems(db, year):
        names = [name(year, code, authority, nobody) for name in (letter_name, message_name)]
        names += [enclosure_name(year, code, authority, kind, nobody) for kind in CASES]
        for name in names:
            matched = _NAMED.fullmatch(name)
            assert matched is not None  # noqa: S101 - that is what such names look like
            found.add(matched["stem"])
    return found


def _is_left_over(db: Database, archive: Archive, name: str, stems: set[str]) -> bool:
    """Whether a file that the ledger does not name was left by a run of it that was killed."""
    if not stems:
        return False
    if _PART.fullmatch(name):
        return True
    found = _NAMED.fullmatch(name)
    return found is not None and found["stem"] in stems and not is_stranger(db, archive, name)


def _captured(pipeline: Pipeline, before: int | None) -> list[Path]:
    """The captured mails of letters before a year; without one, of those that are forgotten."""
    from pipeline import capture

    found: list[Path] = []
    mails = capture.kept(pipeline.outbox.maildir)
    while chunk := list(islice(mails, _CHUNK)):
        meant = forgetting.message_ids(pipeline.ledger, [id_ for _, id_ in chunk], before)
        found += (path for path, id_ in chunk if id_ in meant)
    return found
