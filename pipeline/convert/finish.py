"""Make a LibreOffice's PDF final: the same bytes from the same docx, and marked as what it is."""

import datetime as dt
import functools
import hashlib
import re
import zlib

from pipeline.convert.rewriting import PROFILE_DATE, in_order, rewrite

# Checked to need nothing but what is set here: docs/decisions/0006-libreoffice-versions.md.
_KNOWN = re.compile(rb"<pdf:Producer>LibreOffice 25\.2\.")
_DATE = re.compile(rb"/(?:CreationDate|ModDate)\(D:(\d{14}Z)'?\)")
_XMP_DATE = re.compile(
    rb"<xmp:(?:CreateDate|ModifyDate|MetadataDate)>(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)<"
)
_ID = re.compile(rb"/ID ?\[ ?<([0-9A-Fa-f]{32})>\s*<([0-9A-Fa-f]{32})> ?\]")
_CHECKSUM = re.compile(rb"/DocChecksum ?/([0-9A-Fa-f]{32})")
_CONFORMANCE = re.compile(rb"<pdfaid:part>2</pdfaid:part>\s*<pdfaid:conformance>([AB])<")
_MARKS = (
    b"/MarkInfo<</Marked true>>",
    b"/StructTreeRoot ",
    b"/Lang(",
    b"/DisplayDocTitle true",
    b"<pdfuaid:part>1<",
)
_PROFILE = re.compile(rb"<</N 3/Length (\d+) 0 R/Filter/FlateDecode>>\s*stream\r?\n")
_XREF = re.compile(rb"(\d{10}) \d{5} n")
_START = re.compile(rb"startxref\s+(\d+)\s+%%EOF\s*$")


def finish(pdf: bytes, *, created: dt.datetime, seed: str) -> bytes:
    """Answer the PDF with its dates and identifiers set, the same bytes from the same docx.

    `created` (aware) becomes every date in it; `seed`, best the SHA-256 of the docx, decides /ID
    and the checksum. A PDF that is tagged, in a stated language, with every font mapped to
    Unicode, is also marked PDF/A-2A, where LibreOffice writes 2B whatever it holds.

    In the PDF of a LibreOffice that is known and whose bytes stand where they are known to stand,
    they are set in place. Any other is taken apart and written anew, and what is known of older
    versions' faults is mended (see `rewriting`). Then the objects are put in order.
    "The same bytes" supposes the same LibreOffice, fonts, zlib and pikepdf.
    Raises `LetterFault` when the PDF cannot be read, or is not the PDF/UA and PDF/A-2 asked for.
    """
    if created.tzinfo is None:
        raise ValueError("created must be aware")
    utc = created.astimezone(dt.UTC)
    digest = hashlib.sha256(seed.encode()).hexdigest().upper()
    patched = _patched(pdf, utc, digest.encode())
    return in_order(rewrite(pdf, utc, digest) if patched is None else patched)


def _patched(pdf: bytes, utc: dt.datetime, digest: bytes) -> bytes | None:
    """Set bytes where they stand; None when that could leave anything unset or untrue."""
    if not _KNOWN.search(pdf) or not _visibly_accessible(pdf):
        return None
    patches = [
        # The pattern, every place where it must fit, and what its groups become.
        (_DATE, rb"/(?:Creation|Mod)Date\b", [utc.strftime("%Y%m%d%H%M%SZ").encode()]),
        (_XMP_DATE, rb"<xmp:\w+Date\b", [utc.strftime("%Y-%m-%dT%H:%M:%SZ").encode()]),
        (_ID, rb"/ID ?\[ ?<", [digest[:32], digest[:32]]),
        (_CHECKSUM, rb"/DocChecksum\b", [digest[32:]]),
        (_CONFORMANCE, rb"<pdfaid:conformance>", [b"A"]),
    ]
    patched = bytearray(pdf)
    for pattern, place, values in patches:
        matches = list(pattern.finditer(pdf))
        if not matches or len(matches) != len(re.findall(place, pdf)):
            return None
        for match in matches:
            for group, value in enumerate(values, start=1):
                patched[match.start(group) : match.end(group)] = value
    return _with_timeless_profile(bytes(patched))


def _visibly_accessible(pdf: bytes) -> bool:
    # LibreOffice writes these objects uncompressed. A CID font has its mapping in its parent.
    fonts = pdf.count(b"/Type/Font/Subtype/") - pdf.count(b"/Type/Font/Subtype/CIDFont")
    return all(mark in pdf for mark in _MARKS) and pdf.count(b"/ToUnicode ") >= fonts


def _with_timeless_profile(pdf: bytes) -> bytes | None:
    """Take the time of its making out of the colour profile, which is compressed.

    Its length changes by a byte or two with the time, so what follows it moves. None where there
    is not just one profile, followed by its length and a cross-reference table.
    """
    streams = list(_PROFILE.finditer(pdf))
    start = _START.search(pdf)
    if len(streams) != 1 or start is None or pdf[int(start[1]) :][:4] != b"xref":
        return None
    stream = streams[0]
    length = re.compile(rb"\n%b 0 obj\s+(\d+)\s+endobj" % stream[1]).search(pdf, stream.end())
    if length is None:
        return None
    end = stream.end() + int(length[1])
    try:
        profile = bytearray(zlib.decompress(pdf[stream.end() : end]))
    except zlib.error:
        return None
    profile[24:36] = PROFILE_DATE
    packed = _packed(bytes(profile))
    written = str(len(packed)).encode()
    table = int(start[1])
    # Three places change, in this order; the offsets after each move by what it grew.
    moves = [
        (end, len(packed) - (end - stream.end())),
        (length.end(), len(written) - len(length[1])),
    ]

    def moved(place: int) -> int:
        return place + sum(by for after, by in moves if place >= after)

    return b"".join(
        [
            pdf[: stream.end()],
            packed,
            pdf[end : length.start(1)],
            written,
            pdf[length.end(1) : table],
            _XREF.sub(
                lambda entry: b"%010d" % moved(int(entry[1])) + entry[0][10:],
                pdf[table : start.start()],
            ),
            pdf[start.start() : start.start(1)],
            str(moved(table)).encode(),
            pdf[start.end(1) :],
        ]
    )


@functools.lru_cache(maxsize=4)
def _packed(profile: bytes) -> bytes:
    return zlib.compress(profile, 9)
