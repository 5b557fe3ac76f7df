"""The converter with a real LibreOffice: what it makes, and what it survives."""

import contextlib
import datetime as dt
import hashlib
import http.server
import io
import os
import re
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import docx
import pikepdf
import pypdfium2  # type: ignore[import-untyped]
import pytest
from docx.oxml.ns import qn

from pipeline.convert import Converter, Office, directory, find_office, finish
from pipeline.convert import office as finding
from pipeline.convert.fonts import missing
from pipeline.convert.rewriting import in_order
from pipeline.errors import LetterFault, Misconfigured, Unavailable

DAY = dt.datetime(2020, 7, 22, 9, 0, tzinfo=dt.timezone(dt.timedelta(hours=1)))


@pytest.fixture(scope="module")
def office() -> Office:
    return find_office()


@pytest.fixture(scope="module")
def raw(office: Office) -> bytes:
    """A PDF as LibreOffice made it."""
    with Converter(office, timeout=60) as converter:
        return converter.convert(letter("Hammersmith & Fulham"))


@pytest.fixture(autouse=True)
def _own_temporary_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def letter(text: str = "Stevenage Borough Council") -> bytes:
    document = docx.Document()
    document.core_properties.title = "Annual Review letter 2020"
    for language in document.styles.element.iter(qn("w:lang")):
        language.set(qn("w:val"), "en-GB")
    for fonts in document.styles.element.iter(qn("w:rFonts")):
        fonts.attrib.clear()
        fonts.set(qn("w:ascii"), "Liberation Sans")
    document.add_heading("Annual Review letter 2020", 1)
    document.add_paragraph(text)
    file = io.BytesIO()
    document.save(file)
    return file.getvalue()


def text_of(pdf: bytes) -> str:
    with pypdfium2.PdfDocument(pdf) as document:
        return "\n".join(page.get_textpage().get_text_range() for page in document)


def processes_about(directory: Path) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if str(directory).encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
    return found


