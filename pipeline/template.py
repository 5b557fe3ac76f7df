"""The letter's template: letter.docx is read once, checked, compiled, and stamped for each letter.

Whoever edits the file in Word is trusted with words and looks, not with code: a tag may print a
field, choose with `if` and repeat with `for`, and nothing else. Whatever is wrong with the file is
said in Word's terms when it is compiled, before any letter is made.

The dialect is docxtpl's ({{ }}, {% %}, {%p %}, {%tr %}, {%r %}), and docxtpl's own code turns the
document into a Jinja template. It does so here once; docxtpl itself does it again for every letter,
opening and saving the whole package each time, which is a hundred times slower.
"""

import difflib
import hashlib
import html
import io
import posixpath
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlsplit

from docxtpl import DocxTemplate  # type: ignore[import-untyped]
from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment
from lxml import etree

from pipeline.errors import LetterFault, Misconfigured

_MEBIBYTE: Final = 1024 * 1024
_MAX_FILE: Final = 20 * _MEBIBYTE
_MAX_PART: Final = 32 * _MEBIBYTE
_MAX_UNPACKED: Final = 64 * _MEBIBYTE
_MAX_TEMPLATED: Final = (
    4 * _MEBIBYTE
)  # a letter is about 50 KB; docxtpl's patterns are slow on more
_MAX_PARTS: Final = 1000
_MAX_RATIO: Final = 200  # looked at only in parts large enough to matter

_COMPOUND_FILE: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_CONTENT_TYPES: Final = "[Content_Types].xml"
_PACKAGE_RELATIONSHIPS: Final = "_rels/.rels"

_W: Final = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_WP: Final = "{http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing}"
_WPS: Final = "{http://schemas.microsoft.com/office/word/2010/wordprocessingShape}"
_A: Final = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_MC: Final = "{http://schemas.openxmlformats.org/markup-compatibility/2006}"
_DC: Final = "{http://purl.org/dc/elements/1.1/}"
_REL: Final = "{http://schemas.openxmlformats.org/package/2006/relationships}"
_TYPES: Final = "{http://schemas.openxmlformats.org/package/2006/content-types}"

_WORD_TYPE: Final = "application/vnd.openxmlformats-officedocument.wordprocessingml."
_MAIN_TYPE: Final = f"{_WORD_TYPE}document.main+xml"

# What docxtpl renders; a tag anywhere else would be printed as it stands.
_RENDERED: Final = {"header": "header", "footer": "footer", "footnotes": "footnotes"}
_PROPERTIES: Final = ("title", "subject", "creator", "description", "identifier", "language")

_LINKED: Final = {
    "attachedTemplate": "an attached template",
    "image": "a linked picture",
    "oleObject": "a linked object",
    "package": "a linked document",
    "frame": "a linked frame",
    "subDocument": "a sub-document",
    "aFChunk": "an inserted file",
    "mailMergeSource": "a mail-merge source",
    "mailMergeHeaderSource": "a mail-merge source",
}
_ACTIVE: Final = {
    "oleObject": "an embedded object",
    "package": "an embedded document",
    "control": "a control",
    "activeXControlBinary": "a control",
    "vbaProject": "macros",
    "wordVbaData": "macros",
    "keyMapCustomizations": "key assignments",
    "attachedToolbars": "toolbars",
    "aFChunk": "an inserted file",
    "subDocument": "a sub-document",
}
_SCHEMES: Final = frozenset({"http", "https", "mailto"})

_TRACKED: Final = ("ins", "del", "moveFrom", "moveTo", "pPrChange", "rPrChange", "sectPrChange")
_FIELD_CODES: Final = (
    "PAGE", "NUMPAGES", "SECTION", "SECTIONPAGES", "PAGEREF", "REF", "STYLEREF", "HYPERLINK",
    "SEQ", "TITLE",
)  # fmt: skip
# LibreOffice names a PDF's tags after styles; a style so named would redefine the tag.
_TAG_NAME: Final = re.compile(
    "Document|Part|Art|Sect|Div|BlockQuote|Caption|TOCI?|Index|NonStruct|Private|P|H[1-6]?|L|LI"
    "|Lbl|LBody|Table|TR|TH|TD|THead|TBody|TFoot|Span|Quote|Note|Reference|BibEntry|Code|Link"
    "|Annot|Ruby|RB|RT|RP|Warichu|WT|WP|Figure|Formula|Form"
)

_TAG: Final = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.DOTALL)
_BRACES: Final = re.compile(r"\{\{|\{%|\{#|\}\}|%\}|#\}")
_CLOSER: Final = {"{{": "}}", "{%": "%}", "{#": "#}"}
_WHOLE: Final = {"p": "paragraph", "tr": "table row", "tc": "table cell"}
_MARKUP: Final = re.compile(r"<(/?)([\w:.-]+)(?:\s[^<>]*?)?(/?)>")
_NO_WORDS_IN: Final = tuple(
    f"{_W}{name}"
    for name in ("body", "hdr", "ftr", "footnote", "p", "r", "tbl", "tr", "tc", "hyperlink")
)

_PERMITTED: Final = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Getattr, nodes.Const,
    nodes.If, nodes.For, nodes.CondExpr, nodes.Compare, nodes.Operand, nodes.And, nodes.Or,
    nodes.Not,
)  # fmt: skip
_LOOP: Final = frozenset({"first", "last", "index", "length"})

# Control characters (of which only tab and line break can be printed), those that turn the reading
# direction, half surrogates and non-characters: XML cannot hold most of them.
_UNPRINTABLE: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"
)

_RING: Final = "Ring "
_PERCENT: Final = "percent_number"
_TWELVE_O_CLOCK: Final = 270 * 60_000
_FULL_TURN: Final = 360 * 60_000

_FIRST_DRAWING: Final = 1001  # the numbers that docxtpl gives to drawings
_DRAWING: Final = ':docPr id="0"'

