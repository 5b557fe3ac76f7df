"""Proving real PDFs: a good letter passes, and each thing that can be wrong with one is seen."""

import dataclasses
import io
from collections.abc import Callable, Iterator

import docx
import pikepdf
import pytest
from docx.oxml.ns import qn

from pipeline.convert import Converter, find_office
from pipeline.errors import LetterFault
from pipeline.proof import Expectation, Names, prove

TITLE = "Annual Review letter 2020"
PANELS = (
    "Complaints upheld",
    "Compliance with Ombudsman recommendations",
    "Satisfactory remedies provided by the authority",
)
FIXED = "seminars in London, Bristol, Leeds and Birmingham"
REMARK = (
    "We discussed the office's work with Watford Borough Council and with Mx Nan None,"
    " who said that nan bread is undefined."
)
REGISTER = [
    "Stevenage Borough Council",
    "Watford Borough Council",
    "Stoke-on-Trent City Council",
    "City of Westminster",
    "Hammersmith & Fulham",
    "Leeds",
    "Council of the Isles of Scilly",
]
NAMES = Names(REGISTER)
EXPECTED = Expectation(
    authority="Stevenage Borough Council",
    title=TITLE,
    texts=(
        "22 July 2020",
        "Dear Mr Partridge",
        "31/03/20",
        "100% of complaints we investigated were upheld.",
        "This compares to an average of 45% in similar authorities.",
    ),
    own_names=("Mr Partridge", "Chief Executive", "Stevenage Borough Council"),
    panel_headings=PANELS,
    fixed_texts=(FIXED,),
)

Make = Callable[["Letter"], bytes]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """What varies between the letters of these tests."""

    authority: str = "Stevenage Borough Council"
    opening: str = "I write to you with our annual summary of statistics."
    remarks: tuple[str, ...] = ()
    middle: str = "Resources to help you get it right."
    panels: tuple[str, ...] = PANELS
    part_panels_before: int = 3
    pages: int = 3
    title: str = TITLE
    language: str = "en-GB"
    percent: int = 100

    def docx(self) -> bytes:
        document = docx.Document()
        document.core_properties.title = self.title
        for language in document.styles.element.iter(qn("w:lang")):
            language.set(qn("w:val"), self.language)
        for style in ("Normal", "Heading 1", "Heading 2"):
            fonts = document.styles[style].element.get_or_add_rPr().get_or_add_rFonts()
            for name in list(fonts.attrib):
                del fonts.attrib[name]
            for name in ("w:ascii", "w:hAnsi", "w:cs", "w:eastAsia"):
                fonts.set(qn(name), "Liberation Sans")
        for line in ("22 July 2020", "Mr Partridge", "Chief Executive", self.authority):
            document.add_paragraph(line)
        document.add_paragraph("Dear Mr Partridge")
        document.add_heading(TITLE, 1)
        document.add_paragraph(self.opening)
        document.add_paragraph("Complaints upheld - We uphold complaints when we find fault.")
        if self.pages > 2:
            document.add_page_break()  # type: ignore[no-untyped-call]
        document.add_paragraph(self.middle)
        document.add_paragraph(f"Earlier this year, we held our {FIXED}.")
        for remark in self.remarks:
            document.add_paragraph(remark)
        document.add_page_break()  # type: ignore[no-untyped-call]
        document.add_paragraph(f"{self.authority} For the period ending: 31/03/20")
        for number, heading in enumerate(self.panels):
            if number == self.part_panels_before:
                document.add_page_break()  # type: ignore[no-untyped-call]
            document.add_heading(heading, 2)
            document.add_paragraph(
                f"{self.percent}% of complaints we investigated were upheld."
                " This compares to an average of 45% in similar authorities."
            )
        file = io.BytesIO()
        document.save(file)
        return file.getvalue()


