"""Every bad template ends in one clear refusal: nothing opened, written, executed or fetched.

The table is taken through `annual_run` within this process, and one case of each kind through the
real command, which must end with 78.
"""

import contextlib
import io
import os
import re
import shutil
import socket
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from xml.sax.saxutils import escape

import pytest

from pipeline import bootstrap
from pipeline.engines.local import LocalEngine
from pipeline.errors import Misconfigured
from pipeline.ledger import runs
from pipeline.run import Pipeline, annual_run
from pipeline.settings import Settings, load
from tests.acceptance.site import ROOT, Site, part_of_the_sample, read_sample

TEMPLATES = ROOT / "templates"
LETTER = (TEMPLATES / "letter.docx").read_bytes()
with zipfile.ZipFile(io.BytesIO(LETTER)) as _package:
    PARTS = {name: _package.read(name).decode() for name in _package.namelist()}

BODY = "word/document.xml"
LINKS = "word/_rels/document.xml.rels"
TYPES = "[Content_Types].xml"
CORE = "docProps/core.xml"
W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
WORD_TYPE = "application/vnd.openxmlformats-officedocument.wordprocessingml"
DRAWN = (
    'xmlns:wps="http://schemas.microsoft.com/office/word/2010/wordprocessingShape"'
    ' xmlns:v="urn:schemas-microsoft-com:vml"'
)

Content = str | bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bad:
    """What is wrong, the files that lie in the folder of templates, and words of the refusal."""

    kind: str
    what: str
    files: Callable[["Bait"], Mapping[str, Content]]
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bait:
    """What must stay untouched: an address that nobody fetches, a file that nobody makes."""

    url: str
    file: Path


def docx(changes: Mapping[str, Content]) -> bytes:
    """The shipped letter with parts added, replaced or (None) taken out."""
    return packed({**PARTS, **changes})