def wait_until(true: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 60
    while not true():
        if time.monotonic() > deadline:
            pytest.fail(f"waited a minute in vain for: {what}")
        time.sleep(0.02)


def directories(root: Path) -> list[Path]:
    return sorted(root.glob("letters-*"))


def sockets_of(directory: Path) -> list[Path]:
    return [Path(line) for line in (directory / "sockets").read_text().splitlines()]


def office_pid(converter: Converter) -> int:
    assert converter.office_pid is not None
    return converter.office_pid


def test_makes_a_tagged_pdf_and_leaves_nothing_behind(office: Office, tmp_path: Path) -> None:
    with Converter(office, timeout=60) as converter:
        pdf = converter.convert(letter())
        (directory,) = directories(tmp_path)
        sockets = sockets_of(directory)
        assert sockets
        assert all(path.exists() for path in sockets)
        assert processes_about(directory)
    assert "Stevenage Borough Council" in text_of(pdf)
    with pikepdf.open(io.BytesIO(pdf)) as document:
        assert document.Root.MarkInfo.Marked
        assert str(document.Root.Lang) == "en-GB"
        assert document.Root.ViewerPreferences.DisplayDocTitle
    assert processes_about(directory) == []
    assert directories(tmp_path) == []
    assert not any(path.exists() for path in sockets)


def test_starts_by_itself_and_closes_twice(office: Office) -> None:
    converter = Converter(office, timeout=60)
    assert converter.convert(letter()).startswith(b"%PDF")
    converter.close()
    converter.close()
    assert converter.convert(letter()).startswith(b"%PDF")
    converter.close()


def test_the_same_docx_gives_the_same_bytes(office: Office) -> None:
    docx_bytes = letter("Hammersmith & Fulham")
    raw = []
    for _ in range(2):
        with Converter(office, timeout=60) as converter:
            raw.append(converter.convert(docx_bytes))
        second = int(time.time())
        wait_until(lambda second=second: int(time.time()) > second, "the next second")  # type: ignore[misc]
    assert raw[0] != raw[1]
    for way in (lambda pdf: pdf, rewritten):
        first, again = (finish(way(pdf), created=DAY, seed="seed") for pdf in raw)
        assert first == again
        assert finish(way(raw[0]), created=DAY, seed="other") != first


def test_objects_in_another_order_give_the_same_bytes(raw: bytes) -> None:
    """As LibreOffice's fonts are, from one of its processes to the next."""
    with pikepdf.open(io.BytesIO(raw)) as document:
        one, two, *_ = (
            str(held.objgen[0]).encode()
            for held in document.objects
            if isinstance(held, pikepdf.Dictionary) and "/FontDescriptor" in held
        )
    assert len(one) == len(two)
    swapped = re.sub(
        rb"\b(%b|%b) 0 (R|obj)\b" % (one, two),
        lambda found: (two if found[1] == one else one) + b" 0 " + found[2],
        raw,
    )
    assert swapped != raw
    assert in_order(swapped) == in_order(raw)


def test_finishing_keeps_the_pdf_whole(raw: bytes) -> None:
    finished = finish(raw, created=DAY, seed="seed")
    assert text_of(finished) == text_of(raw)
    with pikepdf.open(io.BytesIO(finished)) as document:
        assert document.check_pdf_syntax() == []
        assert str(document.docinfo.CreationDate).startswith("D:20200722080000Z")
        with document.open_metadata() as metadata:
            assert metadata["xmp:CreateDate"] == "2020-07-22T08:00:00Z"
            assert metadata["pdfaid:part"] == "2"
            assert metadata["pdfaid:conformance"] == "A"
        profile = document.Root.OutputIntents[0].DestOutputProfile.read_bytes()
    with pikepdf.open(io.BytesIO(raw)) as document:
        made = document.Root.OutputIntents[0].DestOutputProfile.read_bytes()
    assert profile[:24] == made[:24]
    assert profile[36:] == made[36:]
    # The check above can fail: one offset moved by one is seen.
    start = finished.index(b"xref\n0 ") + 60
    broken = finished[:start] + b"\n0000000007 00000 n" + finished[start + 19 :]
    with pikepdf.open(io.BytesIO(broken)) as document:
        assert document.check_pdf_syntax() != []


@pytest.mark.parametrize(
    ("there", "instead"),
    [(b"/Marked true", b"/Marked null"), (b"/ToUnicode ", b"/ToNothing "), (b"/Lang(", b"/Long(")],
)
def test_does_not_call_accessible_what_is_not(raw: bytes, there: bytes, instead: bytes) -> None:
    assert there in raw
    assert conformance(finish(raw, created=DAY, seed="seed")) == "A"
    assert conformance(finish(raw.replace(there, instead), created=DAY, seed="seed")) == "B"


def conformance(pdf: bytes) -> str:
    with pikepdf.open(io.BytesIO(pdf)) as document, document.open_metadata() as metadata:
        return str(metadata["pdfaid:conformance"])


def _drop_metadata(document: pikepdf.Pdf) -> None:
    del document.Root.Metadata


def _break_metadata(document: pikepdf.Pdf) -> None:
    document.Root.Metadata.write(b"<rdf:RDF>")


def _empty_metadata(document: pikepdf.Pdf) -> None:
    document.Root.Metadata.write(b"<nothing/>")


def rewritten(
    pdf: bytes,
    edit: Callable[[pikepdf.Pdf], None] = lambda document: None,  # noqa: ARG005
) -> bytes:
    """Give the same PDF as a LibreOffice nobody knows might write it: all its objects packed."""
    file = io.BytesIO()
    with pikepdf.open(io.BytesIO(pdf)) as document:
        edit(document)
        document.save(
            file,
            object_stream_mode=pikepdf.ObjectStreamMode.generate,
            fix_metadata_version=False,
        )
    return file.getvalue()


def stamps(pdf: bytes) -> list[str]:
    """Give everything in a finished PDF that would differ from export to export."""
    with pikepdf.open(io.BytesIO(pdf)) as document:
        assert document.check_pdf_syntax() == []
        dates = [str(date)[:17] for name, date in document.docinfo.items() if "Date" in name]
        said = document.Root.Metadata.read_bytes().decode()
        profile = document.Root.OutputIntents[0].DestOutputProfile.read_bytes()
        identifier = bytes(document.trailer.ID[0]).hex()
        checksum = str(document.trailer.get("/DocChecksum"))
        return [
            *dates,
            *re.findall(r"<xmp:\w+Date>([^<]*)<", said),
            hashlib.sha256(profile).hexdigest(),
            identifier,
            checksum,
            conformance(pdf),
        ]


def test_a_known_office_is_finished_in_place_and_an_unknown_one_by_rewriting(
    office: Office, raw: bytes
) -> None:
    finished = finish(raw, created=DAY, seed="seed")
    other = finish(rewritten(raw), created=DAY, seed="seed")
    newer = finish(
        raw.replace(b"LibreOffice 25.2.", b"LibreOffice 99.2."), created=DAY, seed="seed"
    )
    # Only the one that is taken apart has its streams packed anew.
    assert (len(finished) > len(newer)) == office.version.startswith("25.2.")
    assert stamps(finished) == stamps(other) == stamps(newer)
    assert stamps(finished)[0] == "D:20200722080000Z"
    assert text_of(finished) == text_of(other) == text_of(newer)
    assert finish(other, created=DAY, seed="seed") == other


@pytest.mark.parametrize(
    ("there", "instead"),
    [
        pytest.param(rb"/CreationDate\(D:\d{14}Z", b"/CreationDate(D:20200101000000+", id="date"),
        pytest.param(rb"/ID \[", b"/Id [", id="identifiers"),
        pytest.param(rb"/DocChecksum", b"/DocCheckSum", id="checksum"),
        pytest.param(rb"<xmp:CreateDate>\d{4}", b"<xmp:CreateDate>4 Ju", id="metadata's date"),
        pytest.param(rb"startxref\s+\d+", b"startxref\n0", id="no table"),
    ],
)
def test_one_byte_out_of_place_is_no_trouble(raw: bytes, there: bytes, instead: bytes) -> None:
    odd, count = re.subn(there, instead, raw)
    assert count == 1
    finished = finish(odd, created=DAY, seed="seed")
    with pikepdf.open(io.BytesIO(finished)) as document, document.open_metadata() as metadata:
        assert str(document.docinfo.CreationDate) == "D:20200722080000Z"
        assert metadata["xmp:CreateDate"] == "2020-07-22T08:00:00Z"
    assert text_of(finished) == text_of(raw)


def test_only_what_cannot_be_finished_is_a_fault_and_says_why(raw: bytes) -> None:
    for rubbish in (b"", b"%PDF-1.7\n%%EOF", raw[: len(raw) // 3]):
        with pytest.raises(LetterFault, match="cannot be finished"):
            finish(rubbish, created=DAY, seed="seed")
    for there, instead, why in (
        (b"<pdfuaid:part>1<", b"<pdfuaid:part>0<", "does not say that it is PDF/UA-1"),
        (b"<pdfaid:part>2<", b"<pdfaid:part>3<", "does not say that it is PDF/A-2"),
    ):
        assert there in raw
        with pytest.raises(LetterFault, match=why):
            finish(raw.replace(there, instead), created=DAY, seed="seed")
    for edit, why in (
        (_drop_metadata, "has no metadata"),
        (_break_metadata, "cannot be finished"),
        (_empty_metadata, "does not say that it is PDF/UA-1"),
    ):
        with pytest.raises(LetterFault, match=why):
            finish(rewritten(raw, edit), created=DAY, seed="seed")
    with pytest.raises(ValueError, match="aware"):
        finish(b"", created=DAY.replace(tzinfo=None), seed="seed")


def test_survives_an_office_killed_between_letters(office: Office) -> None:
    with Converter(office, timeout=60) as converter:
        before = office_pid(converter)
        converter.convert(letter())
        os.kill(before, signal.SIGKILL)
        assert "Watford" in text_of(converter.convert(letter("Watford")))
        assert office_pid(converter) != before


def test_survives_an_office_killed_at_work(office: Office, tmp_path: Path) -> None:
    with Converter(office, timeout=600) as converter:
        before = office_pid(converter)
        (directory,) = directories(tmp_path)
        os.kill(before, signal.SIGSTOP)  # so that it is at work for as long as this test wants

        def kill_at_work() -> None:
            wait_until((directory / "letter.docx").exists, "the letter to reach the office")
            os.kill(before, signal.SIGKILL)

        killer = threading.Thread(target=kill_at_work)
        killer.start()
        assert "Watford" in text_of(converter.convert(letter("Watford")))
        killer.join()
        assert office_pid(converter) != before


def test_survives_an_office_that_hangs(office: Office, tmp_path: Path) -> None:
    with Converter(office, timeout=5) as converter:
        before = office_pid(converter)
        os.kill(before, signal.SIGSTOP)
        assert "Watford" in text_of(converter.convert(letter("Watford")))
        assert office_pid(converter) != before
        (directory,) = directories(tmp_path)
        assert before not in processes_about(directory)


def test_survives_a_worker_that_hangs(office: Office, tmp_path: Path) -> None:
    with Converter(office, timeout=5) as converter:
        (directory,) = directories(tmp_path)
        before = processes_about(directory)
        for process in before:
            os.kill(process, signal.SIGSTOP)
        assert "Watford" in text_of(converter.convert(letter("Watford")))
        assert not set(before) & set(processes_about(directory))


def broken_letters() -> Iterator[tuple[str, bytes]]:
    whole = letter()
    yield "nothing", b""
    yield "rubbish", bytes(range(256)) * 40
    yield "half a zip", whole[: len(whole) // 2]
    other = io.BytesIO()
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("word/document.xml", "<not-a-letter/>")
    yield "a zip of something else", other.getvalue()


@pytest.mark.parametrize("broken", [pytest.param(data, id=name) for name, data in broken_letters()])
def test_a_broken_letter_is_set_aside_and_the_next_is_fine(office: Office, broken: bytes) -> None:
    with Converter(office, timeout=60) as converter:
        with pytest.raises(LetterFault):
            converter.convert(broken)
        assert "Watford" in text_of(converter.convert(letter("Watford")))


def test_a_letter_too_slow_twice_is_a_fault_that_says_so(office: Office) -> None:
    with (
        Converter(office, timeout=0.001) as converter,
        pytest.raises(LetterFault, match=r"failed twice .* no answer within 0\.001 seconds"),
    ):
        converter.convert(letter())


def test_an_office_is_replaced_after_its_share_of_letters(office: Office) -> None:
    with Converter(office, timeout=60, recycle_after=2) as converter:
        pids = []
        for _ in range(4):
            converter.convert(letter())
            pids.append(office_pid(converter))
    assert pids[0] == pids[1] != pids[2] == pids[3]


def test_a_forked_child_leaves_its_parents_office_alone(office: Office) -> None:
    with Converter(office, timeout=60) as converter:
        before = office_pid(converter)
        child = os.fork()
        if child == 0:
            converter.close()
            os._exit(0)
        os.waitpid(child, 0)
        assert converter.convert(letter()).startswith(b"%PDF")
        assert office_pid(converter) == before


class _Interrupted(BaseException):
    pass


def test_an_interrupted_letter_is_not_taken_for_the_next(office: Office, tmp_path: Path) -> None:
    def interrupt(*_: object) -> None:
        raise _Interrupted

    with Converter(office, timeout=600) as converter:
        (directory,) = directories(tmp_path)
        before = office_pid(converter)
        os.kill(before, signal.SIGSTOP)

        def signal_at_work() -> None:
            wait_until((directory / "letter.docx").exists, "the letter to reach the office")
            os.kill(os.getpid(), signal.SIGUSR1)

        former = signal.signal(signal.SIGUSR1, interrupt)
        signaller = threading.Thread(target=signal_at_work)
        signaller.start()
        try:
            with pytest.raises(_Interrupted):
                converter.convert(letter("Watford"))
        finally:
            signaller.join()
            signal.signal(signal.SIGUSR1, former)
        assert "Reading" in text_of(converter.convert(letter("Reading")))
        assert office_pid(converter) != before


OWNER = """
import sys, threading, time
from pathlib import Path
from pipeline.convert import Converter, find_office

def work():
    converter = Converter(find_office(), timeout=60)
    converter.convert(Path(sys.argv[1]).read_bytes())
    print("ready", flush=True)
    time.sleep(600)

if sys.argv[2] == "thread":
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
else:
    work()
"""


@pytest.mark.parametrize("where", ["main", "thread"])
def test_nothing_outlives_a_killed_owner(office: Office, tmp_path: Path, where: str) -> None:
    docx_file = tmp_path / "a.docx"
    docx_file.write_bytes(letter())
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, docx_file, where],
        stdout=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert owner.stdout is not None
    try:
        assert owner.stdout.readline() == b"ready\n"
        (directory,) = directories(tmp_path)
        assert len(processes_about(directory)) >= 2
    finally:
        owner.kill()
        owner.wait()
        owner.stdout.close()
    wait_until(lambda: not processes_about(directory), "worker and office to follow their owner")

    left = sockets_of(directory)
    with Converter(office, timeout=60):
        assert not directory.exists()
        assert not any(path.exists() for path in left)


def test_a_living_neighbours_directory_is_not_swept(office: Office) -> None:
    with Converter(office, timeout=60) as one, Converter(office, timeout=60) as two:
        pids = office_pid(one), office_pid(two)
        assert "Watford" in text_of(one.convert(letter("Watford")))
        assert "Reading" in text_of(two.convert(letter("Reading")))
        assert (office_pid(one), office_pid(two)) == pids


class Listening(http.server.ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.asked: list[str] = []


class Answering(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Listening)
        self.server.asked.append(self.path)
        self.send_error(404)

    do_HEAD = do_OPTIONS = do_PROPFIND = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


def letter_that_fetches(url: str) -> bytes:
    """Give a letter with a picture that is only linked to, as Word writes one."""
    source = io.BytesIO(letter())
    drawing = (
        '<w:p><w:r><w:drawing><wp:inline xmlns:wp="http://schemas.openxmlformats.org/drawingml/2006/'
        'wordprocessingDrawing"><wp:extent cx="635000" cy="635000"/><wp:docPr id="1" name="ring"/>'
        '<a:graphic xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main"><a:graphicData '
        'uri="http://schemas.openxmlformats.org/drawingml/2006/picture"><pic:pic xmlns:pic="http://'
        'schemas.openxmlformats.org/drawingml/2006/picture"><pic:nvPicPr><pic:cNvPr id="1" '
        'name="ring"/><pic:cNvPicPr/></pic:nvPicPr><pic:blipFill><a:blip xmlns:r="http://schemas.'
        'openxmlformats.org/officeDocument/2006/relationships" r:link="rIdFar"/><a:stretch>'
        '<a:fillRect/></a:stretch></pic:blipFill><pic:spPr><a:xfrm><a:off x="0" y="0"/><a:ext '
        'cx="635000" cy="635000"/></a:xfrm><a:prstGeom prst="rect"/></pic:spPr></pic:pic>'
        "</a:graphicData></a:graphic></wp:inline></w:drawing></w:r></w:p>"
    )
    relationship = (
        '<Relationship Id="rIdFar" Type="http://schemas.openxmlformats.org/officeDocument/2006/'
        f'relationships/image" Target="{url}" TargetMode="External"/>'
    )
    made = io.BytesIO()
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(made, "w") as new:
        for name in old.namelist():
            part = old.read(name)
            if name == "word/document.xml":
                part = part.replace(b"<w:body>", b"<w:body>" + drawing.encode())
            if name == "word/_rels/document.xml.rels":
                part = part.replace(
                    b"</Relationships>", relationship.encode() + b"</Relationships>"
                )
            new.writestr(name, part)
    return made.getvalue()


def test_nothing_a_letter_links_to_is_fetched(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Listening()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        linking = letter_that_fetches(f"http://127.0.0.1:{server.server_port}/ring.png")
        with Converter(office, timeout=60) as converter:
            assert converter.convert(linking).startswith(b"%PDF")
        assert server.asked == []
        # It is the profile's settings that see to it: without them the picture is asked for.
        monkeypatch.setattr(directory, "SETTINGS", {})
        with Converter(office, timeout=60) as converter:
            converter.convert(linking)
        assert "/ring.png" in server.asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_an_office_that_cannot_start_is_unavailable_and_says_what_it_said(
    office: Office, tmp_path: Path
) -> None:
    wrong = Office(program=Path("/bin/false"), python=office.python, version="0.0")
    with (
        pytest.raises(
            Unavailable,
            match=r"exit code 1 before it could be reached\. Install it again, .* again\.$",
        ),
        Converter(wrong, timeout=60),
    ):
        pass
    assert directories(tmp_path) == []


def test_an_office_that_hangs_at_its_start_is_ended(office: Office, tmp_path: Path) -> None:
    (tmp_path / "soffice.bin").write_text("#!/bin/sh\nexec sleep 600\n")
    (tmp_path / "soffice.bin").chmod(0o755)
    hanging = Office(program=tmp_path / "soffice.bin", python=office.python, version="0.0")
    converter = Converter(hanging, timeout=60, start_timeout=1)
    with pytest.raises(Unavailable, match=r"no answer within 1 seconds\. It last said: nothing\."):
        converter.convert(letter())
    (directory,) = directories(tmp_path)
    assert processes_about(directory) == []
    converter.close()
    assert directories(tmp_path) == []


def fontconfig(folder: Path, *families: str) -> str:
    """Give a fontconfig that knows these of this machine's fonts and no others."""
    fonts = folder / "fonts"
    fonts.mkdir()
    for family in families:
        found = subprocess.run(
            ["fc-list", f":family={family}", "file"], capture_output=True, text=True, check=True
        )
        for line in found.stdout.splitlines():
            file = Path(line.rstrip(": "))
            (fonts / file.name).symlink_to(file)
    file = folder / "fonts.conf"
    file.write_text(
        '<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig>'
        f"<dir>{fonts}</dir><cachedir>{folder}/cache</cachedir></fontconfig>"
    )
    return str(file)


def test_a_letter_is_not_set_in_another_font(
    office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FONTCONFIG_FILE", fontconfig(tmp_path, "Liberation Mono"))
    with Converter(office, timeout=60) as converter:
        with pytest.raises(
            Misconfigured,
            match=r"^The letters are set in Liberation Sans, which this machine does not have: "
            r"their lines .* \(apt install fonts-liberation\).* a font that is here\.$",
        ):
            converter.convert(letter())
        other = letter_in("Liberation Mono")
        assert b"LiberationMono" in converter.convert(other)


def test_without_any_font_nothing_is_made(
    office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FONTCONFIG_FILE", fontconfig(tmp_path))
    with pytest.raises(Misconfigured, match=r"no fonts at all\. Install the Liberation fonts"):
        Converter(office, timeout=60).convert(letter())


def letter_in(*fonts: str) -> bytes:
    """Give a letter with a paragraph in each font; its styles name fonts that nothing is set in."""
    document = docx.Document()
    for font in fonts:
        document.add_paragraph().add_run(f"Words in {font}").font.name = font
    document.add_paragraph("   ")
    file = io.BytesIO()
    document.save(file)
    return file.getvalue()


def styled() -> bytes:
    """Give a letter in its styles' own fonts, which are the theme's."""
    document = docx.Document()
    document.add_heading("In the font of headings", 1)
    document.add_paragraph("In the font of the body")
    file = io.BytesIO()
    document.save(file)
    return file.getvalue()


@pytest.mark.parametrize(
    ("written", "there", "lacking"),
    [
        (letter(), ["Liberation Sans"], []),
        (letter(), ["liberation sans"], []),
        (letter(), ["DejaVu Sans"], ["Liberation Sans"]),
        (letter_in("Arial", "Gill Sans"), ["Liberation Sans"], ["Gill Sans"]),
        (letter_in("Arial", "Gill Sans"), ["Arial", "Gill Sans"], []),
        (letter_in("Arial", "Gill Sans"), [], ["Arial", "Gill Sans"]),
        (letter_in("Times New Roman"), ["Liberation Sans"], ["Times New Roman"]),
        (letter_in("Times New Roman"), ["Liberation Serif"], []),
        (styled(), ["Carlito", "Caladea"], []),
        (styled(), [], ["Calibri", "Cambria"]),
        (b"PK no docx at all", [], []),
        (letter()[:2000], [], []),
    ],
)
def test_the_fonts_that_words_are_set_in(
    written: bytes, there: list[str], lacking: list[str]
) -> None:
    assert missing(written, there) == lacking


def test_a_font_that_the_letter_brings_along_is_there() -> None:
    made = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(letter_in("Gill Sans"))) as old,
        zipfile.ZipFile(made, "w") as new,
    ):
        for name in old.namelist():
            part = old.read(name)
            if name == "word/fontTable.xml":
                part = part.replace(
                    b"</w:fonts>",
                    b'<w:font w:name="Gill Sans"><w:embedRegular/></w:font></w:fonts>',
                )
            new.writestr(name, part)
    assert missing(made.getvalue(), []) == []


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("exit 3", "does not tell its version: it ended with exit code 3, and it said nothing."),
        ("echo one; echo two >&2; exit 1", "it ended with exit code 1, and it said “two”."),
        ("echo rubbish", "does not tell its version: it said “rubbish”."),
        ("kill -SEGV $$", "it ended with exit code -11, and it said nothing."),
        (
            None,
            "does not tell its version: it cannot be run (Permission denied), and it said nothing.",
        ),
    ],
)
def test_an_office_that_does_not_answer_is_named_with_what_it_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None, expected: str
) -> None:
    program = tmp_path / "soffice.bin"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755 if script else 0o644)
    monkeypatch.setenv("LETTERS_SOFFICE", str(program))
    with pytest.raises(Misconfigured) as raised:
        find_office()
    said = str(raised.value)
    assert f"{program} does not tell its version: " in said
    assert expected in said
    assert said.endswith("in the environment variable LETTERS_SOFFICE.")


def test_the_version_is_not_taken_from_what_else_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, script in (
        (
            "soffice.bin",
            "echo '(process:7): GLib-CRITICAL **: 10:11:43.148: no such thing' >&2\n"
            "echo 'LibreOffice 25.2.3.2 520(Build:2)'",
        ),
        ("python", "echo uno"),
    ):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("LETTERS_SOFFICE", str(tmp_path))
    assert find_office().version == "25.2.3.2"


def test_a_python_without_the_bridge_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, script in (
        ("soffice.bin", "echo LibreOffice 25.2.3"),
        ("python", "echo No module uno; exit 1"),
    ):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("LETTERS_SOFFICE", str(tmp_path))
    monkeypatch.setattr(finding, "PYTHON", tmp_path / "no python")
    with pytest.raises(
        Misconfigured, match=r"no Python .* exit code 1, and it said “No module uno”"
    ):
        find_office()


def test_a_missing_office_is_for_a_person_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LETTERS_SOFFICE", str(tmp_path))
    with pytest.raises(Misconfigured, match="libreoffice-writer-nogui python3-uno"):
        find_office()


def test_an_office_named_by_its_program_is_found(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LETTERS_SOFFICE", str(office.program))
    assert find_office() == office
