"""Finish a PDF by reading and writing it anew, where its bytes cannot be set in place.

Any LibreOffice's PDF can be finished so. What older ones leave undone is mended on the way, by
what the PDF holds and not by its version, so that a PDF that needs nothing gets nothing:

* 7.4 draws paragraphs' borders outside all tags; PDF/UA wants decoration marked as an artefact
  (ISO 14289-1, 7.1).
* 7.4 writes the tab order as a string where a name is wanted (7.18.3).
* 7.4 does not describe the property that says PDF/UA, which PDF/A wants (ISO 19005-2, 6.6.2.3.1).
* 7.4 makes a figure of each shape in a group, so that a screen reader says a ring twice.
"""

import datetime as dt
import io
import struct
from collections.abc import Iterator, Sequence

import pikepdf
from lxml import etree
from pikepdf import Array, Dictionary, Name

from pipeline.errors import LetterFault

PROFILE_DATE = struct.pack(">6H", 2000, 1, 1, 0, 0, 0)
"""What stands for the time of its making in a colour profile's header (ICC.1, 7.2: bytes 24-35)."""

_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
_XMP = "{http://ns.adobe.com/xap/1.0/}"
_PDFA = "{http://www.aiim.org/pdfa/ns/id/}"
_PDFUA = "{http://www.aiim.org/pdfua/ns/id/}"
_SCHEMA = "{http://www.aiim.org/pdfa/ns/schema#}"

_PACKET = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n', '\n<?xpacket end="w"?>'
_DESCRIBED = """
<rdf:Description rdf:about="" xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"
    xmlns:pdfaExtension="http://www.aiim.org/pdfa/ns/extension/"
    xmlns:pdfaSchema="http://www.aiim.org/pdfa/ns/schema#"
    xmlns:pdfaProperty="http://www.aiim.org/pdfa/ns/property#">
  <pdfaExtension:schemas><rdf:Bag><rdf:li rdf:parseType="Resource">
    <pdfaSchema:schema>PDF/UA identification schema</pdfaSchema:schema>
    <pdfaSchema:namespaceURI>http://www.aiim.org/pdfua/ns/id/</pdfaSchema:namespaceURI>
    <pdfaSchema:prefix>pdfuaid</pdfaSchema:prefix>
    <pdfaSchema:property><rdf:Seq><rdf:li rdf:parseType="Resource">
      <pdfaProperty:name>part</pdfaProperty:name>
      <pdfaProperty:valueType>Integer</pdfaProperty:valueType>
      <pdfaProperty:category>internal</pdfaProperty:category>
      <pdfaProperty:description>PDF/UA version identifier</pdfaProperty:description>
    </rdf:li></rdf:Seq></pdfaSchema:property>
  </rdf:li></rdf:Bag></pdfaExtension:schemas>
</rdf:Description>
"""

_DRAW = {"m", "l", "c", "v", "y", "h", "re"}
_CLIP = {"W", "W*"}
_BEGIN = pikepdf.ContentStreamInstruction([Name.Artifact], pikepdf.Operator("BMC"))
_END = pikepdf.ContentStreamInstruction([], pikepdf.Operator("EMC"))

_Instruction = pikepdf.ContentStreamInstruction | pikepdf.ContentStreamInlineImage


def rewrite(pdf: bytes, utc: dt.datetime, digest: str) -> bytes:
    """Answer the PDF with its dates set to `utc` and its identifiers from `digest` (64 hex digits).

    Raises `LetterFault` when it cannot be read, or does not say it is PDF/UA and PDF/A-2.
    """
    finished = io.BytesIO()
    try:
        with pikepdf.open(io.BytesIO(pdf)) as document:
            accessible = _is_accessible(document)
            if accessible:
                _mend(document)
            _set_metadata(document, utc, accessible)
            _set_trailer(document, utc, digest)
            for intent in document.Root.get("/OutputIntents", Array()):
                _take_time_out(intent.get("/DestOutputProfile"))
            document.save(finished, deterministic_id=True, fix_metadata_version=False)
    except (
        pikepdf.PdfError,
        etree.LxmlError,
        ValueError,
        TypeError,
        AttributeError,
        KeyError,
        RecursionError,
    ) as fault:
        raise LetterFault(
            f"The PDF that LibreOffice made of this letter cannot be finished: {fault}."
            " Open its docx to see what sets it apart."
        ) from fault
    return finished.getvalue()


