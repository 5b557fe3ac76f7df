"""An old year's letters, made again from what was frozen, and held against those in the archive.

The fields lie in the ledger, the template in the archive: no statistics and no edition are asked.
Nothing on record is changed, and no frozen file is touched; what is made goes into another folder.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from itertools import zip_longest
from pathlib import Path
from typing import Any

from pipeline import run
from pipeline.archive import Archive
from pipeline.errors import LetterFault, LettersError, Refused, Unavailable
from pipeline.ledger import frozen, hindrances, letters
from pipeline.ledger.frozen import Kept
from pipeline.ledger.letters import Faulted, Prepared
from pipeline.ledger.runs import Run
from pipeline.prepare import Job
from pipeline.progress import Progress
from pipeline.run import Engine, Pipeline

_AROUND = 6  # words


class Outcome(StrEnum):
    """How a letter that was made again stands to the one in the archive."""

    SAME = "same bytes"
    """The file has the SHA-256 that is on record."""
    SAME_WORDS = "same words"
    """Another file that says the same."""
    OTHER_WORDS = "other words"
    NOT_MADE = "not made"
    """It could not be made, or not be trusted; `said` is why."""
    NOT_COMPARED = "not compared"
    """Another file was made, and the one in the archive cannot be read; `said` is why."""


_WORSE = (
    Outcome.SAME,
    Outcome.SAME_WORDS,
    Outcome.NOT_COMPARED,
    Outcome.NOT_MADE,
    Outcome.OTHER_WORDS,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A letter's PDF, or with `kind` a workbook that goes with it: name and SHA-256 in hex."""

    name: str
    sha256: str
    kind: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Remade:
    """What came of one letter.

    `archived` is its file's name within the archive, `made` the name of the new one, None if there
    is none. `before` and `after` are the words around the first that differs. Where what is
    enclosed differs and the letter does not, they are of the workbook.
    """

    authority: str
    name: str
    revision: int
    outcome: Outcome
    archived: str
    made: str | None = None
    said: str = ""
    before: str = ""
    after: str = ""

    @property
    def needs_a_person(self) -> bool:
        """Whether it does not say what the archived letter says, or nobody can tell."""
        return self.outcome not in {Outcome.SAME, Outcome.SAME_WORDS}


def template_of(pipeline: Pipeline, found: Run) -> bytes:
    """The very template that the run was opened with.

    The year's own file, if it is still the same; else the copy in the archive. Raises Refused where
    neither is to be had.
    """
    try:
        data = run.template_of(pipeline, found.year).template.read_bytes()
    except (LettersError, OSError):
        data = b""
    if sha256(data).hexdigest() == found.template_sha256:
        return data
    name = run.template_name(found.template_sha256)
    try:
        return pipeline.archive.get(name, found.template_sha256)
    except Unavailable as error:
        raise Refused(
            f"The letters of {found.year} cannot be made again, as their template is not to be had "
            f"(SHA-256 {found.template_sha256[:12]}). {error} Or put the very file where the "
            f"template of {found.year} lies: {run.template_of(pipeline, found.year).template}"
        ) from error


def remake(
    pipeline: Pipeline,
    engine: Engine,
    found: Run,
    target: Archive,
    *,
    codes: Collection[str] = (),
    progress: Progress,
) -> Iterator[Remade]:
    """Make the run's letters again, those of `codes` or all, and compare each; in any order.

    `engine` is one that keeps its files in `target`, which must not be the run's own archive.
    Raises Refused for a run that is forgotten: there is nothing to make its letters from.
    """
    hindrances.refuse_forgotten(found)
    template = template_of(pipeline, found)
    name = run.template_name(found.template_sha256)
    target.put(name, template)
    names = letters.names(pipeline.ledger, found.id)
    progress.begin("Making", frozen.count(pipeline.ledger, found, codes))
    try:
        for dated in frozen.dates(pipeline.ledger, found):
            job = Job(
                template=name, template_sha256=found.template_sha256, names=names, dated=dated
            )
            waiting: dict[int, Kept] = {}

            def handed_out(waiting: dict[int, Kept], each: Iterator[Kept]) -> Iterator[Kept]:
                for one in each:
                    waiting[one.letter.id] = one
                    yield one

            each = handed_out(waiting, frozen.kept(pipeline.ledger, found, dated, codes))
            for result in engine.each(job, (one.letter for one in each)):
                yield _compared(pipeline.archive, target, waiting.pop(result.letter_id), result)
                progress.advance()
    finally:
        progress.end()


