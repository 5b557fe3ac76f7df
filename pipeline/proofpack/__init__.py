"""The proof pack: a year's letters to page through before somebody approves them.

A cover with the counts, the digest, the checks and the letters to look at first; then every letter
that would go, each page marked as a proof; and rows that say who gets what. The letters' own files
are read and not changed, and nothing is put on record.

`marks` finds the letters that say something unlike the others; `cover` writes the first pages and
`volumes` puts the pages together.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

from pipeline import readiness, wording
from pipeline.errors import LetterFault, Refused
from pipeline.ledger import approvals, letters, looking, story
from pipeline.ledger.looking import Looked
from pipeline.ledger.runs import Run
from pipeline.message import Wording
from pipeline.progress import Progress
from pipeline.proofpack import cover, volumes
from pipeline.proofpack.cover import Cover, Specimen
from pipeline.proofpack.marks import Marker, Marks
from pipeline.readiness import Finding
from pipeline.run import Pipeline

__all__ = ["VOLUME", "Pack", "Row", "make"]

VOLUME = 1000
"""Letters in one file: what a viewer still opens at once."""

_PREFIX = 12  # digits of the digest, as everywhere where people see it


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One recipient of one letter, and where to find it: `number` counts letters, `file` is a PDF.

    `page` is the first in that file. `digest` is the letter's own, in hex; `marks` are sentences.
    """

    number: int
    authority: str
    name: str
    kind: str
    revision: int
    recipient: str
    address: str
    roles: Sequence[str]
    copied: bool
    subject: str
    pages: int
    pdf: str
    pdf_sha256: str
    digest: str
    file: str
    page: int
    marks: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    """What was made: the files in order, the root digest of the letters in them, and counts."""

    digest: str
    letters: int
    pages: int
    marked: int
    withheld: int
    faults: int
    blocking: int
    advisory: int
    files: Sequence[Path]


def make(
    pipeline: Pipeline,
    found: Run,
    folder: Path,
    *,
    to_pdf: Callable[[bytes], bytes],
    take: Callable[[Row], None],
    now: datetime,
    progress: Progress,
    volume: int = VOLUME,
) -> Pack:
    """Make the pack of a run's letters in a folder that is there; `take` is given each row.

    `to_pdf` converts the cover's docx. Raises Refused while there are letters still to be made, or
    where none would go; and where a letter changes while the pack is made, as the digest would be
    of others than those in it. Raises Unavailable where a file of the archive cannot be read.
    """
    db, sender = pipeline.ledger, pipeline.outbox.sender.identity
    unmade = letters.count_unprepared(db, found.id)
    if unmade:
        raise Refused(
            f"{unmade:,} of the letters of {found.year} are still to be made; make all of them "
            f"first: letters prepare {found.year}"
        )
    root, count = approvals.digest(db, found, sender)
    if not count:
        raise Refused(
            f"There is no letter of {found.year} to look at: none is made and may go. "
            f"letters status {found.year} says how they stand."
        )
    ready = readiness.look(pipeline, found.year, now=now)
    progress.begin("Reading", count)
    try:
        marker = Marker(pipeline, found)
        for letter in looking.letters(db, found):
            marker.see(letter)
            progress.advance()
    finally:
        progress.end()
    marks, by_code = marker.marks(), _by_code(ready.findings)
    marked = marker.count(marks, by_code)
    front = Cover(
        year=found.year,
        made=now,
        opened=found.opened_at,
        digest=root,
        mode=pipeline.outbox.mode,
        sender=sender,
        people=pipeline.people,
        summary=story.summary(db, found, pipeline.outbox.mode),
        recipients=looking.count_recipients(db, found),
        pages=looking.count_pages(db, found),
        ready=ready,
        marks=marks,
        marked=marked,
        left_out=list(looking.left_out(db, found)),
        specimen=_specimen(found, next(looking.letters(db, found))),
        enclosures=found.edition.get("enclosures") or (),
    )
    making = _Making(
        pipeline=pipeline,
        found=found,
        folder=folder,
        root=root,
        count=count,
        marks=marks,
        by_code=by_code,
        now=now,
    )
    first = to_pdf(cover.written(front))
    progress.begin("Putting together", count)
    try:
        files, pages = making.files(first, take, progress, volume)
    finally:
        progress.end()
    if approvals.digest(db, found, sender)[0] != root:
        for file in files:
            file.unlink()
        raise Refused(
            f"Letters of {found.year} were changed, withheld or released while the proof was made, "
            f"so it was thrown away. To make it of what they are now: letters proof {found.year}"
        )
    return Pack(
        digest=root,
        letters=count,
        pages=pages,
        marked=marked,
        withheld=front.summary.letters["withheld"],
        faults=front.summary.letters["fault"],
        blocking=sum(one.kind is readiness.Kind.BLOCKING for one in ready.findings),
        advisory=sum(one.kind is readiness.Kind.ADVISORY for one in ready.findings),
        files=files,
    )


