"""The first pages of a proof pack, as a docx: counts, digest, checks, and what to look at first."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

from docx import Document
from docx.oxml.ns import qn
from docx.shared import Pt, RGBColor

from pipeline.delivery import Mode
from pipeline.ledger.looking import LeftOut
from pipeline.ledger.story import Summary
from pipeline.london import LONDON
from pipeline.proofpack.marks import Marks
from pipeline.readiness import TITLES, Finding, Kind, Readiness

_FONT = "Arial"  # the letters' own, which is installed if they could be made
_SHOWN = 12  # findings of one check, before the rest is only counted
_MARKED = 200  # reasons that are listed; the bookmarks have all letters
_OUTSIDE = 300

_MODES = {
    Mode.CAPTURE: "capture: mail is kept on this machine, and nobody is written to",
    Mode.REDIRECT: "redirect: everything goes to one inbox, and no authority is written to",
    Mode.LIVE: "live: to the authorities",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Specimen:
    """The message as one authority gets it."""

    name: str
    subject: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cover:
    """What the cover says; `recipients` are written to, and in copy; `marked` counts letters.

    `enclosures` are what goes with each letter.
    """

    year: int
    made: datetime
    opened: datetime
    digest: str
    mode: Mode
    sender: Sequence[str]
    people: int
    summary: Summary
    recipients: tuple[int, int]
    pages: int
    ready: Readiness
    marks: Marks
    marked: int
    left_out: Sequence[LeftOut]
    specimen: Specimen
    enclosures: Sequence[str] = ()


def written(front: Cover) -> bytes:
    """The cover as a docx."""
    document = Document()
    _set_fonts(document)
    document.core_properties.title = f"Proof of the annual letters {front.year}"
    document.core_properties.language = "en-GB"
    document.add_heading(f"Proof of the annual letters {front.year}", level=1)
    _plain(
        document,
        f"Made on {_moment(front.made)}, of the run that was opened on {_moment(front.opened)}. "
        "These pages are for looking at: the letters themselves lie in the archive, and nothing "
        "was sent.",
    )
    _counts(document, front)
    _approval(document, front)
    _findings(document, front.ready.findings)
    _marks(document, front.marks)
    _left_out(document, front.left_out)
    _message(document, front)
    file = io.BytesIO()
    document.save(file)
    return file.getvalue()


def _counts(document: Any, front: Cover) -> None:
    letters = front.summary.letters
    to, copied = front.recipients
    rows = [
        ("Letters that would go", f"{letters['prepared']:,}, {front.pages:,} pages"),
        ("To", f"{to:,} people, and {copied:,} in copy"),
        ("From", "; answers to ".join(one for one in front.sender if one)),
        ("Enclosed with each", " and ".join(front.enclosures) or "nothing"),
        ("Mode that is set", _MODES[front.mode]),
        ("Withheld by a person", f"{letters['withheld']:,}"),
        ("Cannot be made", f"{letters['fault']:,}"),
    ]
    blocking = sum(one.kind is Kind.BLOCKING for one in front.ready.findings)
    advisory = len(front.ready.findings) - blocking
    rows.append(("Checks", f"{blocking:,} blocking, {advisory:,} advisory"))
    rows.append(("Letters to look at first", f"{front.marked:,}"))
    _table(document, None, rows)


def _approval(document: Any, front: Cover) -> None:
    document.add_heading("What is approved", level=2)
    people = {0: "Nobody is asked to approve (approval.people is 0).", 1: "One person approves."}
    _plain(
        document,
        people.get(front.people, "Two different people approve.")
        + " An approval is of the text and figures of each letter, its PDF, whom it goes to, what "
        "is enclosed, the template, the words of the message and whom it is from. Its digest:",
    )
    grouped = " ".join(front.digest[at : at + 8] for at in range(0, 64, 8))
    _plain(document, grouped, bold=True)
    _plain(document, f"letters approve {front.year} --digest {front.digest[:12]} --by NAME")


def _findings(document: Any, findings: Sequence[Finding]) -> None:
    document.add_heading("Checks, the worst first", level=2)
    if not findings:
        _plain(document, "Nothing was found.")
    for (kind, check), some in groupby(findings, key=lambda one: (one.kind, one.check)):
        same = list(some)
        number = f" ({len(same):,})" if len(same) > 1 else ""
        _item(document, f"{kind.value.capitalize()}: {TITLES[check]}{number}", "")
        alike = len({one.fix for one in same}) == 1
        for one in same[:_SHOWN]:
            _item(document, "", f"{one.whose}{one.found}{'' if alike else f' {one.fix}'}")
        if len(same) > _SHOWN:
            _item(document, "", f"and {len(same) - _SHOWN:,} more of these.")
        if alike:
            _item(document, "What to do: ", same[0].fix)


def _marks(document: Any, marks: Marks) -> None:
    document.add_heading("Letters to look at first", level=2)
    _plain(
        document,
        "A red bar stands beside the pages of letters that the checks above name, and of those "
        "that say what few others of their kind do, or do not say what nearly all do. Figures, "
        "names and dates are not compared.",
    )
    if marks.in_general:
        _plain(document, f"Unlike {marks.compared_with}, and so in no list of single letters:")
        for one in marks.in_general:
            _item(document, "", one)
    elif marks.because:
        _plain(document, f"They are not held against last year's letters. {marks.because}")
    if not marks.of:
        _plain(document, "None says anything that others do not.")
        return
    # The same said of several letters is said once.
    alike: dict[str, list[str]] = {}
    for id_, said in marks.of.items():
        for one in said:
            alike.setdefault(one, []).append(f"{marks.named[id_][1]} ({marks.named[id_][0]})")
    rows = [(", ".join(some), said) for said, some in list(alike.items())[:_MARKED]]
    _table(document, ("Letters", "Why"), rows)
    if len(alike) > _MARKED:
        _plain(document, f"and {len(alike) - _MARKED:,} more; the rows beside this file have all.")


def _left_out(document: Any, left_out: Sequence[LeftOut]) -> None:
    document.add_heading("Letters that do not go", level=2)
    if not left_out:
        _plain(document, "There is none.")
        return
    rows = [
        (
            f"{one.name} ({one.authority})",
            f"{'Withheld' if one.withheld else 'Cannot be made'}: {one.because}",
        )
        for one in left_out[:_OUTSIDE]
    ]
    _table(document, ("Authority", "Why"), rows)
    if len(left_out) > _OUTSIDE:
        _plain(document, f"and {len(left_out) - _OUTSIDE:,} more.")


def _message(document: Any, front: Cover) -> None:
    document.add_heading(f"The message, as {front.specimen.name} gets it", level=2)
    _plain(document, f"Subject: {front.specimen.subject}", bold=True)
    for line in front.specimen.text.splitlines():
        if line.strip():
            _plain(document, line)


def _table(document: Any, heads: Sequence[str] | None, rows: Sequence[Sequence[str]]) -> None:
    table = document.add_table(rows=0, cols=2, style="Table Grid")
    for number, row in enumerate([*([heads] if heads else []), *rows]):
        cells = table.add_row().cells
        for cell, text in zip(cells, row, strict=True):
            run = cell.paragraphs[0].add_run(_printable(text))
            run.bold = bool(heads) and number == 0
            run.font.size = Pt(9)
            cell.paragraphs[0].paragraph_format.space_after = Pt(1)
    for row in table.rows:
        row.cells[0].width, row.cells[1].width = Pt(150), Pt(310)
    document.add_paragraph().paragraph_format.space_after = Pt(2)


def _plain(document: Any, text: str, *, bold: bool = False) -> None:
    paragraph = document.add_paragraph()
    run = paragraph.add_run(_printable(text))
    run.bold, run.font.size = bold, Pt(10)
    paragraph.paragraph_format.space_after = Pt(4)


def _item(document: Any, kind: str, text: str) -> None:
    paragraph = document.add_paragraph()
    paragraph.paragraph_format.left_indent = Pt(12)
    paragraph.paragraph_format.space_after = Pt(3)
    if kind:
        start = paragraph.add_run(kind)
        start.bold, start.font.size = True, Pt(9)
        if kind.startswith(Kind.BLOCKING.value.capitalize()):
            start.font.color.rgb = RGBColor(0xB0, 0x10, 0x10)
    run = paragraph.add_run(_printable(text))
    run.font.size = Pt(9)


def _printable(text: str) -> str:
    """Without what no docx can hold."""
    return "".join(sign for sign in text if sign.isprintable() or sign in "\n\t")


def _set_fonts(document: Any) -> None:
    """One font for everything: the styles that python-docx begins with name others, by theme."""
    for fonts in document.styles.element.iter(qn("w:rFonts")):
        fonts.attrib.clear()
        for name in ("w:ascii", "w:hAnsi", "w:cs", "w:eastAsia"):
            fonts.set(qn(name), _FONT)
    for level in (1, 2):
        style = document.styles[f"Heading {level}"]
        style.font.color.rgb = RGBColor(0, 0, 0)
        style.font.size = Pt(18 if level == 1 else 13)


def _moment(at: datetime) -> str:
    local = at.astimezone(LONDON)
    return f"{local.day} {local:%B %Y at %H:%M}"
