"""The template's compiler on small documents: what it permits, what it refuses, what it stamps."""

import contextlib
import copy
import io
import os
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import docx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from lxml import etree

from pipeline.errors import LetterFault, Misconfigured
from pipeline.template import CompiledTemplate, compile_template, load_template, read_template

FIELDS = frozenset(
    {"authority", "noun", "remarks", "facts.*", "upheld.rated", "upheld.percent"}
    | {"upheld.percent_number"}
)
VALUES: dict[str, Any] = {
    "authority": "Stevenage Borough Council",
    "noun": "Council",
    "remarks": ["One.", "Two."],
    "facts": {"courses": "118"},
    "upheld": {"rated": True, "percent": "33%", "percent_number": 33},
}

W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"
TYPES = (
    f'<Types xmlns="{PACKAGE}/content-types">'
    '<Default Extension="rels" '
    'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Default Extension="xml" ContentType="application/xml"/>'
    '<Override PartName="/word/document.xml" ContentType="application/vnd.openxmlformats-'
    'officedocument.wordprocessingml.document.main+xml"/>'
    '<Override PartName="/word/header1.xml" ContentType="application/vnd.openxmlformats-'
    'officedocument.wordprocessingml.header+xml"/>'
    '<Override PartName="/docProps/core.xml" ContentType="application/vnd.openxmlformats-'
    'package.core-properties+xml"/></Types>'
)
TOP = (
    f'<Relationships xmlns="{PACKAGE}/relationships">'
    f'<Relationship Id="a" Type="{OFFICE}/officeDocument" Target="word/document.xml"/>'
    f'<Relationship Id="b" Type="{PACKAGE}/relationships/metadata/core-properties" '
    'Target="docProps/core.xml"/></Relationships>'
)
RING = (
    '<w:drawing><wp:inline xmlns:wp="http://schemas.openxmlformats.org/drawingml/2006/'
    'wordprocessingDrawing"><wp:docPr id="7" name="Ring NAME" descr="{{ upheld.percent }}"/>'
    '<wps:wsp xmlns:wps="http://schemas.microsoft.com/office/word/2010/wordprocessingShape" '
    'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main"><wps:spPr>'
    '<a:prstGeom prst="PRESET"><a:avLst><a:gd name="adj1" fmla="val 16200000"/>'
    '<a:gd name="adj2" fmla="val 5400000"/><a:gd name="adj3" fmla="val 21000"/></a:avLst>'
    "</a:prstGeom></wps:spPr></wps:wsp></wp:inline></w:drawing>"
)


def paragraph(*runs: str) -> str:
    texts = "".join(
        run if run.startswith("<") else f'<w:r><w:t xml:space="preserve">{run}</w:t></w:r>'
        for run in runs
    )
    return f"<w:p>{texts}</w:p>"


def ring(name: str = "upheld", preset: str = "blockArc") -> str:
    return f"<w:r>{RING.replace('NAME', name).replace('PRESET', preset)}</w:r>"


def links(*relationships: str) -> str:
    """The relationships of the body."""
    return (
        f'<Relationships xmlns="{PACKAGE}/relationships">'
        f'<Relationship Id="h" Type="{OFFICE}/header" Target="header1.xml"/>'
        f"{''.join(relationships)}</Relationships>"
    )


def link(kind: str, target: str, mode: str = "External") -> str:
    return f'<Relationship Id="x" Type="{OFFICE}/{kind}" Target="{target}" TargetMode="{mode}"/>'


def word(*body: str, **parts: str | bytes) -> bytes:
    """A docx file of these paragraphs; `parts` replace or add parts by name."""
    files: dict[str, str | bytes] = {
        "[Content_Types].xml": TYPES,
        "_rels/.rels": TOP,
        "word/document.xml": f'<w:document xmlns:w="{W}"><w:body>{"".join(body)}</w:body>'
        "</w:document>",
        "word/_rels/document.xml.rels": links(),
        "word/header1.xml": f'<w:hdr xmlns:w="{W}">{paragraph("Top")}</w:hdr>',
        "docProps/core.xml": f'<cp:coreProperties xmlns:cp="{PACKAGE}/metadata/core-properties" '
        'xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>Letter: {{ authority }}</dc:title>'
        "</cp:coreProperties>",
        **parts,
    }
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as package:
        for name, content in files.items():
            package.writestr(name, content)
    return file.getvalue()


