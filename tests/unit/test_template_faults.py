"""Every fault of a template at once: on the shipped one, spoiled in each way there is."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.errors import Misconfigured
from pipeline.letter import MERGE_FIELDS
from pipeline.template import compile_template
from pipeline.template.faults import Looked, look
from pipeline.template.flaw import Kind
from tests.acceptance.site import ROOT
from tests.acceptance.test_bad_templates import (
    BODY,
    CASES,
    CORE,
    FIELD_CODE,
    LAUGHS,
    LETTER,
    LINKS,
    OFFICE,
    PARTS,
    Bait,
    Content,
    docx,
    entry,
    linked,
    notes,
    packed,
    saying,
    typed,
    with_paragraph,
    with_part,
)

HEADING = "Complaint statistics"
W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
WP = "http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing"


def seen(data: bytes, **more: Any) -> Looked:
    return look(data, fields=MERGE_FIELDS, **more)


def body(before: str, after: str, count: int = 1) -> dict[str, Content]:
    """The shipped letter's body with one thing changed."""
    assert before in PARTS[BODY]
    return {BODY: PARTS[BODY].replace(before, after, count)}


def paragraph(words: str) -> str:
    return f'<w:p><w:r><w:t xml:space="preserve">{escape(words)}</w:t></w:r></w:p>'


def below(*xml: str) -> dict[str, Content]:
    """Paragraphs right below the heading “Complaint statistics”."""
    return {BODY: with_paragraph("".join(xml))}


def text_box(words: str) -> str:
    """A text box as Word writes it: twice, the second time for old programs."""
    inside = f"<w:txbxContent>{paragraph('First')}{paragraph(words)}</w:txbxContent>"
    return (
        '<w:p><w:r><w:t>Anchor</w:t></w:r><w:r><mc:AlternateContent><mc:Choice Requires="wps">'
        f'<w:drawing><wp:inline><wp:docPr id="9" name="Box" descr="A box"/><wps:txbx>{inside}'
        "</wps:txbx></wp:inline></w:drawing></mc:Choice><mc:Fallback><w:pict>"
        f'<v:rect xmlns:v="urn:schemas-microsoft-com:vml"><v:textbox>{inside}</v:textbox></v:rect>'
        "</w:pict></mc:Fallback></mc:AlternateContent></w:r></w:p>"
    )


def link(words: str, attributes: str) -> str:
    return (
        f"<w:p><w:r><w:t>Please see </w:t></w:r><w:hyperlink xmlns:r='{OFFICE}' {attributes}>"
        f"<w:r><w:t>{words}</w:t></w:r></w:hyperlink></w:p>"
    )


def commented() -> dict[str, Content]:
    comment = (
        f'<w:comments xmlns:w="{W}"><w:comment w:id="4" w:author="Ann"><w:p><w:r><w:t>'
        "Is this right?</w:t></w:r></w:p></w:comment></w:comments>"
    )
    words = "<w:p><w:r><w:t>As agreed</w:t><w:commentReference w:id='4'/></w:r></w:p>"
    return {**with_part("comments", comment), BODY: with_paragraph(words)}


