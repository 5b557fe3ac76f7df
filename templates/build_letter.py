"""Make templates/letter.docx afresh.

The letter is edited in Word, not here. This script is kept so that anyone can see how the first
file was made: which styles it holds, what is a field, how a ring is drawn. It writes only what the
letter needs (no theme, no unused styles, no printer settings), because LibreOffice spends most of a
conversion on loading the document.

    python templates/build_letter.py NEW.docx

A file that is already there is never overwritten: it may hold somebody's edits.
"""

import sys
import zipfile
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

NAVY = "1F3A5F"  # headings, figures, the filled part of a ring: 11.5:1 on white
GREY = "4A5560"  # page numbers and the second line of page 3's title: 7.6:1 on white
TRACK = "D5DCE4"  # the empty part of a ring
TINT = "EEF2F6"  # behind a count
RULE = "8FA3B8"  # thin rules

WEBSITE = "https://www.lgo.org.uk/"
MAP = "https://www.lgo.org.uk/your-councils-performance"
TRAINING = "https://www.lgo.org.uk/training"

NAMESPACES = (
    'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main" '
    'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships" '
    'xmlns:wp="http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing" '
    'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main" '
    'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006" '
    'xmlns:wpg="http://schemas.microsoft.com/office/word/2010/wordprocessingGroup" '
    'xmlns:wps="http://schemas.microsoft.com/office/word/2010/wordprocessingShape"'
)
DECLARATION = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'

CM = 360_000  # English metric units
RING = 3 * CM
DEGREE = 60_000
TWELVE_O_CLOCK = 270 * DEGREE
FULL_TURN = 360 * DEGREE
THICKNESS = 21_000  # of the ring, in 100,000ths of its width


def run(text: str, style: str = "") -> str:
    """Return a run of text, with a character style if one is named."""
    properties = f'<w:rPr><w:rStyle w:val="{style}"/></w:rPr>' if style else ""
    return f'<w:r>{properties}<w:t xml:space="preserve">{escape(text)}</w:t></w:r>'


def link(text: str, relationship: str, tooltip: str) -> str:
    """Return a hyperlink; without its tooltip the PDF's link would have no description."""
    return (
        f'<w:hyperlink r:id="{relationship}" w:tooltip={quoteattr(tooltip)} w:history="1">'
        f"{run(text, 'Hyperlink')}</w:hyperlink>"
    )


def paragraph(*content: str, style: str = "", keep: bool = False) -> str:
    """Return a paragraph of runs (or plain text); `keep` holds it on the page of the next one."""
    properties = f'<w:pStyle w:val="{style}"/>' if style else ""
    properties += "<w:keepNext/>" if keep else ""
    properties = f"<w:pPr>{properties}</w:pPr>" if properties else ""
    runs = "".join(part if part.startswith("<") else run(part) for part in content)
    return f"<w:p>{properties}{runs}</w:p>"


def tag(text: str, style: str = "") -> str:
    """Return a paragraph that holds a tag only and vanishes with it."""
    return paragraph(f"{{%p {text} %}}", style=style)


def field(instruction: str, shown: str) -> str:
    """Return a Word field such as the page number."""
    return (
        '<w:r><w:fldChar w:fldCharType="begin"/></w:r>'
        f'<w:r><w:instrText xml:space="preserve"> {instruction} </w:instrText></w:r>'
        '<w:r><w:fldChar w:fldCharType="separate"/></w:r>'
        f"<w:r><w:t>{shown}</w:t></w:r>"
        '<w:r><w:fldChar w:fldCharType="end"/></w:r>'
    )


def shape(number: int, name: str, alternative: str, geometry: str, colour: str) -> str:
    """Return one preset shape that fills its group."""
    return (
        f'<wps:wsp><wps:cNvPr id="{number}" name={quoteattr(name)} descr={quoteattr(alternative)}/>'
        "<wps:cNvSpPr/><wps:spPr>"
        f'<a:xfrm><a:off x="0" y="0"/><a:ext cx="{RING}" cy="{RING}"/></a:xfrm>'
        f'{geometry}<a:solidFill><a:srgbClr val="{colour}"/></a:solidFill><a:ln><a:noFill/></a:ln>'
        "</wps:spPr><wps:bodyPr/></wps:wsp>"
    )


