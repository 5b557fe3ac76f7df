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
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from lxml import etree

from pipeline.errors import Misconfigured
from pipeline.template.stamping import Raw
from pipeline.template.vocabulary import MEBIBYTE, WORD_TYPE, W

_MAX_FILE: Final = 20 * MEBIBYTE
_MAX_PART: Final = 32 * MEBIBYTE
_MAX_UNPACKED: Final = 64 * MEBIBYTE
_MAX_PARTS: Final = 1000
_MAX_RATIO: Final = 200  # looked at only in parts large enough to matter
_COMPOUND_FILE: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
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
            for kind, target in relationships(name, trees, types):
                if name == _PACKAGE_RELATIONSHIPS and kind == "officeDocument":
                    main = target
                elif name == _PACKAGE_RELATIONSHIPS and kind == "core-properties":
                    core = target
        if main is None or types.get(main) != _MAIN_TYPE or main not in trees:
            raise Misconfigured(_not_a_document(types.get(main or "", "")))
        if trees[main].tag != f"{W}document":
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
            f"The template is larger than {_MAX_FILE // MEBIBYTE} MB; use smaller pictures."
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
            f" {_MAX_UNPACKED // MEBIBYTE} MB; make it anew in Word."
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
            entry.file_size > MEBIBYTE and entry.file_size > _MAX_RATIO * entry.compress_size
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


def relationships(
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
        refuse_link(target)
        return
    what = _LINKED.get(kind, f"something linked ({kind})")
    raise Misconfigured(
        f"The template fetches {what} from elsewhere ({target}, in {source}); put it into the"
        " document, or break the link (File > Info > Edit Links to Files; for a template,"
        " Developer > Document Template)."
    )


def refuse_link(target: str) -> None:
    """Raise `Misconfigured` for a link to anything but a web page or an email address."""
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