def compiled(*body: str, **parts: str | bytes) -> CompiledTemplate:
    return compile_template(word(*body, **parts), fields=FIELDS, needed=())


def part(data: bytes, name: str = "word/document.xml") -> etree._Element:
    with zipfile.ZipFile(io.BytesIO(data)) as package:
        assert package.testzip() is None
        return etree.fromstring(package.read(name))


def said(data: bytes) -> list[str]:
    """The words of each paragraph of a docx, as python-docx reads them."""
    return [each.text for each in docx.Document(io.BytesIO(data)).paragraphs]


def stamped(*body: str, **values: Any) -> list[str]:
    return said(compiled(*body).stamp({**VALUES, **values}))


# What is printed.


def test_a_tag_split_over_runs_is_one_tag() -> None:
    assert stamped(paragraph("Dear {", "{ auth", "ority }", "}!")) == [
        "Dear Stevenage Borough Council!"
    ]


def test_paragraph_tags_choose_and_repeat_paragraphs() -> None:
    body = [
        paragraph("{%p if upheld.rated %}"),
        paragraph("rated"),
        paragraph("{%p else %}"),
        paragraph("not rated"),
        paragraph("{%p endif %}"),
        paragraph("{%p for remark in remarks %}"),
        paragraph("{{ loop.index }} {{ remark }}"),
        paragraph("{%p endfor %}"),
    ]
    assert stamped(*body) == ["rated", "1 One.", "2 Two."]
    assert stamped(*body, upheld={**VALUES["upheld"], "rated": False}, remarks=[]) == ["not rated"]


def test_run_tags_keep_the_words_beside_them() -> None:
    body = paragraph("A ", "{%r if upheld.rated %}", "rated ", "{%r endif %}", "{{r noun }}", " B")
    assert stamped(body) == ["A rated Council B"]


def test_row_tags_repeat_table_rows() -> None:
    def row(words: str) -> str:
        return f"<w:tr><w:tc>{paragraph(words)}</w:tc></w:tr>"

    table = (
        '<w:tbl><w:tblPr/><w:tblGrid><w:gridCol w:w="900"/></w:tblGrid>'
        + row("{%tr for remark in remarks %}")
        + row("{{ remark }}")
        + row("{%tr endfor %}")
        + "</w:tbl>"
    )
    data = compiled(table, paragraph("end")).stamp(VALUES)
    (printed,) = docx.Document(io.BytesIO(data)).tables
    assert [each.cells[0].text for each in printed.rows] == ["One.", "Two."]


def test_comparisons_and_inline_choices() -> None:
    body = paragraph(
        '{% if noun == "Authority" or not upheld.rated %}no{% else %}yes{% endif %}'
        ' {{ "one" if upheld.rated and facts.courses != "1" else "other" }}'
    )
    assert stamped(body) == ["yes one"]


def test_header_and_title_are_filled_in_too() -> None:
    template = compiled(
        paragraph("x"),
        **{"word/header1.xml": f'<w:hdr xmlns:w="{W}">{paragraph("{{ noun }}")}</w:hdr>'},
    )
    values = {**VALUES, "authority": "Hammersmith & Fulham <b>"}
    data = template.stamp(values)
    assert part(data, "word/header1.xml").findtext(".//{*}t") == "Council"
    # docxtpl itself would write "&amp;" here, letter by letter.
    assert docx.Document(io.BytesIO(data)).core_properties.title == (
        "Letter: Hammersmith & Fulham <b>"
    )
    assert template.title(values) == "Letter: Hammersmith & Fulham <b>"


PRINTABLE = st.text(
    st.characters(
        exclude_categories=["Cs", "Cc"],
        exclude_characters=[
            chr(each)
            for span in ((0x202A, 0x202F), (0x2066, 0x206A), (0xFDD0, 0xFDF0), (0xFFFE, 0x10000))
            for each in range(*span)
        ],
    )
)


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=200, deadline=None)
@given(PRINTABLE)
@example("{{ noun }}{% if %}{#")
@example("{_{ noun }_} {_% x %_}")
@example("</w:t></w:r><w:p> &amp; <!--ring 0 arc--> ]]>")
@example(':docPr id="0"')
@example("Ŵrecsam, A\u030angstro\u0308m 𝒳")
def test_a_value_is_printed_as_it_is(text: str) -> None:
    assert said(TEMPLATE.stamp({**VALUES, "authority": text})) == [f"[{text}]"]
    assert TEMPLATE.title({**VALUES, "authority": text}) == f"Letter: {text}"