def styled(before: str, after: str) -> dict[str, Content]:
    assert before in PARTS["word/styles.xml"]
    return {"word/styles.xml": PARTS["word/styles.xml"].replace(before, after)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoiled:
    """One kind of fault: what is changed, and what has to be said of it."""

    kind: Kind
    changes: Mapping[str, Content]
    what: str
    mend: str
    words: str = ""
    part: str = "body"
    below: int | None = 1
    heading: str = HEADING
    blocking: bool = True


CASES_OF_ONE = (
    Spoiled(
        kind=Kind.UNKNOWN_FIELD,
        changes=below(paragraph("For {{ authorty }} alone")),
        what="There is no field authorty; did you mean authority?",
        mend="Write {{ authority }}, or take the tag out.",
        words="For {{ authorty }} alone",
    ),
    Spoiled(
        kind=Kind.UNKNOWN_FIELD,
        changes=below(paragraph("{{ qwertyuiop }}")),
        what="There is no field qwertyuiop.",
        mend="Write one of the fields in docs/template.md, or take the tag out.",
        words="{{ qwertyuiop }}",
    ),
    Spoiled(
        kind=Kind.UNKNOWN_FIELD,
        changes=body('w:tooltip="Our training', "w:tooltip=\"The {{ nuon }}'s training"),
        what="There is no field nuon; did you mean noun?",
        mend="Write {{ noun }}",
        words="The {{ nuon }}'s training courses",
        heading="Resources to help you get it right",
        below=4,
    ),
    Spoiled(
        kind=Kind.UNCLOSED_TAG,
        changes=below(paragraph("Dear {{ authority and all")),
        what="The tag opened with {{ is not closed with }} in the same paragraph.",
        mend="Write }} where the tag ends.",
        words="Dear {{ authority and all",
    ),
    Spoiled(
        kind=Kind.UNCLOSED_TAG,
        changes=below(paragraph("Dear authority }} and all")),
        what="}} closes a tag that was not opened.",
        mend="Write {{ before it, or take it out.",
        words="Dear authority }} and all",
    ),
    Spoiled(
        kind=Kind.UNCLOSED_TAG,
        changes=below(paragraph("{%p if noun %}"), paragraph("x")),
        what="It is opened but its {% endif %} or {% endfor %} is missing.",
        mend="Write that where it ends.",
        words="{%p if noun %}",
    ),
    Spoiled(
        kind=Kind.UNCLOSED_TAG,
        changes=below(paragraph("x"), paragraph("{%p endif %}")),
        what="{% endif %} closes no {% if %}",
        mend="Take it out, or write what it belongs to before it.",
        words="{%p endif %}",
        below=2,
    ),
    Spoiled(
        kind=Kind.SPLIT_TAG,
        changes=below(
            link("ity }} here", 'w:anchor="_top" w:tooltip="x"').replace("Please see ", "{{ author")
        ),
        what="{{ authority }} begins inside a link",
        mend="Delete the tag and type it again",
        words="{{ authority }} here",
    ),
    Spoiled(
        kind=Kind.MISPLACED_TAG,
        changes=below(paragraph("{%p if noun %}"), paragraph("words {% endif %}")),
        what="What this tag switches on or repeats begins in one kind of place and ends in",
        mend="Use {%p %} for both ends of it",
        words="{%p if noun %}",
    ),
    Spoiled(
        kind=Kind.MISPLACED_TAG,
        changes=body("{%p if succession %}", "{%p if succession %} and more"),
        what="{%p if succession %} must stand in a paragraph of its own",
        mend="Put {%p if succession %} into a paragraph of its own.",
        words="{%p if succession %} and more",
        heading="Annual Review letter {{ letter_year }}",
        below=4,
    ),
    Spoiled(
        kind=Kind.MISPLACED_TAG,
        changes=notes("endnotes", "Note {{ authority }}"),
        what="The template has a tag (near “Note {{ authority }}”), where it would be printed as",
        mend="Take it out there. Tags work in the body, headers, footers and footnotes.",
        words="Note {{ authority }}",
        part="endnotes",
        heading="",
    ),
    Spoiled(
        kind=Kind.MISPLACED_TAG,
        changes={CORE: PARTS[CORE].replace("</cp:", "<cp:keywords>{{ noun }}</cp:keywords></cp:")},
        what="The template's document property “keywords” holds a tag",
        mend="Take it out under File > Info.",
        words="{{ noun }}",
        part="properties",
        heading="",
        below=None,
    ),
    Spoiled(
        kind=Kind.MISPLACED_TAG,
        changes=below(
            '<w:p><m:oMath xmlns:m="urn:m"><m:r><m:t>{{ noun }}</m:t></m:r></m:oMath></w:p>'
        ),
        what="The tag “{{ noun }}” is in an equation or another place where no field",
        mend="Write it as plain text.",
    ),
    *(
        Spoiled(
            kind=Kind.TAG,
            changes=below(paragraph(f"See {tag} there")),
            what=what,
            mend=mend,
            words=f"See {tag} there",
        )
        for tag, what, mend in (
            ("{{ noun | upper }}", "this (filter) is not permitted.", "Write only {{ field }}"),
            ("{{ noun noun }}", "The tag cannot be understood. Expected", "Write only {{ field }}"),
            ("{{ remarks }}", "The field remarks is a list", "Write {%p for each in remarks %}"),
            ("{{ upheld.rated }}", "is true or false", "Ask it with {% if upheld.rated %}"),
            ("{% set x = 1 %}", "this (assign) is not permitted.", "Write only {{ field }}"),
            ("{{ noun if noun }}", "An if within {{ }} needs its else.", "Write it"),
        )
    ),
    *(
        Spoiled(
            kind=Kind.UNKNOWN_FIELD,
            changes=changes,
            what="There is no field nuon; did you mean noun?",
            mend="Write {{ noun }}",
            words=words,
            part=part,
            heading=HEADING if part == "text box" else "",
            below=number,
        )
        for part, changes, words, number in (
            (
                "header",
                {"word/header1.xml": saying("Of {{ nuon }}", "word/header1.xml")},
                "Of {{ nuon }}",
                2,
            ),
            (
                "footer",
                {"word/footer2.xml": saying("Of {{ nuon }}", "word/footer2.xml")},
                "Of {{ nuon }}",
                2,
            ),
            ("footnotes", notes("footnotes", "Of {{ nuon }}"), "Of {{ nuon }}", 1),
            ("text box", below(paragraph("x"), text_box("Of {{ nuon }}")), "Of {{ nuon }}", None),
            (
                "properties",
                {CORE: PARTS[CORE].replace("{{ authority }}", "{{ nuon }}")},
                "…letter {{ letter_year }}: {{ nuon }}",
                None,
            ),
        )
    ),
    Spoiled(
        kind=Kind.CURLY_QUOTES,
        changes=below(paragraph("A {% if noun == “Council” %}x{% endif %}")),
        what="{% if noun == “Council” %} has curly quotes",
        mend="Press Ctrl+Z right after typing each quote",
        words="A {% if noun == “Council” %}x{% endif %}",
        blocking=False,
    ),
    Spoiled(
        kind=Kind.RING,
        changes=body('name="Ring upheld"', 'name="Ring uphold"'),
        what="The template's drawing “Ring uphold” is bound to no figure; did you mean upheld?",
        mend="Rename it in the selection pane (Layout > Selection Pane) to “Ring compliance”",
        words="{{ upheld.percent }} of complaints we…",
        heading="Complaints upheld",
        below=2,
    ),
    Spoiled(
        kind=Kind.RING,
        changes=body('prst="blockArc"', 'prst="pie"'),
        what="The template's drawing “Ring upheld” must hold one Block Arc shape",
        mend="Copy a ring from an earlier template.",
        words="{{ upheld.percent }} of complaints we…",
        heading="Complaints upheld",
        below=2,
    ),
    Spoiled(
        kind=Kind.SCREENTIP,
        changes={**below(link("this page", 'r:id="rIdMap"'))},
        what="The link “this page” has no ScreenTip",
        mend="Right-click on the link > Edit Hyperlink > ScreenTip",
        words="Please see this page",
    ),
    Spoiled(
        kind=Kind.SCREENTIP,
        changes=below(link("this page", 'w:anchor="_top" w:tooltip=" "')),
        what="The link “this page” has no ScreenTip",
        mend="Right-click",
        words="Please see this page",
    ),
    Spoiled(
        kind=Kind.SCREENTIP,
        changes=below(FIELD_CODE.format('HYPERLINK "https://a.example/"')),
        what="The link has no ScreenTip",
        mend="Right-click",
    ),
    Spoiled(
        kind=Kind.ALTERNATIVE_TEXT,
        changes=below(text_box("x").replace('descr="A box"', 'descr=" "')),
        what="The drawing “Box” has no alternative text",
        mend="Right-click on it > View Alt Text",
        words="Anchor",
    ),
    Spoiled(
        kind=Kind.ALTERNATIVE_TEXT,
        changes=below(
            '<w:p><w:r><w:t>Logo</w:t><w:pict><v:rect xmlns:v="urn:schemas-microsoft-com:vml" '
            'id="Logo 2"/></w:pict></w:r></w:p>'
        ),
        what="The drawing “Logo 2” has no alternative text",
        mend="Right-click on it > View Alt Text",
        words="Logo",
    ),
    Spoiled(
        kind=Kind.ALTERNATIVE_TEXT,
        changes=body(
            'name="Ring upheld" descr="Ring chart: {{ upheld.percent }}',
            'name="Ring upheld" descr="Ring: 45%',
        ),
        what="The alternative text of the drawing “Ring upheld” does not say its figure.",
        mend="Write {{ upheld.percent }} into it",
        words="Ring: 45% of complaints we investigated…",
        heading="Complaints upheld",
        below=2,
        blocking=False,
    ),
    Spoiled(
        kind=Kind.HEADING,
        changes=below(
            '<w:p><w:pPr><w:outlineLvl w:val="3"/></w:pPr><w:r><w:t>Deep</w:t></w:r></w:p>'
        ),
        what="This is a Heading 4 and comes after a Heading 2",
        mend="Make it a Heading 3 (Home > Styles)",
        words="Deep",
    ),
    Spoiled(
        kind=Kind.CHARACTER,
        changes=below(paragraph("A tick \uf0fc here")),
        what="There is the character U+F0FC, which cannot be read as text.",
        mend="Delete it, and take an ordinary character",
        words="A tick \uf0fc here",
    ),
    Spoiled(
        kind=Kind.CHARACTER,
        changes=below(
            '<w:p><w:r><w:t>Done </w:t><w:sym w:font="Wingdings" w:char="F0FC"/></w:r></w:p>'
        ),
        what="There is a symbol of the font Wingdings, which cannot be read as text.",
        mend="Delete it",
        words="Done",
    ),
    Spoiled(
        kind=Kind.LINK,
        changes={
            LINKS: linked("hyperlink", "file:///C:/a.docx"),
            **below(link("our plan", 'r:id="rIdBad" w:tooltip="x"')),
        },
        what="The template's link to 'file:///C:/a.docx' does not start with https:, http:",
        mend="Change it (right-click > Edit Link).",
        words="Please see our plan",
    ),
    Spoiled(
        kind=Kind.LINK,
        changes=below(link("our plan", 'w:anchor="gone"')),
        what="The link “our plan” leads to a place that is not in the document any more.",
        mend="Right-click on it > Edit Link > Place in This Document",
        words="Please see our plan",
        blocking=False,
    ),
    Spoiled(
        kind=Kind.FETCHED,
        changes={
            "word/_rels/settings.xml.rels": linked("attachedTemplate", "https://a.example/t.dotm")
        },
        what="The template fetches an attached template from elsewhere (https://a.example/t.dotm).",
        mend="Put it into the document, or break the link",
        part="settings",
        heading="",
        below=None,
    ),
    Spoiled(
        kind=Kind.OBJECT,
        changes=below("<w:p><w:r><w:t>Chart</w:t><w:object/></w:r></w:p>"),
        what="The template has an embedded object.",
        mend="Delete it.",
        words="Chart",
    ),
    Spoiled(
        kind=Kind.WORD_FIELD,
        changes=below(FIELD_CODE.format("DATE")),
        what="The template has the Word field “DATE”; only PAGE,",
        mend="Click on it and press Ctrl+Shift+F9",
    ),
    Spoiled(
        kind=Kind.TRACKED_CHANGE,
        changes=below("<w:p><w:ins><w:r><w:t>New words</w:t></w:r></w:ins></w:p>"),
        what="The template has tracked changes (near “New words”), which would be printed as such.",
        mend="Accept or reject them all (Review > Accept) and turn tracking off.",
        words="New words",
    ),
    Spoiled(
        kind=Kind.TRACKED_CHANGE,
        changes={
            "word/settings.xml": PARTS["word/settings.xml"].replace(
                "</w:settings>", "<w:trackRevisions/></w:settings>"
            )
        },
        what="Changes are being tracked",
        mend="Turn it off (Review > Track Changes).",
        part="settings",
        heading="",
        below=None,
        blocking=False,
    ),
    Spoiled(
        kind=Kind.COMMENT,
        changes=commented(),
        what="A comment by Ann is left in: “Is this right?”; it is not printed.",
        mend="Delete it when it is done with",
        words="As agreed",
        blocking=False,
    ),
    Spoiled(
        kind=Kind.LANGUAGE,
        changes=styled('w:lang w:val="en-GB"', 'w:lang w:val="en-US"'),
        what="The document's language is en-US and not en-GB",
        mend="Review > Language > Set Proofing Language",
        part="styles",
        heading="",
        below=None,
    ),
    Spoiled(
        kind=Kind.STYLE,
        changes={
            **styled(
                "</w:styles>",
                '<w:style w:type="paragraph" w:styleId="fig"><w:name w:val="Figure"/></w:style>'
                "</w:styles>",
            ),
            **below('<w:p><w:pPr><w:pStyle w:val="fig"/></w:pPr><w:r><w:t>Shown</w:t></w:r></w:p>'),
        },
        what="The template's style “Figure” has the name of a PDF tag",
        mend="Give the style another name",
        words="Shown",
    ),
    Spoiled(
        kind=Kind.TITLE,
        changes={CORE: re.sub("<dc:title>.*?</dc:title>", "", PARTS[CORE])},
        what="The template has no title, which the PDF must have.",
        mend="Write one under File > Info > Title",
        part="file",
        heading="",
        below=None,
    ),
    Spoiled(
        kind=Kind.TABLE,
        changes=below("<w:tbl><w:tr><w:tc><w:p/></w:tc></w:tr></w:tbl>"),
        what="The template has a damaged table in the body: its columns have no widths",
        mend="Make the table anew (Insert > Table).",
        heading="",
        below=None,
    ),
    Spoiled(
        kind=Kind.NOT_SHOWN,
        changes=body('name="Ring remedy"', 'name="Remedy"'),
        what="The template has no drawing named “Ring remedy” in its pages",
        mend="Copy a ring from an earlier copy of the file",
        part="file",
        heading="",
        below=None,
    ),
    Spoiled(
        kind=Kind.NOT_SHOWN,
        changes=body("{{ period_end_short }}", "31/03/20"),
        what="The template's pages do not print {{ period_end_short }}",
        mend="Write it where it belongs",
        part="file",
        heading="",
        below=None,
    ),
)


@pytest.mark.parametrize(
    "case", CASES_OF_ONE, ids=[f"{each.kind}-{number}" for number, each in enumerate(CASES_OF_ONE)]
)
def test_each_kind_of_fault_is_said_with_its_place_and_words(case: Spoiled) -> None:
    data = docx(case.changes)
    found = seen(data)
    (one,) = [each for each in found.faults if each.kind is case.kind and case.what in each.what]
    assert case.mend in one.mend
    assert one.blocking is case.blocking
    assert found.is_blocked is any(each.blocking for each in found.faults)
    where = one.where
    assert (where.part, where.words) == (case.part, where.words if not case.words else case.words)
    assert where.heading == case.heading
    if case.part != "text box":
        assert where.below == case.below
    assert where.page is None, "the shipped letter does not say where its pages break"
    # One thing was spoiled, and nothing that is sound is called wrong for it; but for a ring that
    # has lost its name, which is both bound to nothing and lacking.
    others = {each.kind for each in found.faults} - {case.kind}
    assert others <= ({Kind.RING} if case.kind is Kind.NOT_SHOWN else set())


def test_the_shipped_template_has_no_fault() -> None:
    found = seen(LETTER)
    assert found.faults == ()
    assert found.compiled is not None
    assert "compliance.part" in found.unused
    assert "authority" not in found.unused


def test_all_faults_are_said_in_one_go_in_the_order_of_the_document() -> None:
    text = PARTS[BODY]
    for before, after in (
        ("Dear {{ salutation }}", "Dear {{ salutaton }}"),
        ("Annual Review letter {{ letter_year }}", "Annual Review letter {{ letter_year"),
        ("year ending {{ period_end }}", "year ending {{ period_end | upper }}"),
        ("{{ published_on }}", "{{ publishd_on }}"),
        ("{%p for remark in remarks %}", "{%p for remark in remarks %} lost"),
        ('name="Ring upheld"', 'name="Ring uphold"'),
    ):
        assert before in text
        text = text.replace(before, after, 1)
    text = re.sub(r' w:tooltip="[^"]*"', "", text, count=1)
    changes: dict[str, Content] = {
        BODY: text,
        LINKS: PARTS[LINKS].replace("https://", "file:///", 1),
        "word/footer2.xml": saying("{{ nuon }}", "word/footer2.xml"),
        CORE: PARTS[CORE].replace("{{ authority }}", "{{ autority }}"),
    }
    found = seen(docx(changes), lacking=lambda: ["Arial"])
    assert found.compiled is None
    assert [(one.kind.value, one.where.part) for one in found.faults] == [
        ("font", "file"),
        ("unknown field", "body"),
        ("unclosed tag", "body"),
        ("tag", "body"),
        ("link", "body"),
        ("ScreenTip", "body"),
        ("unknown field", "body"),
        ("misplaced tag", "body"),
        ("ring", "body"),
        ("unknown field", "footer"),
        ("unknown field", "properties"),
    ]
    assert not {"salutation", "letter_year", "period_end", "published_on"} & set(found.unused), (
        "what a tag with a fault may have been for is not called unused"
    )


def test_a_page_is_told_where_the_file_says_where_pages_broke() -> None:
    broken = "<w:p><w:r><w:lastRenderedPageBreak/><w:t>{}</w:t></w:r></w:p>"
    xml = (
        paragraph("{{ a }}") + broken.format("{{ b }}") + paragraph("x") + broken.format("{{ c }}")
    )
    found = seen(docx({**below(xml), "word/header1.xml": saying("{{ d }}", "word/header1.xml")}))
    pages = {one.what: (one.where.page, one.where.paragraph) for one in found.faults}
    first = pages["There is no field a."][1]
    assert first is not None
    assert pages == {
        "There is no field a.": (1, first),
        "There is no field b.": (2, first + 1),
        "There is no field c.": (3, first + 3),
        "There is no field d.": (None, 2),
    }


def test_a_loop_and_a_choice_are_seen_around_what_they_hold() -> None:
    sound = below(
        paragraph("{%p for each in remarks %}"),
        paragraph("{% if loop.last and noun %}{{ loop.index }} {{ each }}{% else %}x{% endif %}"),
        text_box("{{ each }} and {{ noun }}"),
        paragraph("{%p endfor %}"),
        paragraph("{%p if noun == “Council” %}"),
        paragraph("{%r if noun %}yes{%r elif authority %}no{%r endif %}"),
        paragraph("{%p elif authority %}"),
        paragraph("{%p else %}"),
        paragraph("{# nothing #}"),
        paragraph("{%p endif %}"),
    )
    found = seen(docx(sound))
    assert [one.what for one in found.faults if one.blocking] == []
    assert found.compiled is not None
    outside = below(
        paragraph("{%p for x in remarks %}"), paragraph("{%p endfor %}"), paragraph("{{ x }}")
    )
    assert [one.what for one in seen(docx(outside)).faults] == ["There is no field x."]
    nested = "{% for x in remarks %}{% for y in remarks %}{{ y }}{% endfor %}{% endfor %}"
    (one,) = seen(docx(below(paragraph(nested)))).faults
    assert "A loop may not stand within a loop" in one.what


def test_two_hundred_faults_are_two_hundred_places() -> None:
    many = [paragraph(f"Paragraph {number} of {{{{ authorty }}}}.") for number in range(200)]
    found = seen(docx(below(*many)))
    assert [one.where.below for one in found.faults] == list(range(1, 201))
    assert found.faults[123].where.words == "Paragraph 123 of {{ authorty }}."


def test_a_fault_that_is_everywhere_is_not_told_for_ever() -> None:
    some = " ".join("{{ a }}" for _ in range(1500))
    found = seen(docx(below(paragraph(some))))
    assert 0 < len(found.faults) <= 1001
    assert "More is wrong with the template than is listed here." in {
        one.what for one in found.faults
    }
    pages = seen(docx(below(*[link("x", 'w:anchor="gone"')] * 1200)))
    assert len(pages.faults) == 1001
    links = "".join(
        f'<Relationship Id="x{number}" Type="{OFFICE}/hyperlink" Target="file:///{number}" '
        'TargetMode="External"/>'
        for number in range(2000)
    )
    data = docx({LINKS: PARTS[LINKS].replace("</Relationships>", f"{links}</Relationships>")})
    assert seen(data).is_blocked


def test_a_decorative_drawing_needs_no_words() -> None:
    mark = (
        '<wp:docPr id="9" name="Box"><a:extLst><a:ext uri="x"><adec:decorative val="1" xmlns:adec='
        '"http://schemas.microsoft.com/office/drawing/2017/decorative"/></a:ext></a:extLst></wp:docPr>'
    )
    box = text_box("x").replace('<wp:docPr id="9" name="Box" descr="A box"/>', mark)
    assert mark in box
    assert seen(docx(below(box))).faults == ()


def test_a_font_that_is_not_here_is_said_where_it_is_first_used() -> None:
    words = '<w:p><w:r><w:rPr><w:rFonts w:ascii="Comic"/></w:rPr><w:t>So funny</w:t></w:r></w:p>'
    (one,) = seen(docx(below(words)), lacking=lambda: ["Comic"]).faults
    assert (one.kind, one.blocking, one.where.words) == (Kind.FONT, False, "So funny")
    (one,) = seen(LETTER, lacking=lambda: ["Arial"]).faults
    assert (one.kind, one.where.part) == (Kind.FONT, "file")
    assert one.what.startswith("Words are set in Arial (the document's own font), which this")


# What a run refuses, and what is blocking.


class Nothing:
    """An address that nobody fetches and a file that nobody makes, for cases that name them."""

    url = "http://127.0.0.1:9/"
    file = ROOT / "none"


REFUSED: list[tuple[str, bytes]] = []
for _case in CASES:
    _content = _case.files(Bait(url=Nothing.url, file=Nothing.file))["letter.docx"]
    # Of the codes that stand in every place, each once and each place once.
    once = _case.kind != "code" or _case.what.startswith("{{ self") or " in body" in _case.what
    if isinstance(_content, bytes) and _case.what != "enormous" and once:
        REFUSED.append((f"{_case.kind}-{_case.what}", _content))


# A fact that the edition has not is an unknown field.
FIELDS = frozenset(MERGE_FIELDS) - {"facts.*"} | {
    f"facts.{name}"
    for name in ("delegates", "delegate_authorities", "courses", "people", "more_courses")
}


def refusal(data: bytes) -> str:
    """What a run says of a template; nothing if it would take it."""
    try:
        compile_template(data, fields=FIELDS)
    except Misconfigured as fault:
        return str(fault)
    return ""


@pytest.mark.parametrize("data", [data for _, data in REFUSED], ids=[name for name, _ in REFUSED])
def test_whatever_a_run_refuses_is_blocking_or_no_document_at_all(data: bytes) -> None:
    refused = refusal(data)
    assert refused
    try:
        found = look(data, fields=FIELDS)
    except Misconfigured as fault:
        said = str(fault)
    else:
        assert found.compiled is None
        assert found.is_blocked
        for one in found.faults:
            assert one.what.endswith((".", "?"))
            assert len(one.what) < 500
            assert not re.search(r"Traceback|object at 0x|lxml|jinja2\.|\x1b", one.what + one.mend)
        return
    assert said == refused


PIECES = (
    "{{ authority }}", "{{ nuon }}", "{{ noun", "}}", "{% if noun %}", "{% else %}", "{% endif %}",
    "{%p if noun %}", "{%p endif %}", "{% for x in remarks %}", "{{ x }}", "{% endfor %}", "{{ }}",
    "{%p for x in remarks %}", "{%p endfor %}", "words", "{{ loop.index }}", "{# {{ #}", "{# x #}",
    "{% elif noun %}", "{%r if noun %}", "{%r endif %}", "{{r noun }}", "{% vm %}", "{% raw %}",
    "{% endraw %}", "{%- if noun -%}", "{{ '{{' }}", "{{ noun | upper }}", "{% cellbg noun %}",
    "{%tr if noun %}", "“{{ “x” }}”", "%}", "{",
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.sampled_from(PIECES), min_size=1, max_size=4), max_size=5))
@example([["{% if noun %}"], ["{%p endif %}"]])
@example([["{% raw %}", "{{ x }}", "{% endraw %}"]])
@example([["{% for x in remarks %}"], ["{{ x }}"], ["{% endfor %}", "{{ x }}"]])
@example([["{%- if noun -%}", "words"], ["{% endif %}"]])
def test_nothing_is_blocking_just_when_it_compiles(paragraphs: list[list[str]]) -> None:
    data = docx(below(*(paragraph(" ".join(pieces)) for pieces in paragraphs)))
    found = look(data, fields=FIELDS)
    refused = refusal(data)
    assert found.is_blocked is bool(refused), (refused, found.faults)
    assert (found.compiled is None) is bool(refused)