def in_order(pdf: bytes) -> bytes:
    """Answer the PDF with its objects in the order in which they are referred to.

    LibreOffice embeds the fonts in an order that differs from one of its processes to the next.
    Only objects are moved and numbered anew; streams stay as they are packed.
    """
    ordered = io.BytesIO()
    with pikepdf.open(io.BytesIO(pdf)) as document:
        document.save(
            ordered,
            deterministic_id=True,
            fix_metadata_version=False,
            compress_streams=False,
            object_stream_mode=pikepdf.ObjectStreamMode.disable,
        )
    return ordered.getvalue()


def _is_accessible(document: pikepdf.Pdf) -> bool:
    root = document.Root
    return (
        "/StructTreeRoot" in root
        and bool(root.get("/MarkInfo", Dictionary()).get("/Marked", False))
        and bool(root.get("/ViewerPreferences", Dictionary()).get("/DisplayDocTitle", False))
        and str(root.get("/Lang", "")) != ""
        and all("/ToUnicode" in font for font in _fonts(document))
    )


def _fonts(document: pikepdf.Pdf) -> Iterator[pikepdf.Object]:
    """Every font; not the halves of composite ones, whose wholes hold the mapping."""
    for held in document.objects:
        if (
            isinstance(held, Dictionary)
            and held.get("/Type") == Name.Font
            and not str(held.get("/Subtype", "")).startswith("/CIDFont")
        ):
            yield held


def _set_metadata(document: pikepdf.Pdf, utc: dt.datetime, accessible: bool) -> None:
    stream = document.Root.get("/Metadata")
    if stream is None:
        raise ValueError("it has no metadata, which would say that it is PDF/UA and PDF/A-2")
    parser = etree.XMLParser(resolve_entities=False, no_network=True)
    top = etree.fromstring(stream.read_bytes(), parser)
    rdf = top if top.tag == _RDF + "RDF" else top.find(f".//{_RDF}RDF")
    if rdf is None or _said(rdf, _PDFUA + "part") != "1":
        raise ValueError("it does not say that it is PDF/UA-1")
    if _said(rdf, _PDFA + "part") != "2":
        raise ValueError("it does not say that it is PDF/A-2")
    if accessible:
        _say(rdf, _PDFA + "conformance", "A")
    for name in ("CreateDate", "ModifyDate", "MetadataDate"):
        _say(rdf, _XMP + name, utc.strftime("%Y-%m-%dT%H:%M:%SZ"))
    if not any(prefix.text == "pdfuaid" for prefix in rdf.iter(_SCHEMA + "prefix")):
        rdf.append(etree.fromstring(_DESCRIBED, parser))
    before, after = _PACKET
    document.Root.Metadata = document.make_stream(
        f"{before}{etree.tostring(top, encoding='unicode', with_tail=False)}{after}".encode(),
        Type=Name.Metadata,
        Subtype=Name.XML,
    )


def _said(rdf: etree._Element, name: str) -> str | None:
    """What the metadata says of a property, which may be an element or an attribute."""
    for each in rdf.findall(_RDF + "Description"):
        said = each.get(name, each.findtext(name))
        if said is not None:
            return said.strip()
    return None


def _say(rdf: etree._Element, name: str, value: str) -> None:
    """Set a property wherever it stands, and nothing where it does not."""
    for each in rdf.findall(_RDF + "Description"):
        if name in each.attrib:
            each.set(name, value)
        for element in each.findall(name):
            element.text = value


