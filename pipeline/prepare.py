"""Prepare one letter: stamp the template, convert, finish, prove, archive.

Pure in the sense that matters: the same frozen letter, template and LibreOffice give the same bytes
under the same name, so doing it twice, or on another machine, is harmless.
"""

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pipeline import log
from pipeline.archive import Archive, enclosure_name, letter_name
from pipeline.errors import LetterFault
from pipeline.ledger.enclosures import Enclosed
from pipeline.ledger.letters import Faulted, FrozenLetter, Prepared
from pipeline.letter import MEASURES

if TYPE_CHECKING:
    from pipeline.convert import Converter, Lane
    from pipeline.proof import Expectation, Names
    from pipeline.template import CompiledTemplate


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What all letters of a run have in common; small enough to send to every worker.

    `names` are the authorities that letters could be confused with; `dated` goes into the PDFs.
    """

    template: str
    template_sha256: str
    names: Sequence[str]
    dated: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparer:
    """One lane: a compiled template, a LibreOffice, an archive."""

    template: "CompiledTemplate"
    converter: "Converter | Lane"
    archive: Archive
    names: "Names"
    dated: datetime

    def prepare(self, letter: FrozenLetter) -> Prepared | Faulted:
        """Make one letter's file, or say why it cannot be made or trusted."""
        began = time.monotonic()
        made = self._made(letter)
        if not letter.id:
            return made  # on trial, in nobody's record
        failed = isinstance(made, Faulted)
        tell = log.warning if failed else log.info
        tell(
            "letter.faulted" if failed else "letter.made",
            run=letter.run_id,
            year=letter.year,
            letter=letter.id,
            authority=letter.authority_code,
            pages=None if isinstance(made, Faulted) else made.pages,
            seconds=time.monotonic() - began,
        )
        return made

    def _made(self, letter: FrozenLetter) -> Prepared | Faulted:
        from pipeline.convert import finish
        from pipeline.proof import prove

        try:
            docx = self.template.stamp(letter.fields)
            docx_sha256 = hashlib.sha256(docx).hexdigest()
            pdf = finish(self.converter.convert(docx), created=self.dated, seed=docx_sha256)
            proof = prove(pdf, self._expected(letter.fields), self.names)
            books = workbooks(letter) if letter.cases else {}
        except LetterFault as fault:
            return Faulted(letter_id=letter.id, reason=str(fault))
        sha256 = hashlib.sha256(pdf).hexdigest()
        name = letter_name(letter.year, letter.authority_code, letter.authority_name, sha256)
        self.archive.put(name, pdf)
        enclosed = []
        for kind, data in books.items():
            digest = hashlib.sha256(data).hexdigest()
            file = enclosure_name(
                letter.year, letter.authority_code, letter.authority_name, kind, digest
            )
            self.archive.put(file, data)
            enclosed.append(Enclosed(kind=kind, file=file, sha256=digest))
        return Prepared(
            letter_id=letter.id,
            pdf=name,
            pdf_sha256=sha256,
            docx_sha256=docx_sha256,
            pages=proof.pages,
            enclosed=tuple(enclosed),
        )

    def _expected(self, fields: Mapping[str, Any]) -> "Expectation":
        from pipeline.proof import Expectation

        used = self.template.used
        texts = [fields["period_end_short"]]
        # Whoever is written to must be named as written, whatever letters a font may lack.
        texts += [
            fields[name] for name in ("letter_date", "salutation", "signatory") if name in used
        ]
        texts += fields["address_lines"] if "address_lines" in used else []
        for measure in MEASURES:
            panel = fields[measure]
            texts += [panel["percent"], panel["average"]]
            texts.append(f"{panel['whole']} {panel['whole_label']}")
            if f"{measure}.part" in used and panel["part_label"]:
                texts.append(f"{panel['part']} {panel['part_label']}")
        return Expectation(
            authority=fields["authority"],
            title=self.template.title(fields),
            texts=[text for text in texts if text],
            own_names=[
                *fields["address_lines"],
                fields["salutation"],
                fields["noun"],
                fields["succession"],
                fields.get("replaces", ""),  # letters that were frozen before there was one
                fields.get("enclosures", ""),
                *fields["remarks"],
                fields["signatory"],
                *fields["signatory_posts"],
                *(str(fact) for fact in fields["facts"].values()),
            ],
            panel_headings=self.template.panel_headings,
            fixed_texts=self.template.fixed_texts,
        )


def workbooks(letter: FrozenLetter) -> dict[str, bytes]:
    """What goes with the letter, by what it is; each proved.

    Raises LetterFault where the cases are not those that were frozen, or cannot be enclosed.
    """
    from pipeline import workbook  # which editions that enclose nothing need not wait for

    books = {}
    for kind, cases in letter.cases.items():
        books[kind] = workbook.made(kind, letter.authority_code, letter.fields, cases.rows)
        if not cases.is_whole:
            raise LetterFault(
                f"The {kind} to be enclosed are not those that were frozen with the letter: "
                "somebody has changed the ledger. Nothing of them is sent; begin the run anew."
            )
    return books