@pytest.mark.parametrize("at", range(0, 60, 3))
def test_a_brace_that_is_taken_away_is_noticed(at: int) -> None:
    places = [each.start() for each in re.finditer(r"\{\{|\}\}|%\}|\{%", PARTS[BODY])]
    place = places[at * len(places) // 60]
    data = docx({BODY: PARTS[BODY][:place] + PARTS[BODY][place + 1 :]})
    assert refusal(data)
    assert look(data, fields=FIELDS).is_blocked


def test_a_title_may_hold_curly_quotes_and_must_stand_by_itself() -> None:
    title = "<dc:title>{} {{{{ authority }}}}</dc:title>"

    def with_title(words: str, more: str = "") -> bytes:
        new = title.format(words) + more
        return docx({CORE: re.sub("<dc:title>.*?</dc:title>", new, PARTS[CORE])})

    curly = with_title("{% if noun == “Council” %}C{% endif %}")
    assert seen(curly).compiled is not None
    subject = "<dc:subject>{% endif %}</dc:subject>"
    assert seen(with_title("{% if noun %}", subject)).is_blocked
    with pytest.raises(Misconfigured, match="document's propert"):
        compile_template(with_title("{% if noun %}", subject), fields=MERGE_FIELDS)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"%PDF-1.7", "is a PDF, not a Word document"),
        (b"PK\x03\x04", "damaged or not a Word document"),
        (b"{\\rtf1}", "Rich Text file"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1x", "old format (.doc)"),
        (packed({"mimetype": "x"}), "an OpenDocument file (.odt)"),
        (packed({"a.txt": "x"}), "a zip file but not a Word document"),
        (entry(b"word/document.xml", b"\0" * 30_000_000), "unpacks to an unlikely size"),
        (docx({BODY: LAUGHS + PARTS[BODY]}), "document type declaration"),
        (docx({BODY: f"<w:p xmlns:w='{W}'>" * 5000}), "damaged"),
    ],
)
def test_what_is_no_document_or_hostile_is_refused_in_a_sentence(data: bytes, words: str) -> None:
    with pytest.raises(Misconfigured, match=re.escape(words)):
        seen(data)


def test_a_document_with_macros_is_refused_for_those() -> None:
    macros = typed("word/notes.bin", "application/vnd.ms-office.vbaProject")
    data = docx({"[Content_Types].xml": macros, "word/notes.bin": b"\0"})
    assert any("macros" in one.what and one.blocking for one in seen(data).faults)
    another = PARTS["[Content_Types].xml"].replace(
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main",
        "application/vnd.ms-word.document.macroEnabled.main",
    )
    with pytest.raises(Misconfigured, match="holds macros; save it from Word"):
        seen(docx({"[Content_Types].xml": another}))
