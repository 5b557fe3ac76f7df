"""The letter itself: its wording, what docxtpl would make of it, and how LibreOffice shows it."""

import copy
import ctypes
import datetime as dt
import html
import io
import math
import re
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docx
import jinja2
import pikepdf
import pypdfium2  # type: ignore[import-untyped]
import pytest
from docxtpl import DocxTemplate  # type: ignore[import-untyped]
from lxml import etree

from pipeline.convert import Converter, find_office, finish
from pipeline.letter import MERGE_FIELDS
from pipeline.template import CompiledTemplate, compile_template

ROOT = Path(__file__).parents[2]
LETTER = ROOT / "templates" / "letter.docx"
SEED = ROOT / "tests" / "data" / "annual_review_letter_2020_stevenage.txt"
NAMESPACE = {"w": "http://schemas.openxmlformats.org/wordprocessingml/2006/main"}


def panel(percent: int | None, average: str = "45%", **more: str) -> dict[str, Any]:
    rated = percent is not None
    return {
        "rated": rated,
        "percent": f"{percent}%" if rated else "",
        "compared": rated and average != "",
        "average": average if rated else "",
        "part": "1",
        "part_label": "upheld decision",
        "whole": "1",
        "whole_label": "detailed investigation",
        "percent_number": percent or 0,
        **more,
    }


STEVENAGE: dict[str, Any] = {
    "letter_date": "22 July 2020",
    "letter_year": "2020",
    "address_lines": ["Mr Partridge", "Chief Executive", "Stevenage Borough Council"],
    "salutation": "Mr Partridge",
    "authority": "Stevenage Borough Council",
    "noun": "Council",
    "succession": "",
    "replaces": "",
    "period_start": "1 April 2019",
    "period_end": "31 March 2020",
    "period_end_short": "31/03/20",
    "published_on": "29 July 2020",
    "facts": {
        "delegates": "178",
        "delegate_authorities": "143",
        "courses": "118",
        "people": "1,400",
        "more_courses": "47",
    },
    "remarks": [],
    "signatory": "Michael King",
    "signatory_posts": [
        "Local Government and Social Care Ombudsman",
        "Chair, Commission for Local Administration in England",
    ],
    "upheld": panel(100),
    "compliance": panel(100, "99%", part_label="", whole_label="compliance outcome"),
    "remedy": panel(0, "20%", part="0", part_label="satisfactory remedy decisions"),
}
NAME = "London Borough of Saint Somewhere-on-the-Water and the Royal Town of Elsewhere Council"
LETTERS: dict[str, dict[str, Any]] = {
    "as in 2020": STEVENAGE,
    "nothing to divide by": STEVENAGE
    | {
        "upheld": panel(None, part="0", part_label="upheld decisions", whole="0"),
        "compliance": panel(None, part_label="", whole_label="compliance outcomes"),
        "remedy": panel(None, part="0"),
    },
    "no peers, remarks": STEVENAGE
    | {
        "noun": "Authority",
        "upheld": panel(33, ""),
        "remarks": ['We said "no" & <meant> it.', "{{ authority }} {% if %}", "Third."],
    },
    "letters of many kinds": STEVENAGE
    | {
        "authority": "Hammersmith & Fulham <Ŵrecsam> \"A\u030angstro\u0308m\" 'x' 𝒳",
        "succession": "It was abolished & succeeded.",
        "replaces": "",
        "address_lines": ["Siân O’Brien\tand\nCo", "  two  spaces  "],
    },
    "long": STEVENAGE
    | {
        "authority": NAME,
        "address_lines": ["Dr Someone", "Chief Executive and Town Clerk", NAME],
        **{
            name: panel(99, part="1,234", part_label="satisfactory remedy decisions")
            for name in ("upheld", "compliance", "remedy")
        },
    },
}


@pytest.fixture(scope="module")
def template() -> CompiledTemplate:
    return compile_template(LETTER.read_bytes(), fields=MERGE_FIELDS)


def words(text: str) -> list[str]:
    return text.split()