def test_line_breaks_and_tabs_become_words_own() -> None:
    data = TEMPLATE.stamp({**VALUES, "authority": "a\nb\tc"})
    assert [
        each.tag.rpartition("}")[2] for each in part(data).iter(f"{{{W}}}br", f"{{{W}}}tab")
    ] == [
        "br",
        "tab",
    ]
    assert said(data) == ["[a\nb\tc]"]


TEMPLATE = compiled(paragraph("[{{ authority }}]"))


def test_the_same_fields_give_the_same_bytes_also_elsewhere() -> None:
    once = TEMPLATE.stamp(VALUES)
    assert TEMPLATE.stamp(copy.deepcopy(VALUES)) == once
    elsewhere = pickle.loads(pickle.dumps(TEMPLATE))  # noqa: S301
    assert elsewhere.stamp(VALUES) == once
    assert (elsewhere.sha256, elsewhere.used) == (TEMPLATE.sha256, TEMPLATE.used)
    assert (
        compile_template(word(paragraph("[{{ authority }}]")), fields=FIELDS, needed=()).stamp(
            VALUES
        )
        == once
    )
    with zipfile.ZipFile(io.BytesIO(once)) as package:
        assert {each.date_time for each in package.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_parts_that_stay_are_copied_as_they_lay() -> None:
    data = word(paragraph("x"))
    with (
        zipfile.ZipFile(io.BytesIO(data)) as before,
        zipfile.ZipFile(
            io.BytesIO(compile_template(data, fields=FIELDS, needed=()).stamp(VALUES))
        ) as after,
    ):
        assert before.namelist() == after.namelist()
        kept = "[Content_Types].xml"
        assert before.read(kept) == after.read(kept)
        assert before.getinfo(kept).compress_size == after.getinfo(kept).compress_size


def test_docxtpls_way_of_writing_braces_is_kept() -> None:
    assert stamped(paragraph("Write {_{ noun }_} and {_% if %_}.")) == [
        "Write {{ noun }} and {% if %}."
    ]


def test_used_names_are_dotted() -> None:
    template = compiled(
        paragraph("{{ facts.courses }}", ring()),
        paragraph("{%p for remark in remarks %}"),
        paragraph("{{ remark }}"),
        paragraph("{%p endfor %}"),
    )
    assert template.used == {
        "authority",
        "facts.courses",
        "remarks",
        "upheld.percent",
        "upheld.percent_number",
    }
    assert template.fixed_texts == ("Top",)


# Faults of one letter.


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"authority": None}, "authority"),
        ({"authority": ["a"]}, "authority is a list"),
        ({"authority": "a\x00b"}, r"authority holds the character U\+0000 \(after “a”\)"),
        ({"authority": "a\x0bb"}, r"U\+000B"),
        ({"authority": "a\rb"}, r"U\+000D"),
        ({"authority": "a\x85b"}, r"U\+0085"),
        ({"authority": "a\u202eb"}, r"U\+202E"),
        ({"authority": "a\ud800b"}, r"U\+D800"),
        ({"authority": "a\uffffb"}, r"U\+FFFF"),
        ({"remarks": "text"}, "remarks .* list of texts"),
        ({"remarks": ["ok", "a\x07"]}, r"remarks holds the character U\+0007"),
        ({"facts": {}}, r"facts\.courses"),
        ({"facts": "none"}, r"facts\.courses"),
        ({"upheld": {**VALUES["upheld"], "percent_number": 101}}, r"upheld\.percent_number is 101"),
        ({"upheld": {**VALUES["upheld"], "percent_number": True}}, "whole number"),
        ({"upheld": {**VALUES["upheld"], "percent_number": "33"}}, "whole number"),
        ({"upheld": {"rated": True}}, r"upheld\.percent"),
    ],
)
def test_a_field_that_cannot_be_printed_is_that_letters_fault(
    changes: Mapping[str, object], words: str
) -> None:
    template = compiled(
        paragraph("{{ authority }} {{ facts.courses }}", ring()),
        paragraph("{% for remark in remarks %}{{ remark }}{% endfor %}"),
    )
    with pytest.raises(LetterFault, match=words):
        template.stamp({**VALUES, **changes})


def test_a_missing_field_is_named() -> None:
    with pytest.raises(LetterFault, match="no field authority"):
        TEMPLATE.stamp({})