def packed(parts: Mapping[str, Content]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as package:
        for name, content in parts.items():
            if content is not None:
                package.writestr(name, content)
    return file.getvalue()


def saying(words: str, part: str = BODY) -> str:
    """A part with these words in a paragraph of it: in the body, under the second heading."""
    paragraph = f"<w:p><w:r><w:t>{escape(words)}</w:t></w:r></w:p>"
    if part == BODY:
        return with_paragraph(paragraph)
    return (
        PARTS[part]
        .replace("</w:hdr>", f"{paragraph}</w:hdr>")
        .replace("</w:ftr>", f"{paragraph}</w:ftr>")
    )


def with_paragraph(xml: str) -> str:
    body = PARTS[BODY]
    place = body.index("</w:p>", body.index("Complaint statistics")) + len("</w:p>")
    return body[:place] + xml + body[place:]


def linked(kind: str, target: str, mode: str = "External", number: str = "rIdBad") -> str:
    """The body's relationships with one more."""
    mode = f' TargetMode="{mode}"' if mode else ""
    one = f'<Relationship Id="{number}" Type="{OFFICE}/{kind}" Target="{target}"{mode}/>'
    return PARTS[LINKS].replace("</Relationships>", f"{one}</Relationships>")


def typed(part: str, kind: str) -> str:
    """The list of parts' kinds with one more."""
    one = f'<Override PartName="/{part}" ContentType="{kind}"/>'
    return PARTS[TYPES].replace("</Types>", f"{one}</Types>")


def with_part(kind: str, xml: str) -> dict[str, Content]:
    """The shipped letter's changes for another part of Word's: footnotes, endnotes, comments."""
    return {
        f"word/{kind}.xml": xml,
        LINKS: linked(kind, f"{kind}.xml", mode=""),
        TYPES: typed(f"word/{kind}.xml", f"{WORD_TYPE}.{kind}+xml"),
    }


def notes(kind: str, words: str) -> dict[str, Content]:
    one = kind.removesuffix("s")
    paragraph = f"<w:p><w:r><w:t>{escape(words)}</w:t></w:r></w:p>"
    xml = f'<w:{kind} {W}><w:{one} w:id="2">{paragraph}</w:{one}></w:{kind}>'
    return with_part(kind, xml)


def text_box(words: str) -> str:
    paragraph = f"<w:p><w:r><w:t>{escape(words)}</w:t></w:r></w:p>"
    return with_paragraph(
        f"<w:p><w:r><w:pict><v:shape {DRAWN}><v:textbox><w:txbxContent>{paragraph}"
        "</w:txbxContent></v:textbox></v:shape></w:pict></w:r></w:p>"
    )


def custom_properties(words: str) -> dict[str, Content]:
    kind = "application/vnd.openxmlformats-officedocument.custom-properties+xml"
    space = "http://schemas.openxmlformats.org/officeDocument/2006/custom-properties"
    return {
        "docProps/custom.xml": f'<Properties xmlns="{space}"><property name="x">{escape(words)}'
        "</property></Properties>",
        TYPES: typed("docProps/custom.xml", kind),
    }


def core(element: str, words: str) -> dict[str, Content]:
    space = "http://purl.org/dc/elements/1.1/"
    if element == "title":
        return {CORE: re.sub(r"(<dc:title>).*?(<)", rf"\1{escape(words)}\2", PARTS[CORE])}
    one = f'<dc:{element} xmlns:dc="{space}">{escape(words)}</dc:{element}>'
    return {CORE: PARTS[CORE].replace("</cp:coreProperties>", f"{one}</cp:coreProperties>")}


def alternative_text(words: str) -> dict[str, Content]:
    first = re.compile(r'descr="[^"]*"')
    quoted = escape(words, {'"': "&quot;"})
    return {BODY: first.sub(lambda _: f'descr="{quoted}"', PARTS[BODY], count=1)}


PLACES: Mapping[str, tuple[Callable[[str], dict[str, Content]], str]] = {
    "body": (lambda x: {BODY: saying(x)}, "the body, under the heading “Complaint statistics”"),
    "header": (
        lambda x: {"word/header1.xml": saying(x, "word/header1.xml")},
        "the header (header1.xml), at “",
    ),
    "footer": (
        lambda x: {"word/footer2.xml": saying(x, "word/footer2.xml")},
        "the footer (footer2.xml), at “",
    ),
    "footnotes": (lambda x: notes("footnotes", x), "the footnotes (footnotes.xml), at “"),
    "endnotes": (lambda x: notes("endnotes", x), "a tag in the endnotes"),
    "comments": (lambda x: notes("comments", x), "a tag in the comments (Review"),
    "text box": (lambda x: {BODY: text_box(x)}, "the body, under the heading “Complaint"),
    "title": (lambda x: core("title", x), "the document's propert"),
    "subject": (lambda x: core("subject", x), "the document's propert"),
    "keywords": (lambda x: core("coverage", x), "property “coverage”"),
    "custom properties": (custom_properties, "a tag in the custom properties"),
    "alternative text": (alternative_text, "the body, under the heading “"),
}
# What is written, and what is said of it where fields are printed at all.
CODE: Mapping[str, str] = {
    "{{ ''.__class__.__mro__ }}": "only fields such as",
    "{{ authority.__class__ }}": "no field authority.__class__",
    "{{ cycler.__init__.__globals__.os.system('touch FILE') }}": "(call) is not permitted",
    "{{ lipsum.__globals__['os'].popen('touch FILE') }}": "(call) is not permitted",
    "{% import 'os' as x %}": "(import) is not permitted",
    "{% from 'os' import system %}": "(fromimport) is not permitted",
    "{% include '/etc/passwd' %}": "(include) is not permitted",
    "{% extends '/etc/passwd' %}": "(extends) is not permitted",
    "{% macro m() %}{% endmacro %}": "(macro) is not permitted",
    "{% set x = 1 %}": "(assign) is not permitted",
    "{{ authority|attr('x') }}": "(filter) is not permitted",
    "{{ authority|upper }}": "(filter) is not permitted",
    "{{ 'a' * 10**9 }}": "(mul) is not permitted",
    "{{ self }}": "no field self",
    "{% raw %}{{ x }}{% endraw %}": "{% raw %}",
}
NOT_PRINTED = ("endnotes", "comments", "custom properties", "keywords")

TAGS: Mapping[str, tuple[str, ...]] = {
    "Dear {{ authorty }}": ("no field authorty; did you mean authority?",),
    "{{ upheld.percnt }}": ("did you mean upheld.percent",),
    "{{ facts.corses }}": ("did you mean facts.courses",),
    "Dear {{ authority": ("opened with {{ is not closed with }}", "write }} where"),
    "Dear {{ authority }": ("opened with {{ is not closed",),
    "Dear authority }}": ("}} closes a tag that was not opened",),
    "{% if noun": ("opened with {% is not closed",),
    "{%p if noun %}": ("{% endif %} or {% endfor %} is missing",),
    "{% if noun %} words": ("{% endif %} or {% endfor %} is missing",),
    "{% endif %}": ("cannot be understood",),
    "{% if noun == “Council” and authority } %}{% endif %}": ("cannot be understood",),
    "{% nonsense %}": ("unknown tag 'nonsense'", "write only {{ field }}"),
    "{{ }}": ("cannot be understood",),
    "{{ authority noun }}": ("cannot be understood",),
    "{{ remarks }}": ("remarks is a list and cannot be printed", "{%p for each in remarks %}"),
    "{{ upheld.rated }}": ("upheld.rated is true or false", "{% if upheld.rated %}"),
    "{% for x in authority %}{{ x }}{% endfor %}": ("authority is no list", "address_lines"),
    "{{ noun if upheld.rated }}": ("needs its else",),
    "{% if noun > 5 %}{% endif %}": ("only == and != can be used",),
    "{{ '\\x00' }}": ("cannot be printed",),
    "{{ '\\ud800' }}": ("cannot be printed",),
    "{{ 1" + "0" * 900 + " }} {{ " + "9" * 5000 + " }}": ("longer than 1000",),
    "{{ " + "(" * 480 + "noun" + ")" * 480 + " }}": ("too many brackets",),
    "{{ noun if " + " and ".join(["noun"] * 100) + " else noun }}": ("within one another",),
    "{% if noun %}" * 80 + "{% endif %}" * 80: ("within one another",),
    "{% if noun %}" * 900 + "{% endif %}" * 900: ("too many brackets",),
    "{% for i in range(10**9) %}x{% endfor %}": ("only fields such as",),
    "{% for a in remarks %}" * 9 + "x" + "{% endfor %}" * 9: ("not stand within a loop",),
    "{% for a in remarks recursive %}{{ loop(a) }}{% endfor %}": ("not stand within a loop",),
}

LAUGHS = (
    '<!DOCTYPE w [<!ENTITY a "ha">'
    + "".join(f'<!ENTITY {chr(98 + i)} "{f"&{chr(97 + i)};" * 10}">' for i in range(12))
    + "]>"
)


def entry(name: bytes, data: bytes, *, size: int | None = None, crc: int | None = None) -> bytes:
    """A zip file of one deflated part, which may lie about its size and checksum."""
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = deflater.compress(data) + deflater.flush()
    about = struct.pack(
        "<5H3L2H", 20, 0, 8, 0, 0x21,
        zlib.crc32(data) if crc is None else crc,
        len(body), len(data) if size is None else size, len(name), 0,
    )  # fmt: skip
    local = b"PK\x03\x04" + about + name + body
    listed = b"PK\x01\x02\x14\0" + about + struct.pack("<3H2L", 0, 0, 0, 0, 0) + name
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, len(listed), len(local), 0)
    return local + listed + end