def _set_trailer(document: pikepdf.Pdf, utc: dt.datetime, digest: str) -> None:
    if "/Info" in document.trailer:
        for name in ("/CreationDate", "/ModDate"):
            if name in document.docinfo:
                document.docinfo[name] = pikepdf.String(utc.strftime("D:%Y%m%d%H%M%SZ"))
    # Its second half is made when it is saved, from what is saved.
    document.trailer["/ID"] = Array([pikepdf.String(bytes.fromhex(digest[:32]))] * 2)
    if "/DocChecksum" in document.trailer:
        document.trailer["/DocChecksum"] = Name("/" + digest[32:])


def _take_time_out(profile: pikepdf.Object | None) -> None:
    if isinstance(profile, pikepdf.Stream):
        header = bytearray(profile.read_bytes())
        header[24:36] = PROFILE_DATE
        profile.write(bytes(header))


def _mend(document: pikepdf.Pdf) -> None:
    for page in document.pages:
        if "/Annots" in page.obj and page.obj.get("/Tabs") != Name.S:
            page.obj["/Tabs"] = Name.S
        marked = _with_borders_marked(pikepdf.parse_content_stream(page))
        if marked is not None:
            page.obj["/Contents"] = document.make_stream(pikepdf.unparse_content_stream(marked))
    _join_figures(document)


def _with_borders_marked(instructions: Sequence[_Instruction]) -> list[_Instruction] | None:
    """Every line and area drawn outside all tags made an artefact; None if there is none.

    Nothing else does: text or a picture outside all tags would be lost to a screen reader, and is
    left for a validator to find.
    """
    marked: list[_Instruction] = []
    path: list[_Instruction] = []
    depth = 0
    found = False
    for instruction in instructions:
        operator = str(instruction.operator)
        if operator in _DRAW or (path and operator in _CLIP):
            path.append(instruction)
            continue
        if path:  # this one paints it, or with n only clips
            outside = depth == 0 and operator != "n"
            found = found or outside
            marked += [_BEGIN, *path, instruction, _END] if outside else [*path, instruction]
            path = []
            continue
        depth += (operator in {"BMC", "BDC"}) - (operator == "EMC")
        marked.append(instruction)
    return marked if found else None


def _join_figures(document: pikepdf.Pdf) -> None:
    tree = document.Root.StructTreeRoot
    if "/ParentTree" not in tree or "/K" not in tree:
        return
    parents = pikepdf.NumberTree(tree.ParentTree)
    waiting: list[pikepdf.Object] = [tree]
    while waiting:
        parent = waiting.pop()
        held = parent.get("/K", Array())
        children = list(held) if isinstance(held, Array) else [held]
        kept: list[pikepdf.Object] = []
        for child in children:
            if kept and _same_figure(kept[-1], child) and _take_over(kept[-1], child, parents):
                continue
            kept.append(child)
            if isinstance(child, Dictionary) and "/S" in child:
                waiting.append(child)
        if isinstance(held, Array) and len(kept) < len(children):
            parent["/K"] = Array(kept)


def _same_figure(one: pikepdf.Object, other: pikepdf.Object) -> bool:
    return (
        isinstance(one, Dictionary)
        and isinstance(other, Dictionary)
        and one.get("/S") == other.get("/S") == Name.Figure
        and "/Alt" in one
        and str(one.Alt) == str(other.get("/Alt", ""))
        and "/Pg" in one
        and one.get("/Pg") == other.get("/Pg")
    )


def _take_over(first: pikepdf.Object, second: pikepdf.Object, parents: pikepdf.NumberTree) -> bool:
    """Make what is drawn for the second figure a part of the first; False where that is not plain.

    What is drawn finds its tag through the tree of parents, so that has to know it too.
    """
    marks = list(second.K) if isinstance(second.K, Array) else [second.K]
    own = list(first.K) if isinstance(first.K, Array) else [first.K]
    if not all(isinstance(mark, int) for mark in [*own, *marks]):
        return False
    drawn = parents[int(first.Pg.StructParents)]
    for mark in marks:
        drawn[int(mark)] = first
    first.K = Array([*own, *marks])
    return True