def test_markup_that_says_it_is_safe_is_not_believed() -> None:
    class Markup(str):
        __slots__ = ()

        def __html__(self) -> str:
            return "<w:br/>"

    with pytest.raises(LetterFault, match="authority"):
        TEMPLATE.stamp({**VALUES, "authority": Markup("x")})


# Rings.


def arc(percent: int) -> tuple[list[str], list[str]]:
    """The shapes drawn and the angles, in 60,000ths of a degree, from where to where."""
    upheld = {"rated": True, "percent": f"{percent}%", "percent_number": percent}
    tree = part(compiled(paragraph(ring())).stamp({**VALUES, "upheld": upheld}))
    return (
        [str(each.get("prst")) for each in tree.iter("{*}prstGeom")],
        [str(each.get("fmla")) for each in tree.iter("{*}gd") if each.get("name") != "adj3"],
    )


@pytest.mark.parametrize(
    ("percent", "end"),
    [
        (1, 16_416_000),
        (25, 0),
        (33, 1_728_000),
        (50, 5_400_000),
        (75, 10_800_000),
        (99, 15_984_000),
    ],
)
def test_an_arc_starts_at_twelve_and_turns_with_the_clock(percent: int, end: int) -> None:
    assert arc(percent) == (["blockArc"], ["val 16200000", f"val {end}"])


def test_nothing_and_everything_are_no_arcs() -> None:
    # Programs draw an arc that ends where it begins as a full turn or as nothing.
    assert arc(0) == ([], [])
    assert arc(100) == (["donut"], ["val 21000"])


def test_drawings_are_numbered_as_docxtpl_numbers_them() -> None:
    tree = part(compiled(paragraph(ring()), paragraph(ring())).stamp(VALUES))
    assert [(each.get("id"), each.get("descr")) for each in tree.iter("{*}docPr")] == [
        ("1001", "33%"),
        ("1002", "33%"),
    ]


def test_the_drawing_for_old_programs_is_dropped() -> None:
    mc = "http://schemas.openxmlformats.org/markup-compatibility/2006"
    both = (
        f'<w:r><mc:AlternateContent xmlns:mc="{mc}"><mc:Choice Requires="wps">'
        + RING.replace("NAME", "upheld").replace("PRESET", "blockArc")
        + "</mc:Choice><mc:Fallback><w:pict/></mc:Fallback></mc:AlternateContent></w:r>"
    )
    tree = part(compiled(paragraph(both)).stamp(VALUES))
    assert list(tree.iter("{*}pict")) == []
    assert len(list(tree.iter("{*}docPr"))) == 1


# Faults of the template.

SHORT = "{{ authority }}"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (["Dear {{ authorty }}"], r"the body, at “Dear {{ authorty }}”.*authorty; .*authority\?"),
        (["{{ upheld }}"], r"no field upheld; did you mean upheld\.pe"),
        (["{{ upheld.per_cent }}"], r"did you mean upheld\.percent"),
        (["{{ facts.a.b }}"], r"no field facts\.a\.b"),
        (["{{ facts }}"], "no field facts"),
        (["{{ facts.__class__ }}"], "no field"),
        (["{{ authority.__class__ }}"], "no field"),
        (["{{ _end_of_upheld }}"], "no field"),
        (["{{ loop.index }}"], "no field"),
        (["{{ authority"], "opened with {{ is not closed"),
        (["{{ authority }", "more {{ noun }}"], "opened with {{ is not closed"),
        (["{% if noun %}", "{{ noun"], "not closed"),
        (["authority }}"], "closes a tag that was not opened"),
        (["{{ authority | upper }}"], "filter.*not permitted"),
        (["{{ authority.upper() }}"], "call.*not permitted"),
        (["{{ range(9) }}"], "call"),
        (["{{ facts['a'] }}"], "getitem"),
        (["{{ 9 * 9 }}"], "mul"),
        (["{% set x = 1 %}"], "assign"),
        (["{% include 'x' %}"], "include"),
        (["{% import 'x' as x %}"], "import"),
        (["{% macro m() %}{% endmacro %}"], "macro"),
        (["{% block b %}{% endblock %}"], "block"),
        (["{% nonsense %}"], "cannot be understood"),
        (["{{ }}"], "cannot be understood"),
        (["{{ a b }}"], "cannot be understood"),
        (["{%p if noun %}", "word"], r"at “{% if noun %}.*endif %} or {% endfor %} is missing"),
        (["{% for x in remarks %}{% for y in remarks %}{% endfor %}{% endfor %}"], "within a loop"),
        (["{% for x in remarks recursive %}{% endfor %}"], "loop"),
        (["{% for x in remarks %}{{ x.a }}{% endfor %}"], "nothing called x.a"),
        (["{%p if noun %} lost words", "{%p endif %}"], "“lost words”"),
        (["{%p if noun %}{%p endif %}"], "of its own"),
        (["{%tr if noun %}"], "not in a table"),
        (["{{p authority }}"], "whole paragraph"),
        (["{%p if noun %}", "word {% endif %}"], "begins in one kind of place"),
    ],
)
def test_a_tag_that_is_not_permitted_is_refused_with_its_place(body: list[str], words: str) -> None:
    with pytest.raises(Misconfigured, match=re.compile(words, re.DOTALL)):
        compiled(*(paragraph(each) for each in body))