def name(year: int, root: str, number: int = 1, of: int = 1) -> str:
    """The name of one of a pack's files, without its ending: it tells two packs apart."""
    part = f"-{number}-of-{of}" if of > 1 else ""
    return f"letters-{year}-proof-{root[:_PREFIX]}{part}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Making:
    """What all files of one pack are made from."""

    pipeline: Pipeline
    found: Run
    folder: Path
    root: str
    count: int
    marks: Marks
    by_code: Mapping[str, Sequence[str]]
    now: datetime

    def files(
        self, first: bytes, take: Callable[[Row], None], progress: Progress, volume: int
    ) -> tuple[list[Path], int]:
        db, sender = self.pipeline.ledger, self.pipeline.outbox.sender.identity
        number_of_files = -(-self.count // volume)
        each = enumerate(looking.letters(db, self.found), start=1)
        digests = approvals.leaves(db, self.found, sender)
        made: list[Path] = []
        pages = number = 0
        while some := list(islice(each, volume)):
            if some[0][0] > number_of_files * volume:  # one more since they were counted
                break
            number += 1
            title = name(self.found.year, self.root, number, number_of_files)
            with volumes.Volume(self.folder / f"{title}.pdf", title=self._title()) as book:
                if number == 1:
                    book.cover(first)
                for at, letter in some:
                    page = book.add(
                        self.pipeline.archive.get(letter.pdf, letter.pdf_sha256),
                        head=f"PROOF {self.root[:_PREFIX]}  |  no. {at:,} of {self.count:,}  |  "
                        f"{letter.authority_code} {letter.authority_name}",
                        bookmark=f"{at}  {letter.authority_name}",
                        marks=self._marks(letter),
                    )
                    _, digest = next(digests, ("", ""))
                    for row in self._rows(at, letter, digest, book.file.name, page):
                        take(row)
                    progress.advance()
                pages += book.pages
            made.append(book.file)
        return made, pages

    def _title(self) -> str:
        return f"Proof of the annual letters {self.found.year}"

    def _marks(self, letter: Looked) -> list[str]:
        return [*self.marks.of.get(letter.id, ()), *self.by_code.get(letter.authority_code, ())]

    def _rows(
        self, number: int, letter: Looked, digest: str, file: str, page: int
    ) -> Iterator[Row]:
        words = _words(self.found, letter)
        for one in letter.recipients:
            yield Row(
                number=number,
                authority=letter.authority_code,
                name=letter.authority_name,
                kind=letter.kind,
                revision=letter.revision,
                recipient=one["name"],
                address=one["address"],
                roles=one["roles"],
                copied=one["kind"] == "cc",
                subject=words.subject,
                pages=letter.pages,
                pdf=letter.pdf,
                pdf_sha256=letter.pdf_sha256,
                digest=digest,
                file=file,
                page=page,
                marks=self._marks(letter),
            )


def _by_code(findings: Sequence[Finding]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for one in findings:
        if one.code is not None:
            found.setdefault(one.code, []).append(one.found)
    return found


def _words(found: Run, letter: Looked) -> Any:
    """The message's words for one letter; what is wrong with them stands in their place."""
    try:
        return wording.render(wording.WordingTemplates(**found.wording), letter.fields)
    except LetterFault as fault:
        return Wording(subject=str(fault), text=str(fault), html="")


def _specimen(found: Run, letter: Looked) -> Specimen:
    words = _words(found, letter)
    return Specimen(name=letter.authority_name, subject=words.subject, text=words.text)