@pytest.fixture(scope="module")
def make() -> Iterator[Make]:
    made: dict[Letter, bytes] = {}
    with Converter(find_office(), timeout=60) as converter:

        def convert(letter: Letter) -> bytes:
            if letter not in made:
                made[letter] = converter.convert(letter.docx())
            return made[letter]

        yield convert


def expecting(**changes: object) -> Expectation:
    return dataclasses.replace(EXPECTED, **changes)  # type: ignore[arg-type]


def edited(pdf: bytes, edit: Callable[[pikepdf.Pdf], None]) -> bytes:
    file = io.BytesIO()
    with pikepdf.open(io.BytesIO(pdf)) as document:
        edit(document)
        document.save(file)
    return file.getvalue()


def _draw_emoji(document: pikepdf.Pdf) -> None:
    form = document.make_stream(b"", Type=pikepdf.Name.XObject, Subtype=pikepdf.Name.Form)
    drawn = pikepdf.Dictionary(
        Type=pikepdf.Name.Font,
        Subtype=pikepdf.Name.Type3,
        CharProcs=pikepdf.Dictionary(emoji=document.make_stream(b"0 0 m")),
    )
    form.Resources = pikepdf.Dictionary(Font=pikepdf.Dictionary(F9=drawn))
    document.pages[2].add_resource(form, pikepdf.Name.XObject)


def test_a_font_of_drawings_is_in_the_document(make: Make) -> None:
    assert prove(edited(make(Letter()), _draw_emoji), EXPECTED, NAMES).pages == 3


def test_a_good_letter_passes(make: Make) -> None:
    proof = prove(make(Letter()), EXPECTED, NAMES)
    assert proof.pages == 3
    assert "Dear Mr Partridge" in proof.text


def test_an_editing_alone_is_no_fault(make: Make) -> None:
    pdf = edited(make(Letter()), lambda document: None)  # noqa: ARG005
    assert prove(pdf, EXPECTED, NAMES).pages == 3