@pytest.mark.parametrize("lost", ['<w:r><w:br w:type="page"/></w:r>', ring()])
def test_what_would_vanish_with_a_tag_is_refused(lost: str) -> None:
    with pytest.raises(Misconfigured, match="taken away with it"):
        compiled(paragraph("{%p if noun %}", lost), paragraph("x"), paragraph("{%p endif %}"))


def test_every_fault_of_a_part_is_said_at_once() -> None:
    with pytest.raises(Misconfigured) as caught:
        compiled(paragraph("{{ first }}"), paragraph("{{ second }}"))
    assert "no field first" in str(caught.value)
    assert "no field second" in str(caught.value)


def field_code(code: str) -> str:
    return paragraph(
        '<w:r><w:fldChar w:fldCharType="begin"/></w:r>',
        f"<w:r><w:instrText>{code[:4]}</w:instrText></w:r>",
        f"<w:r><w:instrText>{code[4:]}</w:instrText></w:r>",
        '<w:r><w:fldChar w:fldCharType="end"/></w:r>',
    )


@pytest.mark.parametrize(
    ("element", "words"),
    [
        (paragraph(ring("uphold")), "“Ring uphold”.*did you mean upheld.*“Ring upheld”"),
        (paragraph(ring(preset="donut")), "Block Arc"),
        ("<w:p><w:ins><w:r><w:t>new</w:t></w:r></w:ins></w:p>", "tracked changes.*“new”"),
        ("<w:p><w:del><w:r><w:delText>old</w:delText></w:r></w:del></w:p>", "tracked changes"),
        ("<w:p><w:r><w:object/></w:r></w:p>", "embedded object"),
        ('<w:altChunk r:id="x" xmlns:r="urn:r"/>', "embedded object"),
        (field_code(' INCLUDETEXT "/etc/passwd"'), "Word field “INCLUDETEXT"),
        (field_code(' INCLUDEPICTURE "https://a.example/"'), "Word field"),
        (field_code("DDEAUTO c:\\x"), "Word field"),
        (field_code(' DATE \\@ "d"'), "Word field"),
        (field_code(' HYPERLINK "file:///etc/passwd"'), "file:///etc/passwd"),
        (field_code(' HYPERLINK "{{ authority }}"'), "without tags"),
        ('<w:p><w:fldSimple w:instr="LINK x"/></w:p>', "Word field “LINK x”"),
    ],
)
def test_what_is_not_plain_in_the_body_is_refused(element: str, words: str) -> None:
    with pytest.raises(Misconfigured, match=words):
        compiled(element)


def test_fields_that_number_pages_and_link_are_permitted() -> None:
    codes = [" PAGE ", " NUMPAGES ", ' HYPERLINK "https://www.a.example/" \\o "x"']
    compiled(*(field_code(code) for code in codes))


@pytest.mark.parametrize("target", ["https://a.example/", "http://a.example", "mailto:a@b.example"])
def test_links_to_pages_and_addresses_are_permitted(target: str) -> None:
    compiled(paragraph("x"), **{"word/_rels/document.xml.rels": links(link("hyperlink", target))})