def letter_of_record() -> str:
    """The seed letter's words, with the two things that its text layer lost."""
    text = re.sub(r"\*\*|</?u>", "", SEED.read_text(encoding="utf-8"))
    text = text.replace("31/03/20\n", "31/03/20\n\nComplaints upheld\n", 1)
    return text.replace("\nupheld decision\n", "\n1\nupheld decision\n", 1)


def said(data: bytes) -> str:
    return "\n".join(each.text for each in docx.Document(io.BytesIO(data)).paragraphs)


def parts(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as package:
        return {name: package.read(name) for name in package.namelist()}


# What it says.


def test_the_letter_says_what_the_letter_of_record_says(template: CompiledTemplate) -> None:
    assert words(said(template.stamp(STEVENAGE))) == words(letter_of_record())


def test_every_merge_field_has_its_place_in_the_letter(template: CompiledTemplate) -> None:
    # Compliance has no box, so its part and the part's label are not printed; of what is enclosed
    # the message speaks.
    unused = {"facts.*", "compliance.part", "compliance.part_label", "enclosures"}
    facts = {f"facts.{name}" for name in STEVENAGE["facts"]}
    assert template.used == MERGE_FIELDS.keys() - unused | facts


def test_a_letter_with_nothing_to_divide_by_says_so(template: CompiledTemplate) -> None:
    data = template.stamp(LETTERS["nothing to divide by"])
    text = " ".join(words(said(data)))
    for sentence in (
        "We did not complete any detailed investigations about your authority in this period.",
        "No recommendations were due for compliance in this period. Statistics are based on",
        "We did not uphold any complaints about your authority in this period.",
        "0 upheld decisions",
    ):
        assert sentence in text
    for absent in ("%", "This compares to"):
        assert absent not in text.replace("rate below 100% should", "")
    assert b"<wp:docPr" not in parts(data)["word/document.xml"]


def test_headings_lead_down_step_by_step() -> None:
    document = docx.Document(io.BytesIO(LETTER.read_bytes()))
    levels = []
    for each in document.paragraphs:
        style: Any = each.style
        while style is not None:
            level = style.element.find("w:pPr/w:outlineLvl", NAMESPACE)
            if level is not None:
                levels.append(int(level.get(f"{{{NAMESPACE['w']}}}val")) + 1)
                break
            style = style.base_style
    assert levels == [1, 2, 2, 1, 2, 2, 2]


def test_every_link_has_a_tooltip_and_every_drawing_a_description() -> None:
    tree = etree.fromstring(parts(LETTER.read_bytes())["word/document.xml"])
    tooltips = [
        str(each.get(f"{{{NAMESPACE['w']}}}tooltip", "")) for each in tree.iter("{*}hyperlink")
    ]
    assert len(tooltips) == 4
    assert all(tooltips)
    drawings = list(tree.iter("{*}docPr", "{*}cNvPr"))
    assert len(drawings) == 9
    assert all("percent }}" in str(each.get("descr")) for each in drawings)


def test_the_file_holds_no_style_it_does_not_use() -> None:
    files = parts(LETTER.read_bytes())
    styles = etree.fromstring(files["word/styles.xml"])
    text = b"".join(files.values()).decode()
    val = f"{{{NAMESPACE['w']}}}val"
    based = {str(each.get(val)) for each in styles.iter("{*}basedOn")}
    for style in styles.iter("{*}style"):
        name = str(style.get(f"{{{NAMESPACE['w']}}}styleId"))
        default = style.get(f"{{{NAMESPACE['w']}}}default") == "1"
        assert default or name in based or re.search(f'[pr]Style w:val="{name}"', text), name


# The same as docxtpl.


def by_docxtpl(values: dict[str, Any]) -> bytes:
    document = DocxTemplate(LETTER)
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    document.render(copy.deepcopy(values), environment)
    file = io.BytesIO()
    document.save(file)
    return file.getvalue()


def canonical(name: str, data: bytes) -> object:
    tree = etree.fromstring(data, etree.XMLParser(remove_blank_text=True))
    if name.endswith(".rels") or name == "[Content_Types].xml":
        return sorted(sorted(each.attrib.items()) for each in tree)
    for drawing in tree.findall(".//{*}docPr"):
        anchor = drawing.getparent()
        assert anchor is not None
        for each in anchor.findall("{*}graphic"):
            anchor.remove(each)  # the ring itself is ours
    title = tree.find(".//{*}title") if name == "docProps/core.xml" else None
    if title is not None and title.text is not None:
        # docxtpl escapes the title twice over when values are escaped.
        title.text = html.unescape(title.text)
        for each in list(tree):
            if not each.text:  # docxtpl writes every property, also those that are not there
                tree.remove(each)
    return etree.tostring(tree, method="c14n", exclusive=True)


@pytest.mark.parametrize("case", LETTERS)
def test_but_for_the_rings_a_letter_is_what_docxtpl_makes(
    case: str, template: CompiledTemplate
) -> None:
    ours, theirs = parts(template.stamp(LETTERS[case])), parts(by_docxtpl(LETTERS[case]))
    assert ours.keys() == theirs.keys()
    for name, data in ours.items():
        assert canonical(name, data) == canonical(name, theirs[name]), name


# In LibreOffice.


@pytest.fixture(scope="module")
def converter() -> Iterator[Converter]:
    with Converter(find_office(), timeout=120) as running:
        yield running


def page_texts(pdf: bytes) -> list[str]:
    """The pages' words without the footer, which LibreOffices put in different places."""
    with pypdfium2.PdfDocument(pdf) as document:
        found = [each.get_textpage().get_text_range() for each in document]
    return [re.sub(r"Page\s+\d+\s+of\s+\d+", "", page).strip() for page in found]


def test_the_pdf_says_what_the_letter_of_record_says(
    template: CompiledTemplate, converter: Converter
) -> None:
    pages = page_texts(converter.convert(template.stamp(STEVENAGE)))
    assert len(pages) == 3
    text = " ".join(pages)
    head = "Local Government and Social Care Ombudsman "  # the letterhead
    assert words(text) == words(head + letter_of_record())
    assert "Yours sincerely" in pages[1]
    assert pages[2].startswith("Stevenage Borough Council")


@pytest.mark.parametrize("case", LETTERS)
def test_the_panels_share_a_page_and_the_signature_has_company(
    case: str, template: CompiledTemplate, converter: Converter
) -> None:
    pages = page_texts(converter.convert(template.stamp(LETTERS[case])))
    assert all(heading in pages[-1] for heading in template.panel_headings)
    assert pages[-1].count("Statistics are based") == 3
    before, _, after = pages[-2].partition("Yours sincerely")
    assert words(before)
    assert STEVENAGE["signatory_posts"][-1] in after


def test_a_name_of_any_length_is_printed(template: CompiledTemplate, converter: Converter) -> None:
    name = "Wyre " * 100
    pages = page_texts(converter.convert(template.stamp(STEVENAGE | {"authority": name})))
    assert words("".join(pages[2:])).count("Wyre") == 100


def saved_anew(file: Path, folder: Path) -> bytes:
    """The file as LibreOffice saves it for Word."""
    subprocess.run(
        [
            find_office().program.with_name("soffice"),
            f"-env:UserInstallation={(folder / 'profile').as_uri()}",
            "--headless",
            "--convert-to",
            "docx:MS Word 2007 XML",
            "--outdir",
            folder,
            file,
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
        timeout=120,
    )
    return (folder / file.name).read_bytes()


def test_a_copy_saved_by_libreoffice_makes_the_same_letters(
    template: CompiledTemplate, converter: Converter, tmp_path: Path
) -> None:
    saved = saved_anew(LETTER, tmp_path)
    assert saved != LETTER.read_bytes()
    again = compile_template(saved, fields=MERGE_FIELDS)
    assert again.used == template.used
    assert again.panel_headings == template.panel_headings
    for case, values in LETTERS.items():
        made, meant = (converter.convert(each.stamp(values)) for each in (again, template))
        assert page_texts(made) == page_texts(meant), case
        assert pictures(made) == pictures(meant), case


def pictures(pdf: bytes) -> list[bytes]:
    """The pages as they look, a pixel for each point."""
    with pypdfium2.PdfDocument(pdf) as document:
        return [bytes(each.render(scale=1).buffer) for each in document]


def test_rings_headings_and_links_are_tagged(
    template: CompiledTemplate, converter: Converter
) -> None:
    made = converter.convert(template.stamp(LETTERS["as in 2020"]))
    pdf = finish(made, created=dt.datetime(2020, 7, 22, tzinfo=dt.UTC), seed="seed")
    found: dict[str, list[str]] = {}

    def walk(element: pikepdf.Object) -> None:
        if isinstance(element, pikepdf.Array):
            for each in element:
                walk(each)
        elif isinstance(element, pikepdf.Dictionary) and "/S" in element:
            found.setdefault(str(element.S), []).append(str(element.get("/Alt", "")))
            if "/K" in element:
                walk(element.K)

    with pikepdf.open(io.BytesIO(pdf)) as document:
        walk(document.Root.StructTreeRoot.K)
        assert document.Root.Lang == "en-GB"
        assert document.docinfo.Title == "Annual Review letter 2020: Stevenage Borough Council"
    roles = {each: len(many) for each, many in found.items()}
    assert {name: roles[name] for name in ("/Link", "/Figure")} == {"/Link": 4, "/Figure": 3}
    assert found["/Figure"] == [
        "Ring chart: 100% of complaints we investigated were upheld",
        "Ring chart: in 100% of cases we were satisfied the authority had successfully implemented"
        " our recommendations",
        "Ring chart: in 0% of upheld cases we found the authority had provided a satisfactory"
        " remedy before the complaint reached the Ombudsman",
    ]


def colour(thing: Any) -> str:
    channels = [ctypes.c_uint() for _ in range(4)]
    pypdfium2.raw.FPDFPageObj_GetFillColor(thing, *channels)
    return "".join(f"{each.value:02X}" for each in channels[:3])


def ring_colours() -> tuple[str, str]:
    """The colours of the arc and of its track in the template."""
    tree = etree.fromstring(parts(LETTER.read_bytes())["word/document.xml"])
    found: dict[str, str] = {}
    for each in tree.iter("{*}spPr"):
        geometry, fill = each.find("{*}prstGeom"), each.find("{*}solidFill/{*}srgbClr")
        assert geometry is not None
        assert fill is not None
        found[str(geometry.get("prst"))] = str(fill.get("val"))
    return found["blockArc"], found["donut"]


@pytest.mark.parametrize("percents", [(0, 1, 33), (50, 67, 99), (100, 25, 2)])
def test_a_ring_shows_its_rate(
    percents: tuple[int, int, int], template: CompiledTemplate, converter: Converter
) -> None:
    panels = dict(zip(("upheld", "compliance", "remedy"), map(panel, percents), strict=True))
    pdf = converter.convert(template.stamp(STEVENAGE | panels))
    filled, track = ring_colours()
    scale = 4.0
    with pypdfium2.PdfDocument(pdf) as document:
        page = document[2]
        height = page.get_height()
        tracks = [
            thing.get_bounds()
            for thing in page.get_objects(filter=[pypdfium2.raw.FPDF_PAGEOBJ_PATH])
            if colour(thing) == track
        ]
        picture = page.render(scale=scale).to_pil().convert("RGB")
    assert len(tracks) == 3
    for percent, (left, bottom, right, top) in zip(
        percents, sorted(tracks, key=lambda each: -each[3]), strict=True
    ):
        assert right - left == pytest.approx(top - bottom, abs=0.5)
        radius = (right - left) / 2 * 0.8  # within the band
        for tenths in range(5, 1000, 10):
            angle = tenths / 1000 * 2 * math.pi  # from twelve o'clock, with the clock
            x = (left + right) / 2 + radius * math.sin(angle)
            y = (bottom + top) / 2 + radius * math.cos(angle)
            pixel = picture.getpixel((round(x * scale), round((height - y) * scale)))
            shown = "".join(f"{each:02X}" for each in pixel)
            assert shown == (filled if tenths < percent * 10 else track), (percent, tenths)
