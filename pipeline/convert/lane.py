"""The fast lane: letters of one shape go through one document that LibreOffice keeps loaded.

Loading a docx is more than half of a conversion. What letters of a shape differ in (see `shape`)
is exchanged in a document loaded once, which is exported again and again. The stamped docx stays
the letter of record: that a kept document gives the PDF that the docx would is proved (see
`parity`) on each shape's first letters and on one of many after that. A shape that it is not true
of, or that LibreOffice fails at, goes the plain way from then on, and `Lane.untrue` says so.
"""

import json
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from pipeline.convert.converter import Converter, NotKept
from pipeline.convert.parity import differences
from pipeline.convert.shape import Kind, Shaped, Slot, mark, marked, shaped
from pipeline.errors import LetterFault

AFTER = 3
"""Letters of a shape that go the plain way first: to keep a document is worth it for many only."""
FIRST = 2
"""Letters of a kept document that are made both ways before it is trusted."""
EVERY = 100
"""One of so many letters of a trusted document is made both ways."""
DOCUMENTS = 24
"""Documents kept loaded at most; the one longest unused goes."""
LONGER = 40
"""Characters that a text may be longer or shorter than that of the shape's first letter.

Where whole lines come and go, LibreOffice does not always break pages as in a docx just loaded.
"""
SHAPES = 2000
"""Shapes remembered at most."""


@dataclass(slots=True, kw_only=True)
class _Shape:
    """What is known of a shape; `kept` is the number of its document, 0 for none."""

    first: Sequence[Slot]
    seen: int = 0
    varying: set[int] = field(default_factory=set)
    narrow: bool = False
    """Whether only what letters were seen to differ in is exchanged, as not everything can be."""
    kept: int = 0
    made: int = 0
    proved: int = 0
    off: bool = False


def _silent(_reason: str) -> None:
    return


class Lane:
    """Converts as its converter does, and keeps documents loaded where that is proved to be true.

    `told` is called with a sentence when a shape is given up; after `after` letters of a shape a
    document is kept, `documents` at most, and one letter of `every` is made both ways.
    """

    def __init__(
        self,
        converter: Converter,
        *,
        told: Callable[[str], None] = _silent,
        after: int = AFTER,
        documents: int = DOCUMENTS,
        every: int = EVERY,
    ) -> None:
        self._converter = converter
        self._told = told
        self._after = after
        self._documents = documents
        self._every = every
        self._shapes: OrderedDict[str, _Shape] = OrderedDict()
        self._kept: OrderedDict[int, _Shape] = OrderedDict()
        self._numbers = 0
        self._start = 0
        self.fast = 0
        """Letters whose PDF is of a kept document."""
        self.untrue: list[str] = []
        """Why shapes were given up, as sentences."""

    def convert(self, docx: bytes) -> bytes:
        """Answer the PDF of a docx, not yet finished; raises like `Converter.convert`."""
        letter = shaped(docx)
        shape = self._known(letter) if letter is not None else None
        if (
            letter is None
            or shape is None
            or shape.off
            or shape.seen <= self._after
            or not _near(shape.first, letter.slots)
        ):
            return self._converter.convert(docx, settle=True)
        try:
            pdf = self._exported(shape, letter, docx)
        except NotKept as fault:
            if fault.ended:
                self._forget_all()
            self._give_up(shape, f"LibreOffice cannot keep it loaded: {fault}")
            return self._converter.convert(docx, settle=True)
        shape.made += 1
        if shape.proved >= FIRST and shape.made % self._every:
            self.fast += 1
            return pdf
        # Against what the plain lane makes, once; then against the same with its rings drawn alike,
        # which has the same bytes when all is well, and those are compared in no time.
        plain = self._converter.convert(docx, settle=shape.proved > 0)
        try:
            found = differences(plain, pdf)
        except LetterFault as fault:
            found = [str(fault)]
        if found:
            self._give_up(shape, f"a letter would come out otherwise than its docx: {found[0]}")
            return self._converter.convert(docx, settle=True)
        shape.proved += 1
        self.fast += 1
        return pdf

    def _known(self, letter: Shaped) -> _Shape:
        """What is known of a letter's shape, this letter included."""
        shape = self._shapes.get(letter.key)
        if shape is None:
            shape = self._shapes[letter.key] = _Shape(first=letter.slots)
        self._shapes.move_to_end(letter.key)
        while len(self._shapes) > SHAPES:
            _, oldest = self._shapes.popitem(last=False)
            oldest.off = True
        shape.seen += 1
        for number, (here, there) in enumerate(zip(shape.first, letter.slots, strict=True)):
            if here.value != there.value and number not in shape.varying:
                shape.varying.add(number)
                if not shape.narrow:
                    continue
                shape.proved = 0
                # What is kept does not let this be exchanged; it is closed when there is need of
                # room, or with the office.
                shape.kept = 0
        return shape

    def _forget_all(self) -> None:
        """They ended with the office that they were loaded in."""
        for shape in self._kept.values():
            shape.kept = 0
        self._kept.clear()

    def _exported(self, shape: _Shape, letter: Shaped, docx: bytes) -> bytes:
        start = self._converter.ready()
        if start != self._start:
            self._forget_all()
            self._start = start
        if not shape.kept:
            self._keep(shape, letter, docx)
        self._kept.move_to_end(shape.kept)
        values = {number: letter.slots[number].value for number in _exchanged(shape)}
        asked = json.dumps({"number": shape.kept, "values": values})
        return self._converter.export(asked.encode())

    def _keep(self, shape: _Shape, letter: Shaped, docx: bytes) -> None:
        while len(self._kept) >= self._documents:
            number, oldest = self._kept.popitem(last=False)
            if oldest.kept == number:
                oldest.kept = 0
            self._converter.forget(number)
        self._numbers += 1
        exchanged = _exchanged(shape)
        loaded = marked(docx, exchanged)
        as_loaded = shaped(loaded)
        if as_loaded is None or as_loaded.key != letter.key:
            raise NotKept("with marks in it, it is of another shape", ended=False)
        texts = {each for each in exchanged if letter.slots[each].kind is Kind.TEXT}
        slots = [_told(number, as_loaded.slots, texts) for number in sorted(exchanged)]
        asked = json.dumps({"number": self._numbers, "slots": slots})
        try:
            self._converter.keep(asked.encode(), loaded)
        except NotKept as fault:
            if fault.ended or shape.narrow:
                raise
            # Something in it cannot be exchanged; perhaps letters do not differ in that.
            shape.narrow = True
            self._keep(shape, letter, docx)
            return
        shape.kept = self._numbers
        self._kept[shape.kept] = shape

    def _give_up(self, shape: _Shape, why: str) -> None:
        shape.off = True
        shape.kept = 0
        sentence = f"A shape of letters is made the plain way from now on: {why.rstrip('.')}."
        self.untrue.append(sentence)
        self._told(sentence)


def _exchanged(shape: _Shape) -> Collection[int]:
    return shape.varying if shape.narrow else range(len(shape.first))


def _near(first: Sequence[Slot], slots: Sequence[Slot]) -> bool:
    return all(
        abs(len(here.value) - len(there.value)) <= LONGER
        for here, there in zip(first, slots, strict=True)
        if here.kind is Kind.TEXT
    )


def _told(number: int, slots: Sequence[Slot], texts: set[int]) -> dict[str, object]:
    slot = slots[number]
    after = number - 1 if slot.follows and number - 1 in texts else None
    return {
        "number": number,
        "kind": slot.kind.value,
        "mark": mark(number),
        "drawing": slot.drawing,
        "part": slot.part,
        "value": slot.value,
        "after": after,
    }