@pytest.mark.parametrize(
    ("relationship", "words"),
    [
        (link("hyperlink", "file:///etc/passwd"), "does not start with https:"),
        (link("hyperlink", "javascript:alert(1)"), "does not start with https:"),
        (link("hyperlink", "//host/share"), "does not start with https:"),
        (link("hyperlink", "https://[broken"), "does not start with https:"),
        (link("attachedTemplate", "https://a.example/t.dotm"), "attached template"),
        (link("image", "https://a.example/i.png"), "linked picture"),
        (link("oleObject", "file:///x.xlsx"), "linked object"),
        (link("newKind", "https://a.example/"), "newKind"),
        (link("oleObject", "header1.xml", "Internal"), "embedded object"),
        (link("aFChunk", "header1.xml", "Internal"), "inserted file"),
        (link("image", "media/none.png", "Internal"), "not in the file"),
        (link("image", "../../../etc/passwd", "Internal"), "not in the file"),
    ],
)
def test_what_is_fetched_from_elsewhere_is_refused(relationship: str, words: str) -> None:
    with pytest.raises(Misconfigured, match=words):
        compiled(paragraph("x"), **{"word/_rels/document.xml.rels": links(relationship)})


DTD = '<!DOCTYPE w [<!ENTITY e SYSTEM "file:///etc/passwd">]>'


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("word/document.xml", "<w:document", "damaged"),
        ("word/document.xml", f"{DTD}<w>&e;</w>", "document type declaration"),
        ("docProps/core.xml", DTD.encode("utf-16") + b"<w/>", "document type declaration"),
        ("word/comments.xml", "<c>{{ authority }}</c>", "tag in the comments"),
        ("word/../../evil.xml", "<x/>", "name no Word document has"),
        ("/etc/evil.xml", "<x/>", "name no Word document has"),
        ("word/Document.xml", "<x/>", "twice"),
        ("word\\evil.xml", "<x/>", "name no Word document has"),
        ("word/vbaProject.bin", "x", "macros"),
        ("word/activeX/activeX1.bin", "x", "control"),
        ("word/media/a.svg", "<svg/>", "SVG"),
        ("word/bomb.bin", b"\0" * 5_000_000, "unlikely size"),
        ("[Content_Types].xml", TYPES.replace("document.main", "template.main"), r"\.dotx"),
        ("[Content_Types].xml", TYPES.replace("wordprocessingml", "spreadsheetml"), "workbook"),
        (
            "[Content_Types].xml",
            TYPES.replace(
                "vnd.openxmlformats-officedocument.wordprocessingml.document.main",
                "vnd.ms-word.document.macroEnabled.main",
            ),
            "macros",
        ),
        (
            "word/document.xml",
            f'<d:document xmlns:d="http://purl.oclc.org/ooxml/wordprocessingml/main">{SHORT}'
            "</d:document>",
            "Strict",
        ),
        ("docProps/core.xml", "<empty/>", "no title"),
        (
            "docProps/core.xml",
            '<c xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>t</dc:title>'
            "<keywords>{{ noun }}</keywords></c>",
            "property “keywords”",
        ),
    ],
)
def test_a_package_that_is_not_a_sound_word_document_is_refused(
    name: str, content: str | bytes, words: str
) -> None:
    with pytest.raises(Misconfigured, match=words):
        compiled(paragraph("x"), **{name: content})


def test_a_style_named_like_a_pdf_tag_is_refused() -> None:
    kind = "application/vnd.openxmlformats-officedocument.wordprocessingml.styles+xml"
    types = TYPES.replace(
        "</Types>", f'<Override PartName="/word/styles.xml" ContentType="{kind}"/></Types>'
    )
    style = (
        f'<w:styles xmlns:w="{W}"><w:style w:styleId="f"><w:name w:val="NAME"/></w:style>'
        "</w:styles>"
    )
    parts = {"[Content_Types].xml": types, "word/styles.xml": style.replace("NAME", "Figure")}
    body = '<w:p><w:pPr><w:pStyle w:val="f"/></w:pPr></w:p>'
    with pytest.raises(Misconfigured, match="style “Figure” has the name of a PDF tag"):
        compiled(body, **parts)
    compiled(body, **{**parts, "word/styles.xml": style.replace("NAME", "Figures")})
    compiled(paragraph("not in use"), **parts)


def test_a_fault_in_the_header_says_so() -> None:
    header = f'<w:hdr xmlns:w="{W}">{paragraph("{{ nuon }}")}</w:hdr>'
    with pytest.raises(Misconfigured, match=r"the header \(header1\.xml\), at “{{ nuon }}”.*noun"):
        compiled(paragraph("x"), **{"word/header1.xml": header})


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1rest", "old format"),
        (b"%PDF-1.7", "not a Word document"),
        (b"PK\x03\x04", "damaged"),
    ],
)
def test_a_file_that_is_no_package_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(Misconfigured, match=words):
        compile_template(data, fields=FIELDS, needed=())