def lying() -> bytes:
    """A part that says it is small, with the checksum of what it says, and unpacks to 200 MB."""
    prefix = b"\0" * 1000
    return entry(b"word/document.xml", b"\0" * 200_000_000, size=1000, crc=zlib.crc32(prefix))


def named_twice(first: str, second: str) -> bytes:
    """The letter with one part twice: by two names of one length, of which one is changed."""
    assert len(first) == len(second)
    made = docx({first: "<x/>"})
    return made.replace(first.encode(), second.encode())


def office(what: str) -> bytes:
    """A workbook or a presentation, in so far as a template could be one."""
    return packed(
        {
            TYPES: PARTS[TYPES].replace("wordprocessingml.document", f"{what}.sheet"),
            "_rels/.rels": re.sub(r"<Rel[^>]*core[^>]*>", "", PARTS["_rels/.rels"]),
            BODY: "<workbook/>",
        }
    )


def ole(*streams: str) -> bytes:
    directory = b"".join(each.encode("utf-16-le").ljust(64, b"\0") for each in streams)
    return b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 504 + directory


def is_refused(kind: str, what: str, content: Callable[[Bait], Content], *words: str) -> Bad:
    return Bad(kind=kind, what=what, files=lambda bait: {"letter.docx": content(bait)}, words=words)


def changed(
    kind: str, what: str, changes: Callable[[Bait], Mapping[str, Content]], *words: str
) -> Bad:
    return is_refused(kind, what, lambda bait: docx(changes(bait)), *words)


def body_of(kind: str, what: str, xml: str, *words: str) -> Bad:
    return changed(kind, what, lambda _: {BODY: with_paragraph(xml)}, *words)


def without(pattern: str, replacement: str = "") -> Callable[[Bait], Mapping[str, Content]]:
    """Every part of the pages with something taken out."""
    return lambda _: {
        name: re.sub(pattern, replacement, text, flags=re.DOTALL)
        for name, text in PARTS.items()
        if name.startswith("word/") and name.endswith(".xml")
    }


ANYWHERE = "the body, under the heading “Complaint statistics”"
FIELD_CODE = (
    '<w:p><w:r><w:fldChar w:fldCharType="begin"/></w:r><w:r><w:instrText>{}</w:instrText></w:r>'
    '<w:r><w:fldChar w:fldCharType="end"/></w:r></w:p>'
)
IMAGE = "<w:p><w:r><w:t>Our logo</w:t></w:r><w:r><w:pict><v:imagedata {} {}/></w:pict></w:r></w:p>"