def ring(number: int, figure: str, alternative: str, shown: int) -> str:
    """Return the run that draws a figure's ring.

    The name binds it to the figure. `shown` (1 to 99) is what Word draws in the template; a
    letter's own figure takes its place. The alternative text stands on the group and on its shapes,
    because LibreOffice 25.2 reads the one and 7.4 the other.
    """
    end = (TWELVE_O_CLOCK + shown * FULL_TURN // 100) % FULL_TURN
    donut = (
        '<a:prstGeom prst="donut"><a:avLst>'
        f'<a:gd name="adj" fmla="val {THICKNESS}"/></a:avLst></a:prstGeom>'
    )
    arc = (
        '<a:prstGeom prst="blockArc"><a:avLst>'
        f'<a:gd name="adj1" fmla="val {TWELVE_O_CLOCK}"/><a:gd name="adj2" fmla="val {end}"/>'
        f'<a:gd name="adj3" fmla="val {THICKNESS}"/></a:avLst></a:prstGeom>'
    )
    return (
        '<w:r><mc:AlternateContent><mc:Choice Requires="wpg"><w:drawing>'
        '<wp:anchor distT="0" distB="0" distL="0" distR="0" simplePos="0" '
        f'relativeHeight="{number}" behindDoc="0" locked="0" layoutInCell="1" allowOverlap="1">'
        '<wp:simplePos x="0" y="0"/>'
        '<wp:positionH relativeFrom="column"><wp:posOffset>0</wp:posOffset></wp:positionH>'
        f'<wp:positionV relativeFrom="paragraph"><wp:posOffset>{CM // 10}</wp:posOffset>'
        "</wp:positionV>"
        f'<wp:extent cx="{RING}" cy="{RING}"/><wp:effectExtent l="0" t="0" r="0" b="0"/>'
        f'<wp:wrapNone/><wp:docPr id="{number}" name="Ring {figure}" '
        f"descr={quoteattr(alternative)}/><wp:cNvGraphicFramePr/><a:graphic>"
        '<a:graphicData uri="http://schemas.microsoft.com/office/word/2010/wordprocessingGroup">'
        "<wpg:wgp><wpg:cNvGrpSpPr/><wpg:grpSpPr>"
        f'<a:xfrm><a:off x="0" y="0"/><a:ext cx="{RING}" cy="{RING}"/>'
        f'<a:chOff x="0" y="0"/><a:chExt cx="{RING}" cy="{RING}"/></a:xfrm></wpg:grpSpPr>'
        + shape(number + 1, f"Track {figure}", alternative, donut, TRACK)
        + shape(number + 2, f"Arc {figure}", alternative, arc, NAVY)
        + "</wpg:wgp></a:graphicData></a:graphic></wp:anchor></w:drawing></mc:Choice>"
        "</mc:AlternateContent></w:r>"
    )


def panel(
    number: int,
    figure: str,
    heading: str,
    *,
    before: str,
    after: str,
    nothing: str,
    box: bool,
    more: str = "",
    shown: int,
) -> str:
    """Return one panel of page 3; every paragraph but the last holds on to the next."""
    alternative = (
        f"Ring chart: {before[:1].lower()}{before[1:]}{{{{ {figure}.percent }}}}{after.rstrip('.')}"
    )
    last = f"{{{{ {figure}.whole }}}} {{{{ {figure}.whole_label }}}}"
    parts = [
        paragraph(heading, style="PanelHeading"),
        tag(f"if {figure}.rated", "PanelHeadline"),
        paragraph(
            ring(number, figure, alternative, shown),
            *([run(before)] if before else []),
            run(f"{{{{ {figure}.percent }}}}", "PanelPercent"),
            run(after),
            style="PanelHeadline",
        ),
        tag(f"if {figure}.compared", "Panel"),
        paragraph(
            "This compares to an average of ",
            run(f"{{{{ {figure}.average }}}}", "Strong"),
            " in similar authorities.",
            style="Panel",
            keep=True,
        ),
        tag("endif", "Panel"),
        tag("else", "Panel"),
        paragraph(nothing, style="Panel", keep=True),
        tag("endif", "Panel"),
    ]
    if box:
        parts.append(
            paragraph(
                run(f"{{{{ {figure}.part }}}}", "PanelCount"),
                f" {{{{ {figure}.part_label }}}}",
                style="PanelBox",
            )
        )
    parts.append(
        paragraph(
            f"Statistics are based on a total of {last} for the period between "
            "{{ period_start }} to {{ period_end }}",
            style="Panel",
            keep=bool(more),
        )
    )
    if more:
        parts.append(paragraph(more, style="Panel"))
    return "".join(parts)


RARE = (
    "Failure to comply with our recommendations is rare. An authority with a compliance rate below "
    "100% should scrutinise those complaints where it failed to comply and identify any learning."
)

LETTER = [
    paragraph("{{ letter_date }}", style="Date"),
    paragraph("By email"),
    tag("for line in address_lines", "Address"),
    paragraph("{{ line }}", style="Address"),
    tag("endfor", "Address"),
    paragraph("Dear {{ salutation }}", style="Salutation"),
    paragraph("Annual Review letter {{ letter_year }}", style="Heading1"),
    tag("if replaces"),
    paragraph("{{ replaces }}"),
    tag("endif"),
    tag("if succession"),
    paragraph("{{ succession }}"),
    tag("endif"),
    paragraph(
        "I write to you with our annual summary of statistics on the decisions made by the Local "
        "Government and Social Care Ombudsman about your authority for the year ending "
        "{{ period_end }}. Given the exceptional pressures under which local authorities have been "
        "working over recent months, I thought carefully about whether it was still appropriate to "
        "send you this annual update. However, now, more than ever, I believe that it is essential "
        "that the public experience of local services is at the heart of our thinking. So, I hope "
        "that this feedback, which provides unique insight into the lived experience of your "
        "{{ noun }}'s services, will be useful as you continue to deal with the current situation "
        "and plan for the future."
    ),
    paragraph("Complaint statistics", style="Heading2"),
    paragraph(
        "This year, we continue to place our focus on the outcomes of complaints and what can be "
        "learned from them. We want to provide you with the most insightful information we can and "
        "have made several changes over recent years to improve the data we capture and report. We "
        "focus our statistics on these three key areas:"
    ),
    paragraph(
        run("Complaints upheld", "Strong"),
        " - We uphold complaints when we find some form of fault in an authority's actions, "
        "including where the authority accepted fault before we investigated. A focus on how often "
        "things go wrong, rather than simple volumes of complaints provides a clearer indicator of "
        "performance.",
    ),
    paragraph(
        run("Compliance with recommendations", "Strong"),
        " - We recommend ways for authorities to put things right when faults have caused "
        "injustice. Our recommendations try to put people back in the position they were before "
        "the fault and we monitor authorities to ensure they comply with our recommendations. "
        + RARE,
    ),
    paragraph(
        run("Satisfactory remedies provided by the authority", "Strong"),
        " - We want to encourage the early resolution of complaints and to credit authorities that "
        "have a positive and open approach to resolving complaints. We recognise cases where an "
        "authority has taken steps to put things right before the complaint came to us. The "
        "authority upheld the complaint and we agreed with how it offered to put things right.",
    ),
    paragraph(
        "Finally, we compare the three key annual statistics for your authority with similar types "
        "of authorities to work out an average level of performance. We do this for County "
        "Councils, District Councils, Metropolitan Boroughs, Unitary Councils, and London Boroughs."
    ),
    paragraph(
        "This data will be uploaded to our interactive map, ",
        link("Your council's performance", "rIdMap", "Your council's performance: interactive map"),
        ", along with a copy of this letter on {{ published_on }}, and our Review of Local "
        "Government Complaints. For further information on how to interpret our statistics, please "
        "visit our ",
        link("website", "rIdWebsite", "The Local Government and Social Care Ombudsman's website"),
        ".",
    ),
    paragraph("Resources to help you get it right", style="Heading2"),
    paragraph(
        "There are a range of resources available that can support you to place the learning from "
        "complaints, about your authority and others, at the heart of your system of corporate "
        "governance. ",
        link("Your council's performance", "rIdMap", "Your council's performance: interactive map"),
        " launched last year and puts our data and information about councils in one place. Again, "
        "the emphasis is on learning, not numbers. You can find the decisions we have made, public "
        "reports we have issued, and the service improvements your {{ noun }} has agreed to make "
        "as a result of our investigations, as well as previous annual review letters.",
    ),
    paragraph(
        "I would encourage you to share the tool with colleagues and elected members; the "
        "information can provide valuable insights into service areas, early warning signs of "
        "problems and is a key source of information for governance, audit, risk and scrutiny "
        "functions."
    ),
    paragraph(
        "Earlier this year, we held our link officer seminars in London, Bristol, Leeds and "
        "Birmingham. Attended by {{ facts.delegates }} delegates from "
        "{{ facts.delegate_authorities }} local authorities, we focused on maximising the impact "
        "of complaints, making sure the right person is involved with complaints at the right "
        "time, and how to overcome common challenges."
    ),
    paragraph(
        "We have a well-established and successful training programme supporting local authorities "
        "and independent care providers to help improve local complaint handling. During the year, "
        "we delivered {{ facts.courses }} courses, training more than {{ facts.people }} people. "
        "This is {{ facts.more_courses }} more courses than we delivered last year and included "
        "more training to adult social care providers than ever before. To find out more visit ",
        link("www.lgo.org.uk/training", "rIdTraining", "Our training courses"),
        ".",
        keep=True,
    ),
    tag("for remark in remarks"),
    tag("if loop.last"),
    paragraph("{{ remark }}", keep=True),
    tag("else"),
    paragraph("{{ remark }}"),
    tag("endif"),
    tag("endfor"),
    paragraph("Yours sincerely,", style="Closing"),
    paragraph(run("{{ signatory }}", "Strong"), style="Signature"),
    tag("for post in signatory_posts", "Signature"),
    paragraph("{{ post }}", style="Signature"),
    tag("endfor", "Signature"),
]

PANELS = [
    (
        '<w:p><w:pPr><w:pStyle w:val="StatisticsHeading"/></w:pPr>'
        + run("{{ authority }}")
        + "<w:r><w:br/></w:r>"
        + run("For the period ending: {{ period_end_short }}", "Period")
        + "</w:p>"
    ),
    panel(
        101,
        "upheld",
        "Complaints upheld",
        before="",
        after=" of complaints we investigated were upheld.",
        nothing="We did not complete any detailed investigations about your authority in this "
        "period.",
        box=True,
        shown=55,
    ),
    panel(
        111,
        "compliance",
        "Compliance with Ombudsman recommendations",
        before="In ",
        after=" of cases we were satisfied the authority had successfully implemented our "
        "recommendations.",
        nothing="No recommendations were due for compliance in this period.",
        box=False,
        more=RARE,
        shown=90,
    ),
    panel(
        121,
        "remedy",
        "Satisfactory remedies provided by the authority",
        before="In ",
        after=" of upheld cases we found the authority had provided a satisfactory remedy before "
        "the complaint reached the Ombudsman.",
        nothing="We did not uphold any complaints about your authority in this period.",
        box=True,
        shown=20,
    ),
]

SECTION = (
    '<w:sectPr><w:headerReference w:type="first" r:id="rIdHeader"/>'
    '<w:footerReference w:type="default" r:id="rIdFooter"/>'
    '<w:footerReference w:type="first" r:id="rIdFirstFooter"/>'
    '<w:pgSz w:w="11906" w:h="16838"/>'
    '<w:pgMar w:top="1247" w:right="1361" w:bottom="1304" w:left="1361" '
    'w:header="680" w:footer="624" w:gutter="0"/><w:titlePg/></w:sectPr>'
)


def document() -> str:
    """Return the body: two pages of letter and the page of panels."""
    body = "".join([*LETTER, *PANELS])
    return f"<w:document {NAMESPACES}><w:body>{body}{SECTION}</w:body></w:document>"


def header() -> str:
    """Return the first page's letterhead."""
    name = "Local Government and Social Care Ombudsman"
    return f"<w:hdr {NAMESPACES}>{paragraph(name, style='Letterhead')}</w:hdr>"


def footer() -> str:
    """Return "Page 2 of 3"."""
    numbers = f"{run('Page ')}{field('PAGE', '1')}{run(' of ')}{field('NUMPAGES', '3')}"
    return f"<w:ftr {NAMESPACES}>{paragraph(numbers, style='Footer')}</w:ftr>"


def style(
    kind: str,
    name: str,
    paragraph_properties: str = "",
    run_properties: str = "",
    *,
    based_on: str = "",
    following: str = "",
    identifier: str = "",
) -> str:
    """Return one style; custom ones are those whose name Word does not know."""
    known = (
        "Normal", "heading 1", "heading 2", "footer", "Hyperlink", "Strong",
        "Date", "Salutation", "Closing", "Signature", "Default Paragraph Font",
    )  # fmt: skip
    identifier = identifier or name.replace(" ", "")
    default = ' w:default="1"' if name in ("Normal", "Default Paragraph Font") else ""
    custom = "" if name in known else ' w:customStyle="1"'
    return (
        f'<w:style w:type="{kind}"{default}{custom} w:styleId="{identifier}">'
        f'<w:name w:val="{name}"/>'
        + (f'<w:basedOn w:val="{based_on}"/>' if based_on else "")
        + (f'<w:next w:val="{following}"/>' if following else "")
        + "<w:qFormat/>"
        + (f"<w:pPr>{paragraph_properties}</w:pPr>" if paragraph_properties else "")
        + (f"<w:rPr>{run_properties}</w:rPr>" if run_properties else "")
        + "</w:style>"
    )


def styles() -> str:
    """Return the styles the letter uses and no other.

    The language stands in the defaults, where LibreOffice takes the PDF's language from.
    """
    indent = 2155  # twentieths of a point: where the panels' text begins, right of the rings
    keep = "<w:keepNext/><w:keepLines/>"
    return (
        f"<w:styles {NAMESPACES}>"
        '<w:docDefaults><w:rPrDefault><w:rPr><w:rFonts w:ascii="Arial" w:hAnsi="Arial" '
        'w:eastAsia="Arial" w:cs="Arial"/><w:sz w:val="24"/><w:szCs w:val="24"/>'
        '<w:lang w:val="en-GB" w:eastAsia="en-GB" w:bidi="ar-SA"/></w:rPr></w:rPrDefault>'
        '<w:pPrDefault><w:pPr><w:spacing w:after="180" w:line="276" w:lineRule="auto"/></w:pPr>'
        "</w:pPrDefault></w:docDefaults>"
        + style("paragraph", "Normal", "<w:widowControl/>")
        + style("character", "Default Paragraph Font", identifier="DefaultParagraphFont")
        + style(
            "paragraph",
            "heading 1",
            f'{keep}<w:spacing w:before="0" w:after="180" w:line="264" w:lineRule="auto"/>'
            '<w:outlineLvl w:val="0"/>',
            f'<w:b/><w:bCs/><w:color w:val="{NAVY}"/><w:sz w:val="36"/><w:szCs w:val="36"/>',
            based_on="Normal",
            following="Normal",
            identifier="Heading1",
        )
        + style(
            "paragraph",
            # The page break belongs to the style: one on the paragraph itself, LibreOffice would
            # save at the end of the paragraph before, which holds a tag and vanishes.
            "Statistics Heading",
            "<w:pageBreakBefore/>",
            "",
            based_on="Heading1",
            following="Normal",
            identifier="StatisticsHeading",
        )
        + style(
            "paragraph",
            "heading 2",
            f'{keep}<w:spacing w:before="280" w:after="120"/><w:outlineLvl w:val="1"/>',
            f'<w:b/><w:bCs/><w:color w:val="{NAVY}"/><w:sz w:val="28"/><w:szCs w:val="28"/>',
            based_on="Normal",
            following="Normal",
            identifier="Heading2",
        )
        + style(
            "paragraph",
            # Not Word's "header": LibreOffice gives the other pages an empty header of that style,
            # which would carry the rule.
            "Letterhead",
            f'<w:pBdr><w:bottom w:val="single" w:sz="8" w:space="8" w:color="{RULE}"/></w:pBdr>'
            '<w:spacing w:after="480" w:line="240" w:lineRule="auto"/>',
            f'<w:b/><w:bCs/><w:color w:val="{NAVY}"/><w:sz w:val="28"/><w:szCs w:val="28"/>',
            based_on="Normal",
        )
        + style(
            "paragraph",
            "footer",
            '<w:spacing w:after="0" w:line="240" w:lineRule="auto"/><w:jc w:val="right"/>',
            f'<w:color w:val="{GREY}"/>',
            based_on="Normal",
            identifier="Footer",
        )
        + style("paragraph", "Date", based_on="Normal", following="Normal")
        + style(
            "paragraph",
            "Address",
            '<w:spacing w:after="0"/>',
            based_on="Normal",
        )
        + style(
            "paragraph",
            "Salutation",
            '<w:spacing w:before="280" w:after="280"/>',
            based_on="Normal",
            following="Normal",
        )
        + style(
            "paragraph",
            "Closing",
            # The space below is the room for the signature.
            '<w:keepNext/><w:spacing w:before="240" w:after="960"/>',
            based_on="Normal",
            following="Signature",
        )
        + style(
            "paragraph",
            "Signature",
            # The last post holds on to page 3, which begins a new page all the same.
            f'{keep}<w:spacing w:after="20"/>',
            based_on="Normal",
        )
        + style(
            "paragraph",
            "Panel Heading",
            f'<w:pBdr><w:top w:val="single" w:sz="4" w:space="11" w:color="{RULE}"/></w:pBdr>'
            '<w:spacing w:before="420" w:after="140"/>',
            based_on="Heading2",
            following="PanelHeadline",
        )
        + style(
            "paragraph",
            "Panel",
            f'<w:keepLines/><w:spacing w:after="140" w:line="264" w:lineRule="auto"/>'
            f'<w:ind w:left="{indent}"/>',
            based_on="Normal",
        )
        + style(
            "paragraph",
            "Panel Headline",
            f'{keep}<w:spacing w:after="120"/>',
            based_on="Panel",
            following="Panel",
        )
        + style(
            "paragraph",
            "Panel Box",
            f"{keep}<w:pBdr>"
            + "".join(
                f'<w:{side} w:val="single" w:sz="4" w:space="{space}" w:color="{RULE}"/>'
                for side, space in (("top", 2), ("left", 6), ("bottom", 4), ("right", 6))
            )
            + f'</w:pBdr><w:shd w:val="clear" w:color="auto" w:fill="{TINT}"/>'
            f'<w:spacing w:before="140" w:after="200" w:line="240" w:lineRule="auto"/>'
            f'<w:ind w:left="{indent + 130}" w:right="2100"/>',
            based_on="Panel",
            following="Panel",
        )
        + style("character", "Strong", "", "<w:b/><w:bCs/>", based_on="DefaultParagraphFont")
        + style(
            "character",
            "Hyperlink",
            "",
            f'<w:color w:val="{NAVY}"/><w:u w:val="single"/>',
            based_on="DefaultParagraphFont",
        )
        + style(
            "character",
            # Half as large again as the words beside it; larger, and programs that read a PDF by
            # its looks take it for a line of its own.
            "Panel Percent",
            "",
            f'<w:b/><w:bCs/><w:color w:val="{NAVY}"/><w:sz w:val="36"/><w:szCs w:val="36"/>',
            based_on="DefaultParagraphFont",
        )
        + style(
            "character",
            "Panel Count",
            "",
            f'<w:b/><w:bCs/><w:color w:val="{NAVY}"/><w:sz w:val="36"/><w:szCs w:val="36"/>',
            based_on="DefaultParagraphFont",
        )
        + style(
            "character",
            "Period",
            "",
            f'<w:b w:val="0"/><w:bCs w:val="0"/><w:color w:val="{GREY}"/>'
            '<w:sz w:val="26"/><w:szCs w:val="26"/>',
            based_on="DefaultParagraphFont",
        )
        + "</w:styles>"
    )


def settings() -> str:
    """Return the settings that keep Word out of compatibility mode."""
    return (
        f'<w:settings {NAMESPACES}><w:zoom w:percent="100"/><w:defaultTabStop w:val="720"/>'
        '<w:characterSpacingControl w:val="doNotCompress"/><w:compat>'
        '<w:compatSetting w:name="compatibilityMode" '
        'w:uri="http://schemas.microsoft.com/office/word" w:val="15"/></w:compat>'
        '<w:themeFontLang w:val="en-GB"/><w:decimalSymbol w:val="."/><w:listSeparator w:val=","/>'
        "</w:settings>"
    )


def fonts() -> str:
    """Return the one font, with enough about it for a computer without Arial to choose another."""
    return (
        f'<w:fonts {NAMESPACES}><w:font w:name="Arial"><w:panose1 w:val="020B0604020202020204"/>'
        '<w:charset w:val="00"/><w:family w:val="swiss"/><w:pitch w:val="variable"/></w:font>'
        "</w:fonts>"
    )


def core() -> str:
    """Return the properties; the title is a template like the body."""
    return (
        '<cp:coreProperties xmlns:cp="http://schemas.openxmlformats.org/package/2006/metadata/'
        'core-properties" xmlns:dc="http://purl.org/dc/elements/1.1/" '
        'xmlns:dcterms="http://purl.org/dc/terms/" '
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
        "<dc:title>Annual Review letter {{ letter_year }}: {{ authority }}</dc:title>"
        "<dc:creator>Local Government and Social Care Ombudsman</dc:creator>"
        "<dc:language>en-GB</dc:language></cp:coreProperties>"
    )


OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
WORD = "application/vnd.openxmlformats-officedocument.wordprocessingml"


def relationships(*entries: tuple[str, str, str]) -> str:
    """Return a relationships part from (id, type, target); web addresses are external."""
    return (
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
        + "".join(
            f'<Relationship Id="{key}" Type="{kind}" Target={quoteattr(target)}'
            + (' TargetMode="External"' if target.startswith("https:") else "")
            + "/>"
            for key, kind, target in entries
        )
        + "</Relationships>"
    )


def content_types() -> str:
    """Return the list of parts and what they are."""
    parts = {
        "word/document.xml": f"{WORD}.document.main+xml",
        "word/styles.xml": f"{WORD}.styles+xml",
        "word/settings.xml": f"{WORD}.settings+xml",
        "word/fontTable.xml": f"{WORD}.fontTable+xml",
        "word/header1.xml": f"{WORD}.header+xml",
        "word/footer1.xml": f"{WORD}.footer+xml",
        "word/footer2.xml": f"{WORD}.footer+xml",
        "docProps/core.xml": "application/vnd.openxmlformats-package.core-properties+xml",
    }
    return (
        '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
        '<Default Extension="rels" '
        'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Default Extension="xml" ContentType="application/xml"/>'
        + "".join(
            f'<Override PartName="/{name}" ContentType="{kind}"/>' for name, kind in parts.items()
        )
        + "</Types>"
    )


def parts() -> dict[str, str]:
    """Return every part of the file by name, in the order Word writes them."""
    return {
        "[Content_Types].xml": content_types(),
        "_rels/.rels": relationships(
            ("rId1", f"{OFFICE}/officeDocument", "word/document.xml"),
            (
                "rId2",
                "http://schemas.openxmlformats.org/package/2006/relationships/metadata/"
                "core-properties",
                "docProps/core.xml",
            ),
        ),
        "word/document.xml": document(),
        "word/_rels/document.xml.rels": relationships(
            ("rIdStyles", f"{OFFICE}/styles", "styles.xml"),
            ("rIdSettings", f"{OFFICE}/settings", "settings.xml"),
            ("rIdFonts", f"{OFFICE}/fontTable", "fontTable.xml"),
            ("rIdHeader", f"{OFFICE}/header", "header1.xml"),
            ("rIdFooter", f"{OFFICE}/footer", "footer1.xml"),
            ("rIdFirstFooter", f"{OFFICE}/footer", "footer2.xml"),
            ("rIdMap", f"{OFFICE}/hyperlink", MAP),
            ("rIdWebsite", f"{OFFICE}/hyperlink", WEBSITE),
            ("rIdTraining", f"{OFFICE}/hyperlink", TRAINING),
        ),
        "word/styles.xml": styles(),
        "word/settings.xml": settings(),
        "word/fontTable.xml": fonts(),
        "word/header1.xml": header(),
        "word/footer1.xml": footer(),
        "word/footer2.xml": footer(),
        "docProps/core.xml": core(),
    }


def main(target: Path) -> None:
    """Write the file to `target`, which must not exist."""
    with target.open("xb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as package:
        for name, xml in parts().items():
            member = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            member.compress_type = zipfile.ZIP_DEFLATED
            package.writestr(member, DECLARATION + xml)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