def test_a_zip_file_of_something_else_is_refused() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as package:
        package.writestr("hello.txt", "x")
    with pytest.raises(Misconfigured, match="not a Word document"):
        compile_template(file.getvalue(), fields=FIELDS, needed=())


WHOLE = word(paragraph("Dear {{ authority }}", ring()), paragraph("{{ noun }}"))


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(WHOLE) - 1), st.integers(0, len(WHOLE) - 1), st.binary(max_size=8))
def test_a_damaged_file_is_refused_or_sound(start: int, end: int, junk: bytes) -> None:
    data = WHOLE[:start] + junk + WHOLE[max(start, end) :]
    with contextlib.suppress(Misconfigured):
        part(compile_template(data, fields=FIELDS, needed=()).stamp(VALUES))


def test_a_truncated_file_is_refused() -> None:
    sound = word(paragraph("x"))
    for length in range(0, len(sound) - 1, 7):
        with pytest.raises(Misconfigured):
            compile_template(sound[:length], fields=FIELDS, needed=())


# What only shows when letters are stamped.


def test_a_letter_that_grows_beyond_measure_is_that_letters_fault() -> None:
    loops = "{% for x in remarks %}{{ x }}{{ authority }}{% endfor %}" * 400
    template = compiled(paragraph(loops))
    long = {"authority": "a" * 10_000, "remarks": ["x"] * 100_000}  # 400 thousand million letters
    with pytest.raises(LetterFault, match=r"grows beyond 4 MB of text.*shorten it"):
        template.stamp({**VALUES, **long})
    assert said(template.stamp(VALUES))[0].startswith("One.Stevenage")


def test_a_title_that_grows_beyond_measure_is_that_letters_fault() -> None:
    with pytest.raises(LetterFault, match="grows beyond"):
        TEMPLATE.title({**VALUES, "authority": "a" * 5_000_000})


def test_a_comment_cannot_pass_for_a_rings_mark() -> None:
    forged = "<w:p><!--ring 0 whole--><!--ring 0 part--></w:p>"
    template = compiled(paragraph(ring()), forged)
    assert part(template.stamp(VALUES)).findall(f".//{{{W}}}p")


def test_curly_quotes_are_understood_as_word_writes_them() -> None:
    assert stamped(paragraph("{% if noun == “Council” %}yes{% endif %}")) == ["yes"]


@pytest.mark.parametrize("needed", ["authority", "upheld.percent", "upheld.percent_number"])
def test_what_every_letter_is_proved_by_must_be_in_the_pages(needed: str) -> None:
    data = word(paragraph("{{ noun }}"))  # the authority is in the title, which is no page
    with pytest.raises(Misconfigured, match=needed.removesuffix(".percent_number")):
        compile_template(data, fields=FIELDS, needed=[needed])
    whole = word(paragraph("{{ authority }} {{ upheld.percent }}", ring()))
    assert needed in compile_template(whole, fields=FIELDS, needed=[needed]).used


# The file.


def test_a_fault_names_the_file_it_is_in(tmp_path: Path) -> None:
    file = tmp_path / "letter.docx"
    file.write_bytes(word(paragraph("{{ authorty }}")))
    with pytest.raises(Misconfigured) as caught:
        load_template(file, fields=FIELDS)
    assert str(caught.value).startswith(f"{file}: In the body, at “{{{{ authorty }}}}”")
    file.write_bytes(WHOLE)
    assert load_template(file, fields=FIELDS).data == WHOLE


def test_only_a_file_of_a_templates_size_is_read(tmp_path: Path) -> None:
    pipe, large, looped = (tmp_path / name for name in ("pipe", "large", "looped"))
    os.mkfifo(pipe)
    with large.open("wb") as file:
        file.truncate(50 * 1024**3)  # nothing but a hole
    looped.symlink_to(looped)
    for path, words in (
        (pipe, "not a file; put"),
        (Path("/dev/zero"), "not a file; put"),
        (tmp_path, "a folder; put"),
        (large, "larger than 20 MB; use smaller"),
        (looped, "cannot be read"),
        (tmp_path / "none", "cannot be read .*correct template.path"),
    ):
        with pytest.raises(Misconfigured, match=f"{re.escape(str(path))}.*{words}"):
            read_template(path)