_DECLARATION: Final = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_UNREADABLE: Final = (
    zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, OSError, RuntimeError,
    ValueError, struct.error, OverflowError,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledTemplate:
    """A template that was found to be sound; it travels between processes as the file it came from.

    `sha256` is the file's (hex). `used` holds the fields' dotted names. `panel_headings` are the
    headings above the rings, in the template's order; `fixed_texts` are the words that every
    letter has, cut at the tags.
    """

    sha256: str
    used: frozenset[str]
    panel_headings: tuple[str, ...]
    fixed_texts: tuple[str, ...]
    _data: bytes = field(repr=False)
    _fields: frozenset[str] = field(repr=False)
    _members: "tuple[_Raw | _Stamped, ...]" = field(repr=False)
    _title: Template = field(repr=False)
    _needs: "_Needs" = field(repr=False)

    def stamp(self, fields: Mapping[str, object]) -> bytes:
        """Return one letter's docx: the same fields always give the same bytes.

        `fields` are plain values: text, whole numbers, true or false, lists of text, and mappings
        of these. They are printed as they are, whatever they hold. Raises `LetterFault` naming the
        field that is missing, is not plain, or holds a character that cannot be printed.
        """
        context = self._needs.context(fields)
        return _packed((member, member.content(context)) for member in self._members)

    def title(self, fields: Mapping[str, object]) -> str:
        """Return the title in one letter's document properties; raises like `stamp`."""
        return _rendered(self._title, self._needs.context(fields))

    def __reduce__(self) -> tuple[Callable[..., "CompiledTemplate"], tuple[bytes, frozenset[str]]]:
        return _recompiled, (self._data, self._fields)


def compile_template(data: bytes, *, fields: Collection[str]) -> CompiledTemplate:
    """Check a docx file and make it ready for stamping.

    `fields` are the names that tags may use, dotted ("upheld.percent"); "facts.*" permits any fact.
    Raises `Misconfigured` saying what is wrong, where in the document, and how to mend it.
    """
    names = frozenset(fields)
    package = _Package.read(data)
    parts = [_read_part(package, place, name, names) for name, place in _rendered_parts(package)]
    _refuse_tags_elsewhere(package, {part.name for part in parts})
    _refuse_tag_named_styles(package)
    core = _core_part(package)
    body, *_ = parts
    needs = _Needs(printed={}, repeated={}, tested={}, rings=frozenset())
    stamped = {}
    for part in (*parts, core):
        needs |= _checked(part, names)
        stamped[part.name] = part.compiled()
    title = _environment(escape=False).from_string(core.title)
    return CompiledTemplate(
        sha256=hashlib.sha256(data).hexdigest(),
        used=needs.used,
        panel_headings=body.panel_headings,
        fixed_texts=tuple(text for part in parts for text in part.fixed_texts),
        _data=data,
        _fields=names,
        _members=tuple(
            stamped[member.name] if member.name in stamped else member.raw()
            for member in package.members
        ),
        _title=title,
        _needs=needs,
    )


@lru_cache(maxsize=4)
def _recompiled(data: bytes, fields: frozenset[str]) -> CompiledTemplate:
    return compile_template(data, fields=fields)


# What a letter's fields must be for this template.


@dataclass(frozen=True, slots=True, kw_only=True)
class _Needs:
    """The names a template uses, by what it does with them; each with the place of its first use.

    `rings` are the figures that are drawn.
    """

    printed: Mapping[str, str]
    repeated: Mapping[str, str]
    tested: Mapping[str, str]
    rings: frozenset[str]

    def __or__(self, other: "_Needs") -> "_Needs":
        return _Needs(
            printed={**other.printed, **self.printed},
            repeated={**other.repeated, **self.repeated},
            tested={**other.tested, **self.tested},
            rings=self.rings | other.rings,
        )

    @property
    def used(self) -> frozenset[str]:
        rings = {f"{figure}.{_PERCENT}" for figure in self.rings}
        return frozenset({*self.printed, *self.repeated, *self.tested, *rings})

    def context(self, fields: Mapping[str, object]) -> dict[str, Any]:
        """Return what the template gets to see: its own fields, plain, and the rings' angles."""
        for name, place in self.printed.items():
            value = _field(fields, name)
            if type(value) is str:
                _refuse_unprintable(name, value)
            elif type(value) is not int:
                raise LetterFault(
                    f"The field {name} is {_kind(value)} and cannot be printed as {place} asks;"
                    " it must be text or a whole number."
                )
        for name, place in self.repeated.items():
            value = _field(fields, name)
            if not isinstance(value, list | tuple) or any(type(each) is not str for each in value):
                raise LetterFault(
                    f"The field {name} is {_kind(value)} and cannot be repeated as {place} asks;"
                    " it must be a list of texts."
                )
            for each in value:
                _refuse_unprintable(name, each)
        for name in self.tested:
            value = _field(fields, name)
            if type(value) not in (str, int, bool, list, tuple):
                raise LetterFault(f"The field {name} is {_kind(value)}, not a plain value.")
        context = {name.partition(".")[0]: None for name in self.used}
        return {
            **{top: fields[top] for top in context},
            **{_end_of(figure): _ring_end(fields, figure) for figure in self.rings},
        }


def _field(fields: Mapping[str, object], name: str) -> object:
    value: object = fields
    for step in name.split("."):
        if not isinstance(value, Mapping) or step not in value:
            raise LetterFault(f"The letter has no field {name}, which the template uses.")
        value = value[step]
    if value is None:
        raise LetterFault(f"The letter's field {name}, which the template uses, is empty.")
    return value


def _kind(value: object) -> str:
    match value:
        case bool():
            return "true or false"
        case list() | tuple():
            return "a list"
        case Mapping():
            return "a group of fields"
        case _:
            return f"of the kind {type(value).__name__}"


def _refuse_unprintable(name: str, value: str) -> None:
    if found := _UNPRINTABLE.search(value):
        raise LetterFault(
            f"The field {name} holds the character U+{ord(found[0]):04X} (after"
            f" “{_short(value[: found.start()])}”), which cannot be printed; take it out of the"
            " data."
        )


def _ring_end(fields: Mapping[str, object], figure: str) -> int:
    percent = _field(fields, f"{figure}.{_PERCENT}")
    if type(percent) is not int or not 0 <= percent <= 100:
        raise LetterFault(
            f"The field {figure}.{_PERCENT} is {percent!r}; a ring needs a whole number from 0 to"
            " 100."
        )
    return (_TWELVE_O_CLOCK + percent * _FULL_TURN // 100) % _FULL_TURN


def _end_of(figure: str) -> str:
    return f"_end_of_{figure.replace('.', '_')}"


# The package: a zip file of parts that point at each other.


@dataclass(frozen=True, slots=True, kw_only=True)
class _Member:
    """One file of the package: unpacked, and packed as it lay there."""

    name: str
    method: int
    crc: int
    data: bytes
    packed: bytes

    def raw(self) -> "_Raw":
        return _Raw(
            name=self.name,
            method=self.method,
            crc=self.crc,
            size=len(self.data),
            packed=self.packed,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Package:
    """The parts of a docx file that was found to be one and to hold nothing active."""

    members: tuple[_Member, ...]
    trees: Mapping[str, etree._Element]
    main: str
    core: str | None
    types: Mapping[str, str]

    @classmethod
    def read(cls, data: bytes) -> "_Package":
        members = _members(data)
        trees = {
            member.name: _parsed(member)
            for member in members
            if member.name.lower().endswith((".xml", ".rels"))
        }
        if _CONTENT_TYPES not in trees or _PACKAGE_RELATIONSHIPS not in trees:
            raise Misconfigured(
                "The template is a zip file but not a Word document; save it from Word as"
                " “Word Document (.docx)”."
            )
        types = _types(trees[_CONTENT_TYPES], [member.name for member in members])
        _refuse_macros(types)
        main = core = None
        for name in trees:
            if not name.lower().endswith(".rels"):
                continue
            for kind, target in _relationships(name, trees, types):
                if name == _PACKAGE_RELATIONSHIPS and kind == "officeDocument":
                    main = target
                elif name == _PACKAGE_RELATIONSHIPS and kind == "core-properties":
                    core = target
        if main is None or types.get(main) != _MAIN_TYPE or main not in trees:
            raise Misconfigured(_not_a_document(types.get(main or "", "")))
        if trees[main].tag != f"{_W}document":
            raise Misconfigured(
                "The template was saved as “Strict Open XML Document”; save it from Word as"
                " “Word Document (.docx)”."
            )
        return cls(members=members, trees=trees, main=main, core=core, types=types)


def _members(data: bytes) -> tuple[_Member, ...]:
    if data.startswith(_COMPOUND_FILE):
        raise Misconfigured(
            "The template is protected with a password or in Word's old format (.doc); save it"
            " from Word without a password as “Word Document (.docx)”."
        )
    if len(data) > _MAX_FILE:
        raise Misconfigured(
            f"The template is larger than {_MAX_FILE // _MEBIBYTE} MB; use smaller pictures."
        )
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            _refuse_strange_entries(entries)
            return tuple(
                _Member(
                    name=entry.filename,
                    method=entry.compress_type,
                    crc=entry.CRC,
                    data=archive.read(entry),
                    packed=_packed_bytes(data, entry),
                )
                for entry in entries
            )
    except _UNREADABLE as error:
        raise Misconfigured(
            f"The template is damaged or not a Word document ({error}); open it in Word and save"
            " it again as “Word Document (.docx)”."
        ) from error


def _refuse_strange_entries(entries: list[zipfile.ZipInfo]) -> None:
    if len(entries) > _MAX_PARTS or sum(entry.file_size for entry in entries) > _MAX_UNPACKED:
        raise Misconfigured(
            f"The template unpacks to more than {_MAX_PARTS} parts or"
            f" {_MAX_UNPACKED // _MEBIBYTE} MB; make it anew in Word."
        )
    seen: set[str] = set()
    for entry in entries:
        name = entry.filename
        steps = name.split("/")
        if (
            name != entry.orig_filename
            or name.lower() in seen
            or ".." in steps
            or "." in steps
            or "" in steps
            or re.search(r'[\\:*?"<>|\x00-\x1f]', name)
        ):
            raise Misconfigured(
                f"The template holds a part with a name no Word document has: {name!r}; make it"
                " anew in Word."
            )
        if entry.flag_bits & 0x1:
            raise Misconfigured(
                "The template is an encrypted zip file; save it without a password."
            )
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise Misconfigured(f"The template's part {name} is packed in a way Word never uses.")
        if entry.file_size > _MAX_PART or (
            entry.file_size > _MEBIBYTE and entry.file_size > _MAX_RATIO * entry.compress_size
        ):
            raise Misconfigured(
                f"The template's part {name} unpacks to an unlikely size; make it anew in Word."
            )
        seen.add(name.lower())


def _packed_bytes(data: bytes, entry: zipfile.ZipInfo) -> bytes:
    start = entry.header_offset
    name, extra = struct.unpack_from("<2H", data, start + 26)
    start += 30 + name + extra
    packed = data[start : start + entry.compress_size]
    if len(packed) != entry.compress_size:
        raise zipfile.BadZipFile(f"{entry.filename} is cut off")
    return packed


def _parsed(member: _Member) -> etree._Element:
    # Nulls are dropped so that UTF-16 is seen through.
    if b"<!DOCTYPE" in member.data.replace(b"\0", b""):
        raise Misconfigured(
            f"The template's part {member.name} has a document type declaration, which Word never"
            " writes; make it anew in Word."
        )
    parser = etree.XMLParser(
        remove_blank_text=True, resolve_entities=False, no_network=True, load_dtd=False
    )
    try:
        return etree.fromstring(member.data, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise Misconfigured(
            f"The template's part {member.name} is damaged ({error}); open it in Word and save it"
            " again."
        ) from error


def _types(tree: etree._Element, names: Iterable[str]) -> dict[str, str]:
    """What kind of thing each part is."""
    defaults = {
        str(each.get("Extension", "")).lower(): str(each.get("ContentType", ""))
        for each in tree.iter(f"{_TYPES}Default")
    }
    own = {
        str(each.get("PartName", "")).lstrip("/").lower(): str(each.get("ContentType", ""))
        for each in tree.iter(f"{_TYPES}Override")
    }
    return {
        name: own.get(name.lower(), defaults.get(name.rpartition(".")[2].lower(), ""))
        for name in names
    }


def _refuse_macros(types: Mapping[str, str]) -> None:
    for name, kind in types.items():
        words = f"{name} {kind}".lower()
        if "vba" in words or "macroenabled" in words:
            raise Misconfigured(
                "The template holds macros; save it from Word as “Word Document (.docx)”, which"
                " leaves them out."
            )
        if "activex" in words or "oleobject" in words:
            raise Misconfigured(
                f"The template holds a control or embedded object ({name}); delete it in Word."
            )
        if "svg" in words:
            raise Misconfigured(
                f"The template holds an SVG picture ({name}), which may fetch things from"
                " elsewhere; insert it as PNG or EMF."
            )


def _relationships(
    name: str, trees: Mapping[str, etree._Element], types: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Yield the kind and the target of what a part points at within the package."""
    folder, _, file = name.rpartition("/")
    base = posixpath.dirname(folder)
    source = posixpath.join(base, file.removesuffix(".rels"))
    for each in trees[name].iter(f"{_REL}Relationship"):
        kind = str(each.get("Type", "")).rpartition("/")[2]
        target = str(each.get("Target", ""))
        if str(each.get("TargetMode", "")).lower() == "external":
            _refuse_external(kind, target, source)
            continue
        if kind in _ACTIVE:
            raise Misconfigured(
                f"The template holds {_ACTIVE[kind]} ({target}); delete it in Word."
            )
        if kind == "hyperlink":  # to a place in the same document
            continue
        inside = target[1:] if target.startswith("/") else posixpath.join(base, target)
        inside = posixpath.normpath(inside)
        if inside not in types:
            raise Misconfigured(
                f"The template's part {source or 'list'} points at {target}, which is not in the"
                " file; open it in Word and save it again."
            )
        yield kind, inside


def _refuse_external(kind: str, target: str, source: str) -> None:
    if kind == "hyperlink":
        _refuse_link(target)
        return
    what = _LINKED.get(kind, f"something linked ({kind})")
    raise Misconfigured(
        f"The template fetches {what} from elsewhere ({target}, in {source}); put it into the"
        " document, or break the link (File > Info > Edit Links to Files; for a template,"
        " Developer > Document Template)."
    )


def _refuse_link(target: str) -> None:
    if target.startswith("#"):
        return
    try:
        scheme = urlsplit(target).scheme.lower()
    except ValueError:
        scheme = ""
    if scheme not in _SCHEMES:
        raise Misconfigured(
            f"The template's link to {target!r} does not start with https:, http: or mailto:;"
            " change it in Word (right-click > Edit Link)."
        )


def _not_a_document(kind: str) -> str:
    if "template.main" in kind:
        what = "a Word template (.dotx)"
    elif "spreadsheetml" in kind or "presentationml" in kind:
        what = "a workbook or a presentation"
    else:
        what = "not a Word document"
    return f"The template is {what}; save it from Word as “Word Document (.docx)”."


# The parts that hold tags.


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """A part as a Jinja template. Before each paragraph stands a line break, so that a line number
    leads to the paragraph.

    `rings` are the figures drawn in it, `title` (document properties only) the title as written.
    """

    name: str
    place: str
    source: str
    rings: tuple[str, ...] = ()
    panel_headings: tuple[str, ...] = ()
    fixed_texts: tuple[str, ...] = ()
    title: str = ""
    listings: DocxTemplate | None = None

    def at(self, lineno: int | None) -> str:
        """The place in Word's terms: the part and the words around it."""
        lines = self.source.split("\n")
        line = lines[min(max((lineno or 1) - 1, 0), len(lines) - 1)]
        words = html.unescape(re.sub(r"<[^>]*>", " ", line)).strip()
        if not _TAG.search(words) and (described := re.search(r'descr="([^"]*\{[^"]*)"', line)):
            words = html.unescape(described[1])
        return f"{self.place}, at “{_short(words)}”" if words else self.place

    def compiled(self) -> "_Stamped":
        tree = _environment(escape=True).parse(_with_rings(self.source, self.rings))
        # docxtpl lets {_{ stand for {{ and looks for it after printing, so that it would also
        # change a value; here only the template's own words are looked at.
        for each in tree.find_all(nodes.TemplateData):
            each.data = _unquoted(each.data.replace("\n<w:p", "<w:p"))
        environment = _environment(escape=True)
        code = environment.compile(tree)
        return _Stamped(
            name=self.name,
            template=Template.from_code(environment, code, environment.make_globals(None)),
            listings=self.listings,
            tables="<w:tbl" in self.source,
        )


def _rendered_parts(package: _Package) -> Iterator[tuple[str, str]]:
    """Yield the name and the place of each part that docxtpl renders, the body first."""
    yield package.main, "the body"
    folder, file = posixpath.split(package.main)
    relationships = posixpath.join(folder, "_rels", f"{file}.rels")
    if relationships not in package.trees:
        return
    seen = set()
    for kind, target in _relationships(relationships, package.trees, package.types):
        if kind in _RENDERED and target not in seen and target in package.trees:
            seen.add(target)
            yield target, f"the {_RENDERED[kind]} ({posixpath.basename(target)})"


def _read_part(package: _Package, place: str, name: str, names: frozenset[str]) -> _Part:
    tree = package.trees[name]
    _refuse_edits_and_objects(tree, place)
    for code in _field_codes(tree):
        _refuse_field_code(code, place)
    for paragraph in tree.iter(f"{_W}p"):
        _check_tags(paragraph, place)
    fixed = tuple(
        words
        for paragraph in tree.iter(f"{_W}p")
        for words in (each.strip() for each in _TAG.split(_words(paragraph)))
        if words
    )
    headings: list[str] = []
    rings: list[str] = []
    for drawing in tree.iter(f"{_WP}docPr"):
        if drawing.get("name", "").startswith(_RING):
            headings += _heading_above(drawing, package)
            rings.append(_bind_ring(drawing, len(rings), place, names))
    if name == package.main:
        for drawing in tree.iter(f"{_WP}docPr"):
            rest = [(key, value) for key, value in drawing.attrib.items() if key != "id"]
            drawing.attrib.clear()
            drawing.set("id", "0")  # numbered when stamped, as docxtpl does
            for key, value in rest:
                drawing.set(key, value)
    document = DocxTemplate(io.BytesIO())
    written = etree.tostring(tree, encoding="unicode")
    if len(written) > _MAX_TEMPLATED:
        raise Misconfigured(
            f"The text of the template's {place.removeprefix('the ')} is larger than"
            f" {_MAX_TEMPLATED // _MEBIBYTE} MB; make it anew in Word."
        )
    source = re.sub(r"<w:p([ >])", r"\n<w:p\1", document.patch_xml(written).replace("\n", " "))
    return _Part(
        name=name,
        place=place,
        source=source,
        rings=tuple(rings),
        panel_headings=tuple(dict.fromkeys(headings)),
        fixed_texts=fixed,
        listings=document,
    )


def _core_part(package: _Package) -> _Part:
    """The document's properties, which docxtpl takes for templates too."""
    tree = None if package.core is None else package.trees.get(package.core)
    title = "" if tree is None else (tree.findtext(f"{_DC}title") or "")
    if package.core is None or tree is None or not title.strip():
        raise Misconfigured(
            "The template has no title, which the PDF must have; write one in Word under"
            " File > Info > Title, for example “Annual Review letter {{ letter_year }}:"
            " {{ authority }}”."
        )
    permitted = {f"{_DC}{name}" for name in _PROPERTIES}
    for each in tree.iter():
        words = each.text or ""
        if "{{" in words or "{%" in words:
            if each.tag not in permitted:
                what = etree.QName(each).localname
                raise Misconfigured(
                    f"The template's document property “{what}” holds a tag, which would be printed"
                    " as it stands; take it out under File > Info."
                )
            _refuse_unpaired(words, "the document's properties")
    source = DocxTemplate(io.BytesIO()).patch_xml(etree.tostring(tree, encoding="unicode"))
    return _Part(
        name=package.core,
        place="the document's properties (File > Info)",
        source=source.replace("\n", " "),
        title=title,
    )


def _refuse_edits_and_objects(tree: etree._Element, place: str) -> None:
    for each in tree.iter(*(f"{_W}{name}" for name in _TRACKED)):
        raise Misconfigured(
            f"The template has tracked changes in {place} (near"
            f" “{_short(_around(each))}”), which would be printed as such; accept or reject them"
            " all in Word (Review > Accept) and turn tracking off."
        )
    for each in tree.iter(*(f"{_W}{name}" for name in ("object", "control", "altChunk", "subDoc"))):
        raise Misconfigured(
            f"The template has an embedded object in {place} (near “{_short(_around(each))}”);"
            " delete it in Word."
        )


def _field_codes(tree: etree._Element) -> Iterator[str]:
    """Yield the code of each Word field, put together from its runs."""
    open_codes: list[list[str]] = []
    for each in tree.iter(f"{_W}fldSimple", f"{_W}fldChar", f"{_W}instrText"):
        if each.tag == f"{_W}fldSimple":
            yield str(each.get(f"{_W}instr", ""))
        elif each.tag == f"{_W}instrText":
            if not open_codes:
                yield each.text or ""
            else:
                open_codes[-1].append(each.text or "")
        elif each.get(f"{_W}fldCharType") == "begin":
            open_codes.append([])
        elif each.get(f"{_W}fldCharType") == "end" and open_codes:
            yield "".join(open_codes.pop())
    for code in open_codes:
        yield "".join(code)


def _refuse_field_code(code: str, place: str) -> None:
    words = code.split()
    kind = words[0].upper() if words else ""
    if kind not in _FIELD_CODES or "{{" in code or "{%" in code:
        raise Misconfigured(
            f"The template has the Word field “{_short(code)}” in {place}; only"
            f" {', '.join(_FIELD_CODES)} are permitted, without tags in them. Click on it"
            " and press Ctrl+Shift+F9 to make it plain text, or delete it."
        )
    if kind == "HYPERLINK":
        quoted = re.findall(r'(\\\w)?\s*"([^"]*)"', code)
        bare = [word for word in words[1:2] if not word.startswith(("\\", '"'))]
        for target in [*(text for switch, text in quoted if not switch), *bare]:
            _refuse_link(target)


def _words(paragraph: etree._Element) -> str:
    return "".join(text.text or "" for text in _texts(paragraph))


def _texts(paragraph: etree._Element) -> list[etree._Element]:
    """A paragraph's own texts, without those of a text box anchored in it."""
    return [
        text
        for text in paragraph.iter(f"{_W}t")
        if next(text.iterancestors(f"{_W}p"), None) is paragraph
    ]


def _around(element: etree._Element) -> str:
    for each in (element, *element.iterancestors()):
        if each.tag == f"{_W}p":
            return "".join(text.text or "" for text in each.iter(f"{_W}t", f"{_W}delText"))
    return ""


def _check_tags(paragraph: etree._Element, place: str) -> None:
    """See that each tag is closed in its own paragraph, and that none swallows words."""
    words = _words(paragraph)
    if not _BRACES.search(words):
        return
    where = f"{place}, at “{_short(words)}”"
    _refuse_unpaired(words, where)
    for tag in _TAG.findall(words):
        marked = re.match(r"\{([{%#])(p|tr|tc|r)\s", tag)
        if not marked:
            continue
        kind, unit = marked[1], marked[2]
        if unit == "r":
            if kind == "{":
                _plain_run_tag(paragraph)
            continue
        if kind == "{":
            raise Misconfigured(
                f"In {where}: {tag} stands for a whole {_WHOLE[unit]}, but fields are plain text;"
                f" write {tag.replace('{{' + unit, '{{')}."
            )
        holder = paragraph if unit == "p" else next(paragraph.iterancestors(f"{_W}{unit}"), None)
        if holder is None:
            raise Misconfigured(f"In {where}: {tag} is not in a table; use {{%p %}} instead.")
        inside = "".join(text.text or "" for text in holder.iter(f"{_W}t"))
        rest = inside.replace(tag, "", 1).strip()
        if rest:
            raise Misconfigured(
                f"In {where}: {tag} must stand in a {_WHOLE[unit]} of its own, because that"
                f" {_WHOLE[unit]} is taken away with it, and with it “{_short(rest)}”."
            )


def _refuse_unpaired(words: str, where: str) -> None:
    opened = ""
    for found in _BRACES.finditer(words):
        brace = found[0]
        if not opened and brace in _CLOSER:
            opened = brace
        elif opened and brace == _CLOSER[opened]:
            opened = ""
        elif opened:
            raise Misconfigured(
                f"In {where}: the tag opened with {opened} is not closed with {_CLOSER[opened]} in"
                " the same paragraph."
            )
        else:
            raise Misconfigured(f"In {where}: {brace} closes a tag that was not opened.")
    if opened:
        raise Misconfigured(
            f"In {where}: the tag opened with {opened} is not closed with {_CLOSER[opened]} in the"
            " same paragraph."
        )


def _plain_run_tag(paragraph: etree._Element) -> None:
    """Make {{r field }} the same as {{ field }}.

    docxtpl takes the run away and expects the field to bring its own; plain text left without a
    run would not be shown at all.
    """
    texts = _texts(paragraph)
    words = "".join(text.text or "" for text in texts)
    gone = {found.end() - 1 for found in re.finditer(r"\{\{r(?=\s)", words)}
    start = 0
    for text in texts:
        own = text.text or ""
        text.text = "".join(each for index, each in enumerate(own, start) if index not in gone)
        start += len(own)


def _heading_above(drawing: etree._Element, package: _Package) -> list[str]:
    """The words of the nearest heading above a drawing, unless a tag is among them."""
    outlined = _heading_styles(package)
    paragraph = next(drawing.iterancestors(f"{_W}p"), None)
    while paragraph is not None:
        paragraph = next(paragraph.itersiblings(f"{_W}p", preceding=True), None)
        if paragraph is None:
            break
        style = paragraph.find(f"{_W}pPr/{_W}pStyle")
        if style is not None and style.get(f"{_W}val") in outlined:
            words = _words(paragraph).strip()
            return [words] if words and not _TAG.search(words) else []
    return []


def _heading_styles(package: _Package) -> set[str]:
    """The styles that make a heading: with an outline level, their own or inherited."""
    found: set[str] = set()
    children: dict[str, list[str]] = {}
    for name, kind in package.types.items():
        if kind != f"{_WORD_TYPE}styles+xml":
            continue
        for style in package.trees[name].iter(f"{_W}style"):
            own = str(style.get(f"{_W}styleId", ""))
            level = style.find(f"{_W}pPr/{_W}outlineLvl")
            if level is not None and str(level.get(f"{_W}val")) in "012345678":
                found.add(own)
            based = style.find(f"{_W}basedOn")
            if based is not None:
                children.setdefault(str(based.get(f"{_W}val")), []).append(own)
    waiting = list(found)
    while waiting:
        for child in children.get(waiting.pop(), []):
            if child not in found:
                found.add(child)
                waiting.append(child)
    return found


def _refuse_tags_elsewhere(package: _Package, rendered: set[str]) -> None:
    for name, tree in package.trees.items():
        if name in rendered or name == package.core:
            continue
        words = "".join(str(text) for text in tree.itertext())
        if found := _BRACES.search(words):
            raise Misconfigured(
                f"The template has a tag in {name} (near"
                f" “{_short(words[max(found.start() - 20, 0) :])}”), where it would be printed as"
                " it stands; tags work in the body, headers, footers and footnotes."
            )


def _refuse_tag_named_styles(package: _Package) -> None:
    for name, kind in package.types.items():
        if kind != f"{_WORD_TYPE}styles+xml":
            continue
        for style in package.trees[name].iter(f"{_W}style"):
            shown = style.find(f"{_W}name")
            words = "" if shown is None else str(shown.get(f"{_W}val"))
            if _TAG_NAME.fullmatch(words):
                raise Misconfigured(
                    f"The template's style “{words}” has the name of a PDF tag, which it would"
                    " redefine for screen readers; give the style another name."
                )


# Rings.


def _bind_ring(drawing: etree._Element, number: int, place: str, names: frozenset[str]) -> str:
    """Mark what a letter changes in a ring; return the name of the figure it shows.

    In the file a ring holds real angles, so that Word can draw it. Marks, not tags, are set here:
    they become tags only after the document's own tags have been checked.
    """
    name = str(drawing.get("name", ""))
    figure = name.removeprefix(_RING).strip()
    if f"{figure}.{_PERCENT}" not in names:
        figures = sorted(
            each.removesuffix(f".{_PERCENT}") for each in names if each.endswith(f".{_PERCENT}")
        )
        raise Misconfigured(
            f"The template's drawing “{name}” in {place} is bound to no"
            f" figure{_meant(figure, figures)} Rename it in Word's selection pane (Layout >"
            f" Selection Pane) to {' or '.join(f'“{_RING}{each}”' for each in figures)}."
        )
    holder = drawing.getparent()
    arcs = (
        []
        if holder is None
        else [
            shape
            for shape in holder.iter(f"{_WPS}wsp")
            if shape.find(f"{_WPS}spPr/{_A}prstGeom[@prst='blockArc']") is not None
        ]
    )
    geometry = None if len(arcs) != 1 else arcs[0].find(f"{_WPS}spPr/{_A}prstGeom")
    angles = (
        {}
        if geometry is None
        else {str(each.get("name")): each for each in geometry.iter(f"{_A}gd")}
    )
    if geometry is None or not {"adj1", "adj2", "adj3"} <= angles.keys():
        raise Misconfigured(
            f"The template's drawing “{name}” in {place} must hold one Block Arc shape, moved from"
            " its first form by its handles; copy a ring from an earlier template."
        )
    _drop_fallback(drawing)
    angles["adj1"].set("fmla", f"val {_TWELVE_O_CLOCK}")
    angles["adj2"].set("fmla", f"val {_mark(number, 'end')}")
    # An arc of a full turn begins where it ends, which is also an arc of nothing: programs differ.
    # A whole ring is a shape of its own.
    whole = etree.Element(f"{_A}prstGeom", prst="donut")
    values = etree.SubElement(whole, f"{_A}avLst")
    etree.SubElement(values, f"{_A}gd", name="adj", fmla=str(angles["adj3"].get("fmla")))
    for element in (
        etree.Comment(_mark(number, "whole")),
        whole,
        etree.Comment(_mark(number, "part")),
    ):
        geometry.addprevious(element)
    geometry.addnext(etree.Comment(_mark(number, "/part")))
    arcs[0].addprevious(etree.Comment(_mark(number, "arc")))
    arcs[0].addnext(etree.Comment(_mark(number, "/arc")))
    return figure


def _drop_fallback(drawing: etree._Element) -> None:
    """Word adds a second drawing for old programs, with fixed figures: they would be wrong."""
    alternatives = next(drawing.iterancestors(f"{_MC}AlternateContent"), None)
    if alternatives is not None:
        for fallback in alternatives.findall(f"{_MC}Fallback"):
            alternatives.remove(fallback)


def _mark(number: int, what: str) -> str:
    return f"ring {number} {what}"


def _with_rings(source: str, rings: tuple[str, ...]) -> str:
    """Put the rings' tags where their marks are."""
    for number, figure in enumerate(rings):
        percent = f"{figure}.{_PERCENT}"
        tags = {
            "arc": f"{{% if {percent} %}}",
            "whole": f"{{% if {percent} == 100 %}}",
            "part": "{% else %}",
            "/part": "{% endif %}",
            "/arc": "{% endif %}",
        }
        for what, tag in tags.items():
            source = source.replace(f"<!--{_mark(number, what)}-->", tag)
        source = source.replace(
            f'fmla="val {_mark(number, "end")}"', f'fmla="val {{{{ {_end_of(figure)} }}}}"'
        )
    return source


# What tags may say.


@lru_cache(maxsize=2)
def _environment(*, escape: bool) -> ImmutableSandboxedEnvironment:
    return ImmutableSandboxedEnvironment(
        autoescape=escape, undefined=StrictUndefined, keep_trailing_newline=True
    )


def _checked(part: _Part, names: frozenset[str]) -> _Needs:
    """See that a part's tags are permitted, use known names, and leave the document whole."""
    try:
        tree = _environment(escape=True).parse(part.source)
    except TemplateSyntaxError as error:
        lineno = _opened_at(part.source) if "end of template" in str(error) else error.lineno
        raise Misconfigured(
            f"In {part.at(lineno)}: the tag cannot be understood. {_in_our_words(error)}"
        ) from error
    reader = _Reader(part=part, names=names)
    reader.read(tree)
    if reader.faults:
        raise Misconfigured("\n".join(dict.fromkeys(reader.faults)))
    whole = _outline(tree, part)
    try:
        result = etree.fromstring(whole, etree.XMLParser(resolve_entities=False))
    except etree.XMLSyntaxError as error:
        raise Misconfigured(
            f"In {part.place}: the tags leave a damaged document ({error}); give each"
            " {%p if %} and {%p for %} a paragraph of its own."
        ) from error
    for each in result.iter(*_NO_WORDS_IN):
        if any((words or "").strip() for words in (each.text, *(child.tail for child in each))):
            raise Misconfigured(
                f"In {part.place}, at “{_short(_around(each))}”: a tag prints where Word"
                " shows no text."
            )
    return _Needs(
        printed=reader.printed,
        repeated=reader.repeated,
        tested=reader.tested,
        rings=frozenset(part.rings),
    )


def _in_our_words(error: TemplateSyntaxError) -> str:
    words = str(error.message)
    if "end of template" in words:
        return "It is opened but its {% endif %} or {% endfor %} is missing."
    return words.rstrip(".") + "."


def _opened_at(source: str) -> int | None:
    """The line of the innermost `if` or `for` that is not closed."""
    opened: list[int] = []
    line = 1
    position = 0
    for found in re.finditer(r"\{%[-+]?\s*(if|for|endif|endfor)\b", source):
        line += source.count("\n", position, found.start())
        position = found.start()
        if not found[1].startswith("end"):
            opened.append(line)
        elif opened:
            opened.pop()
    return opened[-1] if opened else None


@dataclass(slots=True, kw_only=True)
class _Reader:
    """Walks a part's tags, noting the fields they use and what they may not do."""

    part: _Part
    names: frozenset[str]
    printed: dict[str, str] = field(default_factory=dict)
    repeated: dict[str, str] = field(default_factory=dict)
    tested: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def read(self, node: nodes.Node, bound: frozenset[str] = frozenset()) -> None:
        match node:
            case nodes.Output():
                for child in node.nodes:
                    self._printed(child, bound)
            case nodes.For():
                self._loop(node, bound)
            case nodes.Name() | nodes.Getattr():
                self._name(node, bound, self.tested)
            case _ if not isinstance(node, _PERMITTED):
                self._refuse(
                    node,
                    "a tag may print a field, choose with if and repeat with for; this"
                    f" ({type(node).__name__.lower()}) is not permitted.",
                )
            case _:
                for child in node.iter_child_nodes():
                    self.read(child, bound)

    def _printed(self, node: nodes.Node, bound: frozenset[str]) -> None:
        match node:
            case nodes.Name() | nodes.Getattr():
                self._name(node, bound, self.printed)
            case nodes.CondExpr(test=test, expr1=first, expr2=second):
                self.read(test, bound)
                self._printed(first, bound)
                if second is not None:
                    self._printed(second, bound)
            case _:
                self.read(node, bound)

    def _loop(self, node: nodes.For, bound: frozenset[str]) -> None:
        if bound or node.recursive or not isinstance(node.target, nodes.Name):
            # Nested loops over a long text could take for ever.
            self._refuse(node, "a loop may not stand within a loop, and goes over one list.")
            return
        self._name(node.iter, bound, self.repeated)
        inner = bound | {node.target.name, "loop"}
        for child in [*node.body, *([node.test] if node.test is not None else [])]:
            self.read(child, inner)
        for child in node.else_:
            self.read(child, bound)

    def _name(self, node: nodes.Node, bound: frozenset[str], noted: dict[str, str]) -> None:
        steps: list[str] = []
        top = node
        while isinstance(top, nodes.Getattr):
            steps.insert(0, top.attr)
            top = top.node
        if not isinstance(top, nodes.Name):
            self._refuse(node, "only fields such as {{ authority }} or {{ upheld.percent }}.")
            return
        name = ".".join([top.name, *steps])
        if top.name in bound:
            if steps and not (top.name == "loop" and len(steps) == 1 and steps[0] in _LOOP):
                self._refuse(node, f"there is nothing called {name} in a loop.")
            return
        if name in self.names or (
            len(steps) == 1 and f"{top.name}.*" in self.names and not steps[0].startswith("_")
        ):
            noted.setdefault(name, self.part.at(node.lineno))
            return
        known = sorted(each for each in self.names if not each.endswith("*"))
        self._refuse(node, f"there is no field {name}{_meant(name, known)}")

    def _refuse(self, node: nodes.Node, why: str) -> None:
        self.faults.append(f"In {self.part.at(node.lineno)}: {why}")


def _meant(name: str, known: Collection[str]) -> str:
    below = [each for each in known if each.startswith(f"{name}.")]
    near = below or difflib.get_close_matches(name, known, n=3)
    return f"; did you mean {' or '.join(near[:3])}?" if near else "."


def _outline(tree: nodes.Template, part: _Part) -> str:
    """The document with every branch taken once, each having been seen to begin and end alike."""

    def text(children: Iterable[nodes.Node]) -> str:
        return "".join(one(child) for child in children)

    def branch(node: nodes.Node, children: Iterable[nodes.Node]) -> str:
        words = text(children)
        if not _leaves_whole(words):
            raise Misconfigured(
                f"In {part.at(node.lineno)}: what this tag switches on or repeats begins in one"
                " kind of place and ends in another; use {%p %} for both ends of it (each in a"
                " paragraph of its own), or for neither."
            )
        return words

    def one(node: nodes.Node) -> str:
        match node:
            case nodes.Output():
                return text(node.nodes)
            case nodes.TemplateData():
                return node.data
            case nodes.If():
                taken = branch(node, node.body)
                others = [branch(each, each.body) for each in node.elif_]
                return "".join([taken, *others, branch(node, node.else_)])
            case nodes.For():
                return branch(node, node.body) + branch(node, node.else_)
            case _:
                return "x"

    return text(tree.body)


def _leaves_whole(xml: str) -> bool:
    """Whether a stretch closes as many elements as it opens, and the same ones."""
    opened: list[str] = []
    closed: list[str] = []
    for found in _MARKUP.finditer(xml):
        closing, name, empty = found.groups()
        if empty:
            continue
        if not closing:
            opened.append(name)
        elif not opened:
            closed.append(name)
        elif opened.pop() != name:
            return False
    return opened == closed[::-1]


# Stamping.


def _rendered(template: Template, context: Mapping[str, Any]) -> str:
    try:
        return template.render(context)
    except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError) as error:
        raise LetterFault(f"The letter cannot be filled in: {str(error).rstrip('.')}.") from error


def _unquoted(words: str) -> str:
    for quoted, plain in (("{_{", "{{"), ("}_}", "}}"), ("{_%", "{%"), ("%_}", "%}")):
        words = words.replace(quoted, plain)
    return words


@dataclass(frozen=True, slots=True, kw_only=True)
class _Raw:
    """A part that every letter has alike: copied as it lay in the template."""

    name: str
    method: int
    crc: int
    size: int
    packed: bytes

    def content(self, _context: Mapping[str, Any]) -> tuple[int, int, int, bytes]:
        """Method, CRC-32, unpacked size and packed bytes."""
        return self.method, self.crc, self.size, self.packed


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stamped:
    """A part that is written for each letter."""

    name: str
    template: Template
    listings: DocxTemplate | None
    tables: bool

    def content(self, context: Mapping[str, Any]) -> tuple[int, int, int, bytes]:
        """Method, CRC-32, unpacked size and packed bytes.

        Stored, not deflated: packed bytes differ between versions of zlib, and a letter's docx
        must come out the same on every machine.
        """
        xml = _rendered(self.template, context)
        if self.listings is not None and ("\n" in xml or "\t" in xml):
            xml = self.listings.resolve_listing(xml)
        if self.listings is not None and self.tables:
            xml = etree.tostring(self.listings.fix_tables(xml), encoding="unicode")
        first, *others = xml.split(_DRAWING)
        numbered = (
            f':docPr id="{number}"{after}' for number, after in enumerate(others, _FIRST_DRAWING)
        )
        data = "".join([_DECLARATION, first, *numbered]).encode()
        return zipfile.ZIP_STORED, zlib.crc32(data), len(data), data


def _packed(members: "Iterable[tuple[_Raw | _Stamped, tuple[int, int, int, bytes]]]") -> bytes:
    """Write a zip file by hand: zipfile would unpack and pack again what only needs copying.

    Every part is dated 1 January 1980, the first day that zip knows.
    """
    written: list[bytes] = []
    directory: list[bytes] = []
    offset = 0
    for member, (method, crc, size, packed) in members:
        name = member.name.encode()
        flags = 0 if name.isascii() else 0x800
        about = struct.pack(
            "<5H3L2H", 20, flags, method, 0, 0x21, crc, len(packed), size, len(name), 0
        )
        written += [b"PK\x03\x04", about, name, packed]
        directory += [b"PK\x01\x02\x14\x00", about, struct.pack("<3H2L", 0, 0, 0, 0, offset), name]
        offset += 4 + len(about) + len(name) + len(packed)
    listing = b"".join(directory)
    count = len(directory) // 4
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, len(listing), offset, 0)
    return b"".join([*written, listing, end])


def _short(words: str, width: int = 70) -> str:
    words = " ".join(words.split())
    return words if len(words) <= width else f"{words[: width - 1].rstrip()}…"