CASES: tuple[Bad, ...] = (
    # The file.
    is_refused("file", "missing", lambda _: None, "letter.docx", "cannot be read", "template.path"),
    is_refused("file", "empty", lambda _: b"", "is empty (0 bytes)", "earlier copy"),
    is_refused("file", "not a zip", lambda _: b"Dear all,", "damaged or not a Word document"),
    is_refused("file", "a PDF", lambda _: b"%PDF-1.7\n", "is a PDF", "save it from Word"),
    is_refused("file", "RTF", lambda _: b"{\\rtf1 Dear}", "Rich Text", "save it from Word"),
    is_refused("file", "HTML", lambda _: b"<html>Dear</html>", "XML or HTML", "save it from Word"),
    is_refused("file", "truncated", lambda _: LETTER[: len(LETTER) // 2], "damaged", "save it"),
    is_refused("file", "end cut off", lambda _: LETTER[:-30], "damaged", "save it"),
    is_refused(
        "file", "a byte flipped", lambda _: LETTER[:3000] + b"\xff\0\xff" + LETTER[3003:], "damaged"
    ),
    is_refused("file", "enormous", lambda _: b"PK" + b"\0" * 21 * 1024**2, "larger than 20 MB"),
    # Other programs' files.
    is_refused("format", "a workbook", lambda _: office("spreadsheetml"), "a workbook or a"),
    is_refused("format", "slides", lambda _: office("presentationml"), "a workbook or a"),
    is_refused("format", "OpenDocument", lambda _: packed({"mimetype": "x"}), "OpenDocument"),
    is_refused("format", "any zip", lambda _: packed({"a.txt": "x"}), "a zip file but not a Word"),
    is_refused("format", ".doc", lambda _: ole("WordDocument"), "old format (.doc)", "save it"),
    is_refused("format", "encrypted", lambda _: ole("EncryptedPackage"), "password", "take the"),
    changed(
        "format",
        ".docm",
        lambda _: {
            TYPES: PARTS[TYPES].replace(
                f"{WORD_TYPE}.document.main", "application/vnd.ms-word.document.macroEnabled.main"
            )
        },
        "holds macros",
        "save it from Word",
    ),
    changed("format", "macros", lambda _: {"word/vbaProject.bin": b"\0"}, "holds macros"),
    changed(
        "format",
        "macros by another name",
        lambda _: {
            "word/notes.bin": b"\0",
            TYPES: typed("word/notes.bin", "application/vnd.ms-office.vbaProject"),
        },
        "holds macros",
    ),
    changed(
        "format",
        ".dotx",
        lambda _: {TYPES: PARTS[TYPES].replace("document.main", "template.main")},
        "a Word template (.dotx)",
    ),
    changed("format", "main part missing", lambda _: {BODY: None}, "points at", "save it again"),
    changed("format", "no list", lambda _: {"_rels/.rels": None}, "main part is missing"),
    changed(
        "format",
        "wrong type",
        lambda _: {TYPES: PARTS[TYPES].replace("document.main+xml", "styles+xml")},
        "not a Word document",
    ),
    # Bombs.
    is_refused("bomb", "declared", lambda _: entry(b"a.xml", b"\0" * 30_000_000), "unlikely size"),
    is_refused("bomb", "lying", lambda _: lying(), "another size than it says"),
    is_refused(
        "bomb",
        "wrong checksum",
        lambda _: entry(b"word/document.xml", b"<w/>", crc=1),
        "another checksum than it says",
    ),
    is_refused(
        "bomb",
        "many parts",
        lambda _: packed({f"word/{number}.xml": "" for number in range(1200)}),
        "more than 1000 parts",
    ),
    changed(
        "bomb", "much text", lambda _: {BODY: saying(os.urandom(600_000).hex())}, "larger than 1 MB"
    ),
    changed(
        "bomb",
        "much XML elsewhere",
        lambda _: {"word/styles.xml": f"<s>{os.urandom(2_200_000).hex()}</s>"},
        "more text than any letter, in the styles",
    ),
    # Names of parts.
    *(
        changed("name", name, lambda _, name=name: {name: "<x/>"}, *words)  # type: ignore[misc]
        for name, *words in (
            ("../../etc/passwd.xml", "a name no Word document has", "anew in Word"),
            ("/etc/passwd.xml", "a name no Word document has"),
            ("word\\evil.xml", "a name no Word document has"),
            ("word/%2e%2e/%2e%2e/evil.xml", "a name no Word document has"),
            ("C:evil.xml", "a name no Word document has"),
            ("word/DOCUMENT.xml", "the part word/DOCUMENT.xml twice"),
        )
    ),
    is_refused(
        "name",
        "the same name twice",
        lambda _: named_twice("word/documenx.xml", BODY),
        "the part word/document.xml twice",
    ),
    # XML.
    changed("xml", "broken", lambda _: {BODY: PARTS[BODY][:-20]}, BODY, "(the body) is damaged"),
    changed(
        "xml",
        "broken footer",
        lambda _: {"word/footer1.xml": "<w:ftr"},
        "(the footer (footer1.xml)) is damaged",
    ),
    changed("xml", "NUL", lambda _: {BODY: saying("x\0")}, "the body) is damaged"),
    changed("xml", "NUL by number", lambda _: {BODY: with_paragraph("&#0;")}, "is damaged"),
    changed("xml", "surrogate", lambda _: {BODY: with_paragraph("&#xD800;")}, "is damaged"),
    changed(
        "xml",
        "surrogate in bytes",
        lambda _: {BODY: saying("SURROGATE").encode().replace(b"SURROGATE", b"\xed\xa0\x80")},
        "is damaged",
    ),
    changed(
        "xml",
        "a billion laughs",
        lambda _: {BODY: LAUGHS + saying("x").replace("<w:t>x<", "<w:t>&m;<")},
        "document type declaration",
        "anew in Word",
    ),
    changed(
        "xml",
        "an entity from elsewhere",
        lambda bait: {
            "word/styles.xml": f'<!DOCTYPE w [<!ENTITY e SYSTEM "{bait.url}">]><w>&e;</w>'
        },
        "word/styles.xml has a document type declaration",
    ),
    changed(
        "xml",
        "a DTD in UTF-16",
        lambda bait: {CORE: f'<!DOCTYPE w SYSTEM "{bait.url}"><w/>'.encode("utf-16")},
        "document type declaration",
    ),
    changed(
        "xml",
        "a DTD in EBCDIC",
        lambda bait: {
            "word/styles.xml": '<?xml version="1.0" encoding="cp037"?><!DOCTYPE w SYSTEM'
            f' "{bait.url}"><w/>'.encode("cp037")
        },
        "word/styles.xml",
    ),
    changed(
        "xml",
        "a DTD in a part of another name",
        lambda bait: {
            "word/other.bin": f'<!DOCTYPE w SYSTEM "{bait.url}"><w/>',
            TYPES: typed("word/other.bin", f"{WORD_TYPE}.header+xml"),
        },
        "word/other.bin has a document type declaration",
    ),
    # What acts or fetches.
    *(
        changed(
            "fetched",
            what,
            lambda bait, kind=kind: {LINKS: linked(kind, f"{bait.url}{kind}")},  # type: ignore[misc]
            f"fetches {what} from elsewhere",
            "http://127.0.0.1",
            "break the link",
        )
        for kind, what in (
            ("image", "a linked picture"),
            ("attachedTemplate", "an attached template"),
            ("oleObject", "a linked object"),
            ("frame", "a linked frame"),
            ("subDocument", "a sub-document"),
            ("aFChunk", "an inserted file"),
            ("mailMergeSource", "a mail-merge source"),
        )
    ),
    changed(
        "fetched",
        "a picture, with its place",
        lambda bait: {
            LINKS: linked("image", f"{bait.url}logo.png"),
            BODY: with_paragraph(IMAGE.format(DRAWN, f'xmlns:r="{OFFICE}" r:id="rIdBad"')),
        },
        "fetches a linked picture",
        "in the body, at “Our logo”",
    ),
    changed(
        "fetched",
        "a picture by its address alone",
        lambda bait: {BODY: with_paragraph(IMAGE.format(DRAWN, f'src="{bait.url}"'))},
        "fetches a linked picture",
        ANYWHERE,
    ),
    changed(
        "fetched",
        "the settings' template",
        lambda bait: {
            "word/_rels/settings.xml.rels": linked("attachedTemplate", f"{bait.url}t.dotm")
        },
        "fetches an attached template from elsewhere",
        "in the document's settings",
    ),
    changed(
        "fetched",
        "mail merge",
        lambda _: {"word/settings.xml": f"<w:settings {W}><w:mailMerge/></w:settings>"},
        "a mail-merge document",
        "Normal Word Document",
    ),
    changed(
        "fetched",
        "SVG",
        lambda bait: {"word/media/a.svg": f'<svg><image href="{bait.url}"/></svg>'},
        "an SVG picture (word/media/a.svg)",
        "PNG",
    ),
    changed(
        "fetched",
        "SVG called PNG",
        lambda bait: {"word/media/a.png": f'<svg><image href="{bait.url}"/></svg>'},
        "no picture of a permitted kind (word/media/a.png)",
    ),
    changed(
        "fetched",
        "PostScript called PNG",
        lambda _: {"word/media/a.png": "%!PS-Adobe-3.0 EPSF-3.0\n(x) run"},
        "no picture of a permitted kind (word/media/a.png)",
    ),
    changed(
        "fetched",
        "XML as a picture",
        lambda bait: {
            "word/a.xml": f'<svg><image href="{bait.url}"/></svg>',
            LINKS: linked("image", "a.xml", mode=""),
        },
        "shows word/a.xml as a picture, in the body",
    ),
    *(
        changed(
            "link",
            target,
            lambda _, target=target: {  # type: ignore[misc]
                LINKS: linked("hyperlink", target),
                BODY: with_paragraph(
                    f'<w:p><w:hyperlink xmlns:r="{OFFICE}" r:id="rIdBad"><w:r><w:t>read it here'
                    "</w:t></w:r></w:hyperlink></w:p>"
                ),
            },
            f"link to '{target}' in the body, at “read it here”",
            "https:",
            "Edit Link",
        )
        for target in ("file:///etc/passwd", "javascript:alert(1)", "ftp://a.example/", "a.docx")
    ),
    changed(
        "link",
        "within the document, or so it says",
        lambda _: {LINKS: linked("hyperlink", "file:///etc/passwd", mode="Internal")},
        "link to 'file:///etc/passwd'",
    ),
    changed(
        "link",
        "with a tag in it",
        lambda _: {LINKS: linked("hyperlink", "https://a.example/{{ authority }}")},
        "a tag in the address of a link in the body",
    ),
    changed(
        "object",
        "embedded",
        lambda _: {"word/embeddings/oleObject1.bin": b"\0"},
        "embedded object (word/embeddings/oleObject1.bin)",
        "delete it in Word",
    ),
    changed("object", "a control", lambda _: {"word/activeX/activeX1.bin": b"\0"}, "a control"),
    changed(
        "object",
        "a workbook inside",
        lambda _: {"word/x.bin": b"PK\3\4", LINKS: linked("package", "x.bin", mode="")},
        "permitted kind (word/x.bin)",
        "delete it in Word",
    ),
    changed(
        "object",
        "an inserted file",
        lambda _: {"word/x.xml": "<x/>", LINKS: linked("aFChunk", "x.xml", mode="")},
        "holds an inserted file (x.xml) in the body",
    ),
    body_of("object", "w:object", "<w:p><w:r><w:t>Chart</w:t><w:object/></w:r></w:p>", ANYWHERE),
    body_of("object", "altChunk", '<w:altChunk xmlns:r="urn:r" r:id="x"/>', "embedded object"),
    *(
        body_of("field", code, FIELD_CODE.format(code), f"Word field “{code}”", ANYWHERE, "Ctrl")
        for code in ("INCLUDETEXT /etc/passwd", "DDEAUTO c:\\x", "DATE", "MERGEFIELD x")
    ),
    changed(
        "field",
        "in an endnote",
        lambda bait: with_part(
            "endnotes",
            f"<w:endnotes {W}><w:endnote>{FIELD_CODE.format(f'INCLUDEPICTURE {bait.url}')}"
            "</w:endnote></w:endnotes>",
        ),
        "Word field “INCLUDEPICTURE",
        "in the endnotes",
    ),
    # Tags.
    *(
        changed("tag", words[:60], lambda _, words=words: {BODY: saying(words)}, "body", *expected)  # type: ignore[misc]
        for words, expected in TAGS.items()
    ),
    changed(
        "tag",
        "split over runs, and unknown",
        lambda _: {
            BODY: with_paragraph(
                "<w:p><w:r><w:t>Dear {</w:t></w:r><w:r><w:t>{ author</w:t></w:r><w:proofErr/>"
                "<w:r><w:t>ty }</w:t></w:r><w:r><w:t>}!</w:t></w:r></w:p>"
            )
        },
        "“Dear {{ authorty }}!”: there is no field authorty",
    ),
    changed(
        "tag",
        "unclosed in the alternative text",
        lambda _: alternative_text("Ring: {{ upheld.percent"),
        "in the alternative text “Ring: {{ upheld.percent”",
    ),
    body_of(
        "tag",
        "in an equation",
        '<w:p><m:oMath xmlns:m="urn:m"><m:r><m:t>{{ noun }}</m:t></m:r></m:oMath></w:p>',
        ANYWHERE,
        "equation",
    ),
    changed(
        "tag",
        "in a list's numbers",
        lambda _: with_part(
            "numbering", f'<w:numbering {W}><w:lvlText w:val="{{{{ x }}}}"/></w:numbering>'
        ),
        "a tag in the numbers and bullets of lists",
    ),
    body_of(
        "tag", "a broken table", f"<w:tbl><w:tr><w:tc>{'<w:p/>'}</w:tc></w:tr></w:tbl>", "table"
    ),
    *(
        body_of(
            "edit",
            f"tracked {element}",
            f"<w:p><w:{element}><w:r><w:t>{{{{ authority }}}}</w:t></w:r></w:{element}></w:p>",
            "tracked changes",
            ANYWHERE,
            "“{{ authority }}”",
            "accept or reject",
        )
        for element in ("ins", "del", "moveTo")
    ),
    *(
        changed(
            "code",
            f"{code} in {place}",
            lambda bait, write=write, code=code: write(code.replace("FILE", str(bait.file))),  # type: ignore[misc]
            where,
            *([] if place in NOT_PRINTED else [said]),
        )
        for place, (write, where) in PLACES.items()
        for code, said in CODE.items()
    ),
    # What every letter needs.
    changed("lack", "no field", without(r"\{[{%].*?[}%]\}", "x"), "no field"),
    changed("lack", "no rings", without('name="Ring ', 'name="Picture '), "named “Ring ", "copy a"),
    changed(
        "lack",
        "no panels",
        without(r'(?<=<w:t xml:space="preserve">)\{\{ upheld\.\w+ \}\}', "x"),
        "do not print",
        "{{ upheld.",
    ),
    changed(
        "lack",
        "no authority",
        without(r"\{\{ authority \}\}", "the authority"),
        "do not print {{ authority }}",
    ),
    changed(
        "lack",
        "a ring bound to nothing",
        without("Ring upheld", "Ring uphold"),
        "“Ring uphold” in the body",
        "did you mean upheld?",
        "Selection Pane",
    ),
    changed(
        "lack",
        "no title",
        lambda _: {CORE: re.sub("<dc:title>.*?</dc:title>", "", PARTS[CORE])},
        "no title",
        "File > Info > Title",
    ),
)


def of_message(
    what: str,
    words: tuple[str, ...],
    *,
    text: Content = "Dear {{ salutation }}\n",
    html: Content = "<p>Dear {{ salutation }}</p>\n",
    subject: str = "Subject: Letter {{ letter_year }}\n\n",
    kind: str = "message",
) -> Bad:
    content = f"{subject}{text}" if isinstance(text, str) else text
    return Bad(
        kind=kind,
        what=what,
        files=lambda bait: {
            "message.txt": content.replace("FILE", str(bait.file))
            if isinstance(content, str)
            else content,
            "message.html": html,
        },
        words=words,
    )


MESSAGE_TAGS: Mapping[str, str] = {
    "{{ salutaton }}": "there is no field salutaton; did you mean salutation?",
    "{{ salutation": "opened with {{ is not closed; write }}",
    "{{ salutation }": "opened with {{ is not closed; write }}",
    "{{ salutation noun }}": "the tag cannot be understood",
    "{% if noun %}": "{% endif %} or {% endfor %} is missing",
    "{% if noun == “Council” %}x{% endif %}": "curly quotes; write straight ones",
    "{{ ''.__class__ }}": "starts with an underscore",
    "{{ cycler.__init__.__globals__.os.system('touch FILE') }}": "(call) is not permitted",
    "{% include '/etc/passwd' %}": "(include) is not permitted",
    "{% import 'os' as x %}": "(import) is not permitted",
    "{% macro m() %}{% endmacro %}": "(macro) is not permitted",
    "{{ salutation|upper }}": "the filter upper is not permitted",
    "{{ remarks|join(attribute='__class__') }}": "join needs the words",
    "{{ 'a' * 10**9 }}": "(mul) is not permitted",
    "{% for i in range(10**9) %}x{% endfor %}": "a loop goes over a field",
    "{% for a in remarks %}{% for b in remarks %}x{% endfor %}{% endfor %}": "within a loop",
    "{% for a in salutation %}x{% endfor %}": "salutation is no list",
    "{{ remarks }}": "remarks is a list",
    "{{ upheld }}": "upheld stands for several fields",
    "{{ upheld.rated }}": "upheld.rated is true or false",
    "{% if noun > 5 %}x{% endif %}": "only == and != can be used",
    "{% raw %}{{ x }}{% endraw %}": "{% raw %}",
    "{{ '\\x00' }}": "cannot be printed",
    "{{ " + "9" * 5000 + " }}": "longer than 500",
    "{{ " + "(" * 240 + "noun" + ")" * 240 + " }}": "too many brackets",
    "{% if noun %}" * 60 + "{% endif %}" * 60: "within one another",
}
MESSAGE_CASES: tuple[Bad, ...] = (
    of_message("no text", ("message.txt cannot be read", "put the file there"), text=None),
    of_message("no html", ("message.html cannot be read",), html=None),
    of_message("Latin text", ("message.txt is not UTF-8 (octet 4)",), text=b"caf\xe9"),
    of_message("Latin html", ("message.html is not UTF-8", "save it as UTF-8"), html=b"<p>caf\xe9"),
    of_message("too much text", ("message.txt is larger than 64 KB",), text="x" * 70_000),
    of_message("too much html", ("message.html is larger than 64 KB",), html="x" * 70_000),
    of_message("NUL", ("message.txt, line 4", "U+0000"), text="a\nb\0\n"),
    of_message("turned words", ("message.html, line 1", "U+202E"), html="<p>\u202e</p>"),
    of_message("empty text", ("message.txt has no words",), text="\n"),
    *(
        of_message(f"subject {subject!r}", ("message.txt, line 1", *words), subject=subject)
        for subject, *words in (
            ("", "first line must be the subject"),
            ("Subject:\n\n", "first line must be the subject"),
            ("Subject: {# later #}\n\n", "subject is empty"),
            ("Subject: {{ ' ' }}\n\n", "subject is empty"),
            ("Subject: {% if succession %}x{% endif %}\n\n", "subject is empty"),
            ("Subject: x{{ '\\r\\nBcc: eve@evil.example' }}\n\n", "cannot be printed"),
            ("Subject: x\x0bBcc: eve@evil.example\n\n", "U+000B"),
            ("Subject: {{ authority.upper() }}\n\n", "(call) is not permitted"),
        )
    ),
    *(
        of_message(
            f"second header {end!r}", ("message.txt, line 2",), subject=f"Subject: x{end}Bcc: e\n\n"
        )
        for end in ("\n", "\r", "\r\n")
    ),
    *(
        of_message(f"{code[:60]} in text", ("message.txt, line 4:", words), text=f"a\n{code}\n")
        if "brackets" not in words
        else of_message(f"{code[:60]} in text", ("message.txt: ", words), text=f"a\n{code}\n")
        for code, words in MESSAGE_TAGS.items()
    ),
    *(
        of_message(f"{code[:60]} in html", ("message.html", words), html=f"<p>a\n{code}</p>\n")
        for code, words in MESSAGE_TAGS.items()
    ),
)

ALL = (*CASES, *MESSAGE_CASES)


class Silent:
    """Progress that nobody watches."""

    def begin(self, stage: str, total: int) -> None:
        pass

    def advance(self) -> None:
        pass

    def end(self) -> None:
        pass


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A site into which one authority of the sample has been imported."""
    site = Site(tmp_path_factory.mktemp("ready"))
    district = next(row["code"] for row in read_sample("authorities") if row["kind"] == "district")
    site.letters("import", str(part_of_the_sample(site.folder / "data", [district])))
    return site


@pytest.fixture(scope="module")
def settings(ready: Site) -> Settings:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ready.environment.items():
            if name.startswith("LETTERS_"):
                patch.setenv(name, value)
        return load(ROOT / "config" / "letters.toml")


@pytest.fixture(scope="module")
def wired(settings: Settings) -> Iterator[Pipeline]:
    with bootstrap.pipeline(settings, writes=True) as pipeline:
        yield pipeline


@pytest.fixture(scope="module")
def door() -> Iterator[socket.socket]:
    """A door at which nobody may knock."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        yield listening


@pytest.fixture
def bait(door: socket.socket, tmp_path: Path) -> Iterator[Bait]:
    bait = Bait(url=f"http://127.0.0.1:{door.getsockname()[1]}/", file=tmp_path / "executed")
    yield bait
    assert not bait.file.exists()
    with contextlib.suppress(BlockingIOError):
        door.accept()
        pytest.fail("something was fetched")


def laid_out(case: Bad, folder: Path, bait: Bait) -> Path:
    """A folder of templates, sound but for what is wrong in this case; the path of the letter."""
    folder.mkdir()
    for name in ("letter.docx", "message.txt", "message.html"):
        shutil.copy(TEMPLATES / name, folder)
    for name, content in case.files(bait).items():
        (folder / name).unlink()
        if content is not None:
            (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return folder / "letter.docx"


def left_behind(site: Site) -> list[Path]:
    return [
        path
        for folder in (site.archive, site.maildir)
        for path in folder.rglob("*")
        if path.is_file()
    ]


@pytest.mark.parametrize("case", ALL, ids=[f"{each.kind}-{each.what}" for each in ALL])
def test_a_bad_template_is_refused_before_anything_is_begun(
    case: Bad, ready: Site, wired: Pipeline, settings: Settings, bait: Bait, tmp_path: Path
) -> None:
    letter = laid_out(case, tmp_path / "templates", bait)
    pipeline = replace(wired, template=letter, wording=letter.parent)
    with pytest.raises(Misconfigured) as caught:
        annual_run(pipeline, LocalEngine(settings), 2020, person="Ann", progress=Silent())
    assert runs.find_run(pipeline.ledger, 2020) is None
    said = str(caught.value)
    assert all(words in said for words in case.words), said
    # One sentence or a few, for a person: not a page, nothing of Python's.
    assert len(said) < 1500
    assert not re.search(r"Traceback|object at 0x|lxml|zipfile|jinja2\.|\x1b", said), said
    assert said.endswith((".", "?"))
    assert left_behind(ready) == []


def one_of_each() -> list[Bad]:
    return list({each.kind: each for each in reversed(ALL)}.values())


@pytest.mark.parametrize("case", one_of_each(), ids=lambda each: each.kind)
def test_the_command_says_so_and_ends_with_78(
    case: Bad, ready: Site, wired: Pipeline, bait: Bait, tmp_path: Path
) -> None:
    letter = laid_out(case, tmp_path / "templates", bait)
    done = ready.letters("run", "2020", expect=78, env={"LETTERS_TEMPLATE__PATH": str(letter)})
    assert done.stdout.strip() == ""
    said = "".join(done.stderr.split())  # lines are wrapped at 80 characters
    assert all("".join(words.split()) in said for words in case.words), done.stderr
    assert runs.find_run(wired.ledger, 2020) is None
    assert left_behind(ready) == []