def _compared(archive: Archive, target: Archive, kept: Kept, result: Prepared | Faulted) -> Remade:
    def told(outcome: Outcome, **other: Any) -> Remade:
        return Remade(
            authority=kept.letter.authority_code,
            name=kept.letter.authority_name,
            revision=kept.revision,
            outcome=outcome,
            **({"archived": kept.pdf} | other),
        )

    if isinstance(result, Faulted):
        return told(Outcome.NOT_MADE, said=result.reason)
    before = File(name=kept.pdf, sha256=kept.pdf_sha256)
    after = File(name=result.pdf, sha256=result.pdf_sha256)
    found = [_file_compared(archive, target, before, after, told)]
    made = {one.kind: one for one in result.enclosed}
    for one in kept.enclosed:
        new = made.get(one.kind)
        book = File(name=one.file, sha256=one.sha256, kind=one.kind)
        again = File(name=new.file, sha256=new.sha256) if new is not None else None
        found.append(_file_compared(archive, target, book, again, told))
    return max(found, key=lambda remade: _WORSE.index(remade.outcome))


def _file_compared(
    archive: Archive, target: Archive, before: File, after: File | None, told: Callable[..., Remade]
) -> Remade:
    where: dict[str, Any] = {"archived": before.name, "made": after and after.name}
    if after is None:
        return told(Outcome.NOT_MADE, said=f"Nothing was made of {before.name}.", **where)
    if after.sha256 == before.sha256:
        return told(Outcome.SAME, **where)
    try:
        old = archive.get(before.name, before.sha256)
        new = target.get(after.name, after.sha256)
        if before.kind is None:
            difference = _difference(old, new)
        else:
            difference = _other_rows(before.kind, old, new)
    except (Unavailable, LetterFault) as error:
        return told(Outcome.NOT_COMPARED, said=str(error), **where)
    if difference is None:
        return told(Outcome.SAME_WORDS, **where)
    return told(Outcome.OTHER_WORDS, before=difference[0], after=difference[1], **where)


def _other_rows(kind: str, before: bytes, after: bytes) -> tuple[str, str] | None:
    """The first rows that differ in two workbooks; None if they show the same."""
    from pipeline.workbook import rows

    for one, other in zip_longest(rows(kind, before), rows(kind, after), fillvalue=()):
        if one != other:
            return _as_text(one), _as_text(other)
    return None


def _as_text(row: Sequence[object]) -> str:
    return ", ".join(str(value) for value in row if value is not None) or "no such row"


def _difference(before: bytes, after: bytes) -> tuple[str, str] | None:
    """The words around the first difference in what two PDFs say; None if they say the same.

    Where lines and pages break is not what a letter says.
    """
    from pipeline.proof import Folded, pages_of

    old, new = pages_of(before), pages_of(after)
    if Folded(*old).cased == Folded(*new).cased:
        return None
    words, others = " ".join(old).split(), " ".join(new).split()
    first = next(
        place for place, (one, other) in enumerate(zip_longest(words, others)) if one != other
    )
    there = slice(max(0, first - _AROUND), first + _AROUND)
    return " ".join(words[there]), " ".join(others[there])


def inside(archive: Archive, folder: Path) -> bool:
    """Whether a folder is the archive's own, or lies within it; never so for one in a bucket."""
    place = archive.location("x")
    if "://" in place:
        return False
    root = Path(place).parent.resolve()
    return folder.resolve() == root or root in folder.resolve().parents
