"""The package: a docx file is a zip file of parts that point at each other.

Nothing is believed of it: it is read within limits, and whatever could run, or fetch something from
elsewhere when it is opened, is refused.
"""

import io
import posixpath
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final, NoReturn
from urllib.parse import unquote, urlsplit

from lxml import etree

from pipeline.errors import Misconfigured
from pipeline.template.flaw import Flaw, Kind, Place
from pipeline.template.noting import one_thing
from pipeline.template.stamping import Raw
from pipeline.template.vocabulary import MEBIBYTE, WORD_TYPE, W, named, short

MAX_FILE: Final = 20 * MEBIBYTE
_MAX_PART: Final = 32 * MEBIBYTE
_MAX_UNPACKED: Final = 64 * MEBIBYTE
# A tree of elements takes some thirty times the memory of its text.
_MAX_XML_PART: Final = 4 * MEBIBYTE
_MAX_XML: Final = 8 * MEBIBYTE
_MAX_PARTS: Final = 1000
_MAX_RATIO: Final = 200  # looked at only in parts large enough to matter
_COMPOUND_FILE: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_LISTED: Final = b"PK\x01\x02"  # before each entry of a zip file's list
# By its first bytes: LibreOffice goes by these too, whatever a part is called.
_OTHER_FILES: Final = {
    b"%PDF": "a PDF",
    b"{\\rtf": "a Rich Text file (.rtf)",
    b"<": "an XML or HTML file",
    b"\xef\xbb\xbf<": "an XML or HTML file",
}
_PICTURE: Final = re.compile(
    rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|GIF8[79]a|BM.{4}\0\0\0\0|II\*\0|MM\0\*"
    rb"|\x01\0\0\0.{36} EMF|\xd7\xcd\xc6\x9a|[\x01\x02]\0\x09\0\0[\x01\x03]",
    re.DOTALL,
)
_OTHER_CONTENT: Final = frozenset(
    {
        "application/vnd.openxmlformats-officedocument.obfuscatedfont",
        "application/x-fontdata",
        "application/x-font-ttf",
        f"{WORD_TYPE}printersettings".lower(),
    }
)
_ENCODINGS: Final = frozenset({"", "utf-8", "utf-16", "utf-16le", "utf-16be", "us-ascii", "ascii"})
_CONTENT_TYPES: Final = "[Content_Types].xml"
_PACKAGE_RELATIONSHIPS: Final = "_rels/.rels"
_REL: Final = "{http://schemas.openxmlformats.org/package/2006/relationships}"
_TYPES: Final = "{http://schemas.openxmlformats.org/package/2006/content-types}"
_MAIN_TYPE: Final = f"{WORD_TYPE}document.main+xml"
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
_UNREADABLE: Final = (
    zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, OSError, RuntimeError,
    ValueError, struct.error, OverflowError,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class _Member:
    """One file of the package: unpacked, and packed as it lay there."""

    name: str
    method: int
    crc: int
    data: bytes
    packed: bytes

    def raw(self) -> "Raw":
        """Return what a letter copies."""
        return Raw(
            name=self.name,
            method=self.method,
            crc=self.crc,
            size=len(self.data),
            packed=self.packed,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """The parts of a docx file that was found to be one and to hold nothing active."""

    members: tuple[_Member, ...]
    trees: Mapping[str, etree._Element]
    main: str
    core: str | None
    types: Mapping[str, str]

    @classmethod
    def read(cls, data: bytes) -> "Package":
        """Unpack and check a file; raise `Misconfigured` if it is not a sound Word document."""
        members = _members(data)
        by_name = {member.name: member for member in members}
        if _CONTENT_TYPES not in by_name or _PACKAGE_RELATIONSHIPS not in by_name:
            raise Misconfigured(_not_a_document("", by_name))
        types = _types(_parsed(by_name[_CONTENT_TYPES]), by_name)
        _refuse_macros(types)
        texts = [member for member in members if _is_xml(member.name, types[member.name])]
        _refuse_large_texts(texts)
        trees = {member.name: _parsed(member) for member in texts}
        pictures = set()
        for member in members:
            with one_thing():
                if member.name not in trees and _is_picture(member, types[member.name]):
                    pictures.add(member.name)
        main = core = None
        for name in trees:
            if not name.lower().endswith(".rels"):
                continue
            for kind, target in relationships(name, trees, types):
                with one_thing():
                    if kind == "image" and target not in pictures:
                        raise Flaw(
                            Kind.FETCHED,
                            f"The template shows {short(target)} as a picture,",
                            "insert it again as PNG or JPEG",
                            place=Place(said=named(source_of(name)), part=source_of(name)),
                            rest=", but it is none",
                        )
                if name == _PACKAGE_RELATIONSHIPS and kind == "officeDocument":
                    main = target
                elif name == _PACKAGE_RELATIONSHIPS and kind == "core-properties":
                    core = target
        if main is None or types.get(main) != _MAIN_TYPE or main not in trees:
            raise Misconfigured(_not_a_document(types.get(main or "", ""), by_name))
        if trees[main].tag != f"{W}document":
            raise Misconfigured(
                "The template was saved as “Strict Open XML Document”; save it from Word as"
                " “Word Document (.docx)”."
            )
        return cls(members=members, trees=trees, main=main, core=core, types=types)


def _members(data: bytes) -> tuple[_Member, ...]:
    _refuse_other_files(data)
    if data.count(_LISTED) > _MAX_PARTS:  # before zipfile makes an object of each
        raise Misconfigured(
            f"The template is a zip file of more than {_MAX_PARTS} parts, and a letter has about"
            " twenty; make it anew in Word."
        )
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            _refuse_strange_entries(entries)
            return tuple(_member(data, entry) for entry in entries)
    except _UNREADABLE as error:
        raise Misconfigured(
            f"The template is damaged or not a Word document ({error}); open it in Word and save"
            " it again as “Word Document (.docx)”, or take an earlier copy."
        ) from error


def _refuse_other_files(data: bytes) -> None:
    if not data:
        raise Misconfigured(
            "The template is empty (0 bytes), not a Word document; put an earlier copy in its"
            " place."
        )
    if data.startswith(_COMPOUND_FILE):
        if "EncryptedPackage".encode("utf-16-le") in data:
            raise Misconfigured(
                "The template is protected with a password, so that it cannot be read; take the"
                " password off in Word (File > Info > Protect Document > Encrypt with Password)."
            )
        raise Misconfigured(
            "The template is in Word's old format (.doc) or another old format; save it from Word"
            " as “Word Document (.docx)”, without a password."
        )
    if len(data) > MAX_FILE:
        raise Misconfigured(
            f"The template is larger than {MAX_FILE // MEBIBYTE} MB; use smaller pictures (Picture"
            " Format > Compress Pictures)."
        )
    for start, what in _OTHER_FILES.items():
        if data.startswith(start):
            raise Misconfigured(
                f"The template is {what}, not a Word document; save it from Word as “Word"
                " Document (.docx)”."
            )


def _refuse_strange_entries(entries: list[zipfile.ZipInfo]) -> None:
    if len(entries) > _MAX_PARTS or sum(entry.file_size for entry in entries) > _MAX_UNPACKED:
        raise Misconfigured(
            f"The template unpacks to more than {_MAX_PARTS} parts or"
            f" {_MAX_UNPACKED // MEBIBYTE} MB; make it anew in Word."
        )
    seen: set[str] = set()
    for entry in entries:
        name = entry.filename
        steps = unquote(name).split("/")
        if name.lower() in seen:
            raise Misconfigured(
                f"The template holds the part {short(name)} twice, so that programs could read"
                " different letters in it; make it anew in Word."
            )
        if (
            name != entry.orig_filename
            or ".." in steps
            or "." in steps
            or "" in steps
            or re.search(r'[\\:*?"<>|\x00-\x1f]', unquote(name))
        ):
            raise Misconfigured(
                f"The template holds a part with a name no Word document has: {short(name)!r};"
                " make it anew in Word."
            )
        if entry.flag_bits & 0x1:
            raise Misconfigured(
                f"The template's part {short(name)} is encrypted; save the file from Word without a"
                " password."
            )
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise Misconfigured(
                f"The template's part {short(name)} is packed in a way Word never uses; open the"
                " file in Word and save it again."
            )
        if entry.file_size > _MAX_PART or (
            entry.file_size > MEBIBYTE and entry.file_size > _MAX_RATIO * entry.compress_size
        ):
            raise Misconfigured(
                f"The template's part {short(name)} unpacks to an unlikely size; make it anew in"
                " Word."
            )
        seen.add(name.lower())


def _member(data: bytes, entry: zipfile.ZipInfo) -> _Member:
    """Unpack one part by hand: zipfile would unpack all of it before it sees that a size lies."""
    start = entry.header_offset
    mark, name, extra = struct.unpack_from("<4s22x2H", data, start)
    start += 30 + name + extra
    packed = data[start : start + entry.compress_size]
    if mark != b"PK\x03\x04" or len(packed) != entry.compress_size:
        raise zipfile.BadZipFile(f"{short(entry.filename)} is cut off")
    unpacked, whole = packed, True
    if entry.compress_type == zipfile.ZIP_DEFLATED:
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        unpacked = inflater.decompress(packed, entry.file_size + 1)
        whole = inflater.eof and not inflater.unused_data
    if not whole or len(unpacked) != entry.file_size:
        raise zipfile.BadZipFile(f"{short(entry.filename)} has another size than it says")
    if zlib.crc32(unpacked) != entry.CRC:
        raise zipfile.BadZipFile(f"{short(entry.filename)} has another checksum than it says")
    return _Member(
        name=entry.filename,
        method=entry.compress_type,
        crc=entry.CRC,
        data=unpacked,
        packed=packed,
    )


def _is_xml(name: str, kind: str) -> bool:
    return name.lower().endswith((".xml", ".rels", ".vml")) or kind.lower().endswith("xml")


def _is_picture(member: _Member, kind: str) -> bool:
    """Whether a part is a picture; raise `Misconfigured` if it is no picture and no font either."""
    start = member.data[:4096]
    if _PICTURE.match(start) and b"<svg" not in start.lower():
        return True
    if kind.lower() in _OTHER_CONTENT or not member.data:
        return False
    raise Flaw(
        Kind.OBJECT,
        "The template holds a file that is no text, no font and no picture of a permitted kind"
        f" ({short(member.name)})",
        "delete it in Word, or insert the picture again as PNG or JPEG",
    )


def _refuse_large_texts(texts: Iterable[_Member]) -> None:
    total = 0
    for member in texts:
        total += len(member.data)
        if len(member.data) > _MAX_XML_PART or total > _MAX_XML:
            raise Misconfigured(
                f"The template has more text than any letter, in {named(member.name)}; copy its"
                " words into a new document in Word."
            )


def _parsed(member: _Member) -> etree._Element:
    parser = etree.XMLParser(
        remove_blank_text=True,
        remove_comments=True,
        remove_pis=True,
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
    )
    # Nulls are dropped so that UTF-16 is seen through.
    declared = b"<!DOCTYPE" in member.data.replace(b"\0", b"")
    try:
        tree = None if declared else etree.fromstring(member.data, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise Misconfigured(
            f"The template's part {member.name} ({named(member.name)}) is damaged ({error}); open"
            " it in Word and save it again, or take an earlier copy."
        ) from error
    if tree is None or tree.getroottree().docinfo.internalDTD is not None:
        raise Misconfigured(
            f"The template's part {member.name} has a document type declaration, which Word never"
            " writes; make it anew in Word."
        )
    encoding = tree.getroottree().docinfo.encoding or ""
    if encoding.lower() not in _ENCODINGS:
        raise Misconfigured(
            f"The template's part {member.name} is written in {encoding}, which Word never"
            " does; open it in Word and save it again."
        )
    return tree


def _types(tree: etree._Element, names: Collection[str]) -> dict[str, str]:
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
        with one_thing():
            _refuse_active(name, f"{name} {kind}".lower())


def _refuse_active(name: str, words: str) -> None:
    if "vba" in words or "macroenabled" in words:
        raise Flaw(
            Kind.OBJECT,
            "The template holds macros",
            "save it from Word as “Word Document (.docx)”, which leaves them out",
        )
    if "activex" in words or "oleobject" in words:
        raise Flaw(
            Kind.OBJECT,
            f"The template holds a control or embedded object ({name})",
            "delete it in Word",
        )
    if "svg" in words:
        raise Flaw(
            Kind.FETCHED,
            f"The template holds an SVG picture ({name}), which may fetch things from elsewhere",
            "insert it as PNG or EMF",
        )


def source_of(name: str) -> str:
    """The part whose relationships these are; nothing for the package's own."""
    folder, _, file = name.rpartition("/")
    return posixpath.join(posixpath.dirname(folder), file.removesuffix(".rels"))


def relationships(
    name: str, trees: Mapping[str, etree._Element], types: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Yield the kind and the target of what a part points at within the package."""
    source = source_of(name)
    for each in trees[name].iter(f"{_REL}Relationship"):
        with one_thing():
            pointer = _pointer(each, source, trees, types)
            if pointer is not None:
                yield pointer


def _pointer(
    each: etree._Element,
    source: str,
    trees: Mapping[str, etree._Element],
    types: Mapping[str, str],
) -> tuple[str, str] | None:
    """One of them; None for a link, which leads out of the document and was looked at."""
    kind = str(each.get("Type", "")).rpartition("/")[2]
    target = str(each.get("Target", ""))
    base = posixpath.dirname(source)
    inside = target[1:] if target.startswith("/") else posixpath.join(base, target)
    inside = posixpath.normpath(inside)
    external = str(each.get("TargetMode", "")).strip().lower() == "external"
    where_used = partial(_where_used, str(each.get("Id", "")), source, trees)
    if kind == "hyperlink":
        # A link within the document should lead to a place in it, but not every program asks.
        if external or inside not in types:
            refuse_link(target, where_used)
        return None
    if external:
        _refuse_external(kind, target, where_used())
    if kind in _ACTIVE:
        raise Flaw(
            Kind.OBJECT,
            f"The template holds {_ACTIVE[kind]} ({short(target)})",
            "delete it in Word",
            place=where_used(),
            rest="",
        )
    if inside not in types:
        raise Flaw(
            Kind.OTHER,
            f"The template's part {source or 'list'} points at {short(target)}, which is not in"
            " the file",
            "open it in Word and save it again",
        )
    return kind, inside


def _where_used(rel_id: str, source: str, trees: Mapping[str, etree._Element]) -> Place:
    """Where a part uses one of its relationships, in Word's terms."""
    said = named(source)
    tree = trees.get(source)
    # By XPath: who lists every flaw asks this of thousands of links
    found: list[etree._Element] = []
    if tree is not None and rel_id:
        found = tree.xpath("//*[@*=$id]", id=rel_id)  # type: ignore[assignment]
    for element in found:
        if any("relationships}" in key and v == rel_id for key, v in element.attrib.items()):
            return Place(said=said, part=source, words=words_around(element), element=element)
    return Place(said=said, part=source)


def words_around(element: etree._Element) -> str:
    """The words of the paragraph that an element is in."""
    for each in (element, *element.iterancestors()):
        if each.tag == f"{W}p":
            return "".join(text.text or "" for text in each.iter(f"{W}t", f"{W}delText"))
    return ""


def _refuse_external(kind: str, target: str, where: Place) -> NoReturn:
    what = _LINKED.get(kind, f"something linked ({kind})")
    raise Flaw(
        Kind.FETCHED,
        f"The template fetches {what} from elsewhere ({short(target)})",
        "put it into the document, or break the link (File > Info > Edit Links to Files; for a"
        " template, Developer > Document Template)",
        place=where,
        rest="",
    )


def refuse_link(target: str, where: Callable[[], Place]) -> None:
    """Raise `Flaw` for a link to anything but a web page or an email address."""
    if target.startswith("#"):
        return
    try:
        scheme = urlsplit(target).scheme.lower()
    except ValueError:
        scheme = ""
    if scheme not in _SCHEMES:
        raise Flaw(
            Kind.LINK,
            f"The template's link to {short(target)!r}",
            "change it in Word (right-click > Edit Link)",
            place=where(),
            rest=" does not start with https:, http: or mailto:",
        )


def _not_a_document(kind: str, names: Collection[str]) -> str:
    if "template.main" in kind:
        what = "a Word template (.dotx)"
    elif "spreadsheetml" in kind or "presentationml" in kind:
        what = "a workbook or a presentation"
    elif "mimetype" in names:
        what = "an OpenDocument file (.odt)"
    else:
        what = "a zip file but not a Word document, or its main part is missing"
    return f"The template is {what}; save it from Word as “Word Document (.docx)”."


def heading_styles(package: Package) -> set[str]:
    """The styles that make a heading: with an outline level, their own or inherited."""
    found: set[str] = set()
    children: dict[str, list[str]] = {}
    for name, kind in package.types.items():
        if kind != f"{WORD_TYPE}styles+xml":
            continue
        for style in package.trees[name].iter(f"{W}style"):
            own = str(style.get(f"{W}styleId", ""))
            level = style.find(f"{W}pPr/{W}outlineLvl")
            if level is not None and str(level.get(f"{W}val")) in "012345678":
                found.add(own)
            based = style.find(f"{W}basedOn")
            if based is not None:
                children.setdefault(str(based.get(f"{W}val")), []).append(own)
    waiting = list(found)
    while waiting:
        for child in children.get(waiting.pop(), []):
            if child not in found:
                found.add(child)
                waiting.append(child)
    return found
