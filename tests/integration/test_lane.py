"""The fast lane with a real LibreOffice: the same bytes, and back to the plain way where not."""

import io
import os
import signal
from collections.abc import Iterator

import docx
import pytest
from docx.oxml.ns import qn

from pipeline.convert import Converter, Lane, find_office
from pipeline.convert.parity import differences
from pipeline.convert.shape import marked, shaped


@pytest.fixture(scope="module")
def converter() -> Iterator[Converter]:
    with Converter(find_office(), timeout=60) as running:
        yield running


def letter(name: str, count: str = "1", *, paragraphs: int = 1) -> bytes:
    """A letter with runs that adjoin, in looks of their own."""
    document = docx.Document()
    document.core_properties.title = f"Letter to {name}"
    for language in document.styles.element.iter(qn("w:lang")):
        language.set(qn("w:val"), "en-GB")
    for fonts in document.styles.element.iter(qn("w:rFonts")):
        fonts.attrib.clear()
        fonts.set(qn("w:ascii"), "Liberation Sans")
    document.add_heading("Annual Review letter", 1)
    for _ in range(paragraphs):
        line = document.add_paragraph()
        line.add_run(count, style="Strong")
        line.add_run(f" upheld of {name}")
    stream = io.BytesIO()
    document.save(stream)
    return stream.getvalue()


def test_letters_of_a_shape_have_the_bytes_of_their_own_docx(converter: Converter) -> None:
    told: list[str] = []
    lane = Lane(converter, told=told.append, after=1)
    letters = [letter(f"{name} Council", count) for name, count in _NAMES]
    made = [lane.convert(each) for each in letters]
    assert told == []
    assert lane.fast == len(letters) - 1
    for stamped, pdf in zip(letters, made, strict=True):
        assert differences(converter.convert(stamped), pdf) == []


_NAMES = [
    ("Bath", "1"),
    ("Ynys Môn", "12"),
    ("Hammersmith & Fulham", "7"),
    ("Ŵye 🏛", "7"),
    ("Wells", "1,234"),
]


def test_a_killed_office_costs_no_letter(converter: Converter) -> None:
    told: list[str] = []
    lane = Lane(converter, told=told.append, after=1)
    for name in ("Bath", "Wells", "Ely"):
        lane.convert(letter(name))
    assert converter.office_pid is not None
    os.kill(converter.office_pid, signal.SIGKILL)
    stamped = letter("Truro")
    assert differences(converter.convert(stamped), lane.convert(stamped)) == []


def test_a_shape_is_its_structure_and_not_its_words() -> None:
    one, two, other = (
        shaped(each) for each in (letter("A"), letter("B"), letter("A", paragraphs=2))
    )
    assert one is not None
    assert two is not None
    assert other is not None
    assert one.key == two.key != other.key
    changed = {n for n, (a, b) in enumerate(zip(one.slots, two.slots, strict=True)) if a != b}
    assert {one.slots[n].value for n in changed} == {"Letter to A", " upheld of A"}
    assert shaped(b"not a zip file") is None
    again = shaped(marked(letter("A"), changed))
    assert again is not None
    assert again.key == one.key


def test_what_differs_is_said_in_words(converter: Converter) -> None:
    one, other = (converter.convert(letter(name)) for name in ("Bath", "Wells"))
    assert differences(one, one) == []
    assert differences(one, other) == [
        "Page 1 says “1 upheld of Wells” and not “1 upheld of Bath”."
    ]
    longer = converter.convert(letter("Bath", paragraphs=60))
    assert "pages and not 1" in differences(one, longer)[0]


def test_a_text_much_longer_goes_the_plain_way(converter: Converter) -> None:
    lane = Lane(converter, after=0)
    lane.convert(letter("Bath"))
    before = lane.fast
    lane.convert(letter("Bath " * 30))
    assert lane.fast == before


def test_documents_are_closed_when_there_are_too_many(converter: Converter) -> None:
    told: list[str] = []
    lane = Lane(converter, told=told.append, after=1, documents=1)
    for name in ("Bath", "Wells", "Ely"):
        for paragraphs in (1, 2):
            lane.convert(letter(name, paragraphs=paragraphs))
    assert told == []
    assert lane.fast == 4


def test_a_replaced_office_is_given_its_documents_anew() -> None:
    told: list[str] = []
    with Converter(find_office(), timeout=60, recycle_after=7) as replaced:
        lane = Lane(replaced, told=told.append, after=1, documents=2)
        for name in ("Bath", "Wells", "Ely", "Ripon", "Truro"):
            for paragraphs in (1, 2, 3):
                lane.convert(letter(name, paragraphs=paragraphs))
    assert told == []
    assert lane.fast == 12