@pytest.mark.parametrize(
    "spoil",
    [
        lambda _: b"",
        lambda _: b"%PDF-1.7\nrubbish\n%%EOF",
        lambda pdf: pdf[: len(pdf) // 2],
    ],
    ids=["nothing", "rubbish", "half"],
)
def test_what_does_not_parse(make: Make, spoil: Callable[[bytes], bytes]) -> None:
    with pytest.raises(LetterFault):
        prove(spoil(make(Letter())), EXPECTED, NAMES)


@pytest.mark.parametrize(
    ("letter", "reason"),
    [
        (Letter(pages=2), r"has 2 page\(s\), and a whole letter at least 3"),
        (Letter(title="Letter"), "title is “Letter” and not “Annual Review letter 2020”"),
        (Letter(language="en-US"), "language is “en-US” and not “en-GB”"),
        (Letter(percent=10), "does not say “100% of complaints"),
        (Letter(percent=1100), "does not say “100% of complaints"),
        (Letter(authority="Watford Borough Council"), "does not say “Stevenage Borough Council”"),
        (
            Letter(part_panels_before=2),
            "panels do not stand together on one page: page 3 lacks “Satisfactory remedies"
            r" provided by the authority”\. Make room for them in the template\.$",
        ),
        (
            Letter(panels=PANELS[1:]),
            "panels do not stand together on one page: page 3 lacks “Complaints upheld”",
        ),
        (
            Letter(opening="Your figures, Stoke-on-Trent City Council, are these."),
            "Page 1 names another authority: “Stoke-on-Trent City Council”, in the letter to"
            " Stevenage Borough Council",
        ),
        (
            Letter(middle="So " * 21 + "did the Council of the Isles of Scilly, and " * 2),
            "Page 2 names another authority: “Council of the Isles of Scilly”",
        ),
        (Letter(middle="We met Hammersmith & Fulham."), "Page 2 names another authority"),
        (Letter(middle="We also met in Leeds."), "Page 2 names another authority: “Leeds”"),
        (Letter(middle="It was {{ upheld.percent }}."), "Page 2 still has a template's tag"),
        (Letter(middle="It was }} so."), "Page 2 still has a template's tag"),
        (Letter(middle="It was {% if rated %} so."), "Page 2 still has a template's tag"),
        (Letter(opening="A total of None."), "Page 1 has the word “None”"),
        (Letter(middle="A total of nan decisions."), "Page 2 has the word “nan”"),
        (Letter(middle="A total of NaN."), "Page 2 has the word “NaN”"),
        (Letter(middle="Error! Reference source not found."), "Page 2 has the word “Error!”"),
        (Letter(middle="An undefined one."), "Page 2 has the word “undefined”"),
        (Letter(remarks=(REMARK,)), "Page 2"),
        (Letter(middle="A bullet \uf0b7 of a symbol font."), r"Page 2 .*\(U\+F0B7"),
        (Letter(middle="Lost \ufffd character."), r"Page 2 .*\(U\+FFFD"),
        (Letter(middle="Nor 王 here."), r"Page 2 has “王” \(U\+738B\), which no installed font"),
        (Letter(middle="Nobody draws \U00013080 here."), r"Page 2 .*U\+13080.*no installed font"),
    ],
)
def test_what_a_letter_may_not_be_or_say(make: Make, letter: Letter, reason: str) -> None:
    with pytest.raises(LetterFault, match=reason):
        prove(make(letter), EXPECTED, NAMES)


@pytest.mark.parametrize(
    "opening",
    [
        "Westminster and Stoke-on-Trent are places; Nonesuch and banana are words.",
        "Your Stevenage Borough Council’s office, in Stevenage Borough Council.",
        "Nan and NONE and Undefined are other words. Nobody was leeds-ing.",
    ],
)
def test_what_a_letter_may_say(make: Make, opening: str) -> None:
    assert prove(make(Letter(opening=opening)), EXPECTED, NAMES).pages == 3


def test_the_letters_own_fields_may_name_whom_they_like(make: Make) -> None:
    expected = expecting(own_names=(*EXPECTED.own_names, REMARK))
    pdf = make(Letter(remarks=(REMARK,)))
    assert prove(pdf, expected, NAMES).pages == 3
    elsewhere = make(Letter(remarks=(REMARK,), opening="We met Watford Borough Council."))
    with pytest.raises(LetterFault, match="Page 1 names another authority: “Watford"):
        prove(elsewhere, expected, NAMES)


def test_a_field_broken_by_a_page_may_name_whom_it_names_and_no_more(make: Make) -> None:
    # In the PDF, something else stands in the middle of the remark.
    remark = "We met Watford Borough Council about None. It was good."
    expected = expecting(own_names=(*EXPECTED.own_names, remark))
    halves = ("We met Watford Borough Council about None.", "page 2", "It was good.")
    assert prove(make(Letter(remarks=halves)), expected, NAMES).pages == 3
    with pytest.raises(LetterFault, match="names another authority: “Watford"):
        prove(make(Letter(remarks=halves * 2)), expected, NAMES)


def test_a_long_name_is_said_to_be_why_the_panels_part(make: Make) -> None:
    name = "Council of the Isles of " + "Northampton and Westmorland " * 3
    letter = Letter(authority=name.strip(), part_panels_before=2)
    with pytest.raises(LetterFault, match=r"or shorten the authority's name \(107 characters\)\.$"):
        prove(make(letter), expecting(authority=name.strip()), NAMES)


@pytest.mark.parametrize(
    "name",
    [
        "Siân Llŵyd ap Ŷnyr",
        "Sia\u0302n Llw\u0302yd",
        "X\u0302e\u0323q\u0301",  # no single letters for these
        'O\'Neill & <b>"Sons"</b>',
        "Nguyễn Thị Phượng",
        "Łódź Żółć",
        "Παπαδόπουλος",
        "Щербаков",
        "None Null",
        "nan Error! undefined",
        "-",
        "–",
    ],
)
def test_a_name_is_read_back_as_it_was_written(make: Make, name: str) -> None:
    pdf = make(Letter(middle=f"We met {name} there."))
    expected = expecting(texts=(*EXPECTED.texts, name), own_names=(*EXPECTED.own_names, name))
    assert prove(pdf, expected, NAMES).pages == 3
    with pytest.raises(LetterFault, match="does not say “We met nobody"):
        prove(pdf, expecting(texts=("We met nobody there.",), own_names=(name,)), NAMES)


def test_what_is_written_twice_must_be_there_twice(make: Make) -> None:
    pdf = make(Letter())  # whose address and salutation name the person alike
    twice = (*EXPECTED.texts, "Mr Partridge", "Mr Partridge")
    assert prove(pdf, expecting(texts=twice), NAMES).pages == 3
    with pytest.raises(LetterFault, match="says “Mr Partridge” 2 of the 3 times that it should"):
        prove(pdf, expecting(texts=(*twice, "Mr Partridge")), NAMES)


def test_a_name_with_an_ampersand_must_keep_it(make: Make) -> None:
    expected = expecting(authority="Hammersmith & Fulham")
    assert prove(make(Letter(authority="Hammersmith & Fulham")), expected, NAMES).pages == 3
    with pytest.raises(LetterFault, match="does not say “Hammersmith & Fulham”"):
        prove(make(Letter(authority="Hammersmith Fulham")), expected, NAMES)


@pytest.mark.parametrize("name", ["Stoke-on-Trent City Council", "City of Westminster"])
@pytest.mark.parametrize("before", range(0, 70, 7))
def test_another_name_is_seen_wherever_its_line_breaks(make: Make, name: str, before: int) -> None:
    opening = "x" * before + f" {name} " * 6
    with pytest.raises(LetterFault, match=f"Page 1 names another authority: “{name}”"):
        prove(make(Letter(opening=opening)), EXPECTED, NAMES)


def _untag(document: pikepdf.Pdf) -> None:
    del document.Root.StructTreeRoot


def _unmark(document: pikepdf.Pdf) -> None:
    document.Root.MarkInfo.Marked = False


def _unlanguage(document: pikepdf.Pdf) -> None:
    del document.Root.Lang


def _hide_title(document: pikepdf.Pdf) -> None:
    del document.Root.ViewerPreferences


def _redefine_a_tag(document: pikepdf.Pdf) -> None:
    document.Root.StructTreeRoot.RoleMap.Figure = pikepdf.Name.Span


def _unembed(document: pikepdf.Pdf) -> None:
    for font in document.pages[1].resources.Font.as_dict().values():
        del font.FontDescriptor.FontFile2


def _unembed_in_a_form(document: pikepdf.Pdf) -> None:
    form = document.make_stream(b"", Type=pikepdf.Name.XObject, Subtype=pikepdf.Name.Form)
    helvetica = pikepdf.Dictionary(
        Type=pikepdf.Name.Font, Subtype=pikepdf.Name.Type1, BaseFont=pikepdf.Name.Helvetica
    )
    form.Resources = pikepdf.Dictionary(Font=pikepdf.Dictionary(F9=helvetica))
    document.pages[2].add_resource(form, pikepdf.Name.XObject)


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (_untag, "is not tagged"),
        (_unmark, "is not tagged"),
        (_unlanguage, "language is “” and not “en-GB”"),
        (_hide_title, "title to be shown"),
        (_redefine_a_tag, "style “Figure” has the name of a PDF tag"),
        (_unembed, r"Page 1 uses the font \w+\+LiberationSans(-Bold)?, which is not embedded"),
        (_unembed_in_a_form, "The PDF uses the font Helvetica, which is not embedded"),
    ],
)
def test_what_a_pdf_may_not_lack(
    make: Make, edit: Callable[[pikepdf.Pdf], None], reason: str
) -> None:
    with pytest.raises(LetterFault, match=reason):
        prove(edited(make(Letter()), edit), EXPECTED, NAMES)
