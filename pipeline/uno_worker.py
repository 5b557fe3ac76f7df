"""Drive one LibreOffice for `convert`: read docx, answer PDF, over standard input and output.

Run by the distribution's own Python, the only one that `import uno` works in, and so restricted to
the standard library and uno; it is never imported by the rest of the package.

    python3 -I uno_worker.py OWNER_PID TIE SOFFICE_BIN DIRECTORY [KEEPER...]

OWNER_PID is the process that started this one; TIE is `tied` when the kernel may kill this process
the moment the owner's starting thread ends, else `free`; DIRECTORY is a private one with the
office's profile in it; KEEPER is the command that the office is started by, if it is to be kept
apart from the machine, and DIRECTORY/tmp is there if that is to be the office's /tmp. A frame is
one letter for its kind, four bytes of length (big-endian), then the content:

    in   C  a docx
    in   S  a docx whose rings are to be drawn as those of a kept document are (`_settle`)
    in   L  a document to keep loaded: a line of JSON (`Kept`), then a docx with marks in it
    in   V  what a kept document is to hold, as JSON (`Kept.export`), to be exported
    in   X  the number of a kept document that is wanted no more
    out  R  the office is up; the content is its process id, then a line for each font it has
    out  P  the PDF of the docx last read, or of the values
    out  K  the document is kept, or no longer
    out  N  why it cannot be kept, as text; nothing else is wrong
    out  F  why there is no PDF, as text

Everything else that LibreOffice or Python says goes to standard error. The worker leads a process
group of its own; it kills that group when its input ends, when its owner is gone, or when the
office is, so that nothing outlives the process that wanted it.
"""

import contextlib
import ctypes
import itertools
import json
import os
import queue
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import uno  # type: ignore[import-not-found]  # of the distribution's Python, not of the package's
from com.sun.star.beans import PropertyValue  # type: ignore[import-not-found]
from com.sun.star.beans.PropertyState import DIRECT_VALUE  # type: ignore[import-not-found]
from com.sun.star.connection import NoConnectException  # type: ignore[import-not-found]
from com.sun.star.drawing import (  # type: ignore[import-not-found]
    EnhancedCustomShapeAdjustmentValue as AdjustmentValue,
)
from com.sun.star.uno import Exception as UnoException  # type: ignore[import-not-found]

FIRST_START = 81
"""What soffice.bin exits with once it has laid out a new profile; it wants to be started again."""
STARTS = 4
"""How many times the office is started before it is given up."""
PR_SET_PDEATHSIG = 1
GROUP = "com.sun.star.drawing.GroupShape"
CUSTOM = "com.sun.star.drawing.CustomShape"
PR_SET_CHILD_SUBREAPER = 36

LOAD = {
    "Hidden": True,
    "ReadOnly": True,  # also: a lock left behind by a killed office does not matter
    "UpdateDocMode": 0,  # NO_UPDATE
    "MacroExecutionMode": 0,  # NEVER_EXECUTE
    # Named, so that LibreOffice does not guess: guessed, random bytes become a text document.
    "FilterName": "MS Word 2007 XML",
}
EXPORT = {
    "PDFUACompliance": True,
    "UseTaggedPDF": True,
    "SelectPdfVersion": 2,  # PDF/A-2; without it the links are not described as PDF/UA wants them
    "ExportBookmarks": True,  # from the headings
    "ExportNotes": False,
    "ExportFormFields": False,
    "DisplayPDFDocumentTitle": True,
    "ReduceImageResolution": False,
    "UseLosslessCompression": True,
}


def main() -> None:
    """Start the office, then turn every docx read into an answer until the input ends."""
    owner, tie, program, directory = int(sys.argv[1]), sys.argv[2], sys.argv[3], Path(sys.argv[4])
    if tie == "tied":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # What the office was started with may be gone before the office is; it is waited for here then.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # whatever prints must not land among the frames
    office = Office(program, directory, owner, sys.argv[5:])
    office.start()
    _send(answers, b"R", "\n".join([str(office.pid()), *office.fonts()]).encode())
    letters: queue.SimpleQueue[tuple[bytes, bytes]] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(letters, owner, office), daemon=True).start()
    threading.Thread(target=_end_with, args=(office,), daemon=True).start()
    while True:
        kind, content = letters.get()
        try:
            answer, said = office.answer(kind, content)
        except NotKept as fault:
            _send(answers, b"N", str(fault).encode())
        except (UnoException, OSError, ValueError, KeyError) as fault:
            _send(answers, b"F", f"{type(fault).__name__}: {fault}".encode())
        else:
            _send(answers, answer, said)


class NotKept(Exception):
    """A document cannot be kept to have its words exchanged; says why, as a clause."""


class Office:
    """One soffice.bin on its own profile, and the connection to it."""

    def __init__(self, program: str, directory: Path, owner: int, keeper: "list[str]") -> None:
        self.program = program
        self.directory = directory
        self.owner = owner
        self.keeper = keeper
        self.process: subprocess.Popen[bytes]
        self.context: Any = None
        self.desktop: Any = None
        self.kept: dict[int, Kept] = {}

    def answer(self, kind: bytes, content: bytes) -> "tuple[bytes, bytes]":
        """Do what one frame asks for; answer the kind and the content of the frame to send."""
        if kind == b"C":
            return b"P", self.convert(content)
        if kind == b"S":
            return b"P", self.convert(content, settle=True)
        if kind == b"L":
            line, _, docx = content.partition(b"\n")
            asked = json.loads(line)
            self.kept[asked["number"]] = Kept(self._load(docx), asked["slots"])
            return b"K", b""
        if kind == b"V":
            asked = json.loads(content)
            kept = self.kept[asked["number"]]
            kept.fill({int(slot): value for slot, value in asked["values"].items()})
            return b"P", self._export(kept.document)
        if kind == b"X":
            self.kept.pop(int(content)).document.close(True)
            return b"K", b""
        raise ValueError(f"a frame of the kind {kind!r} is not known")

    def start(self) -> None:
        """Start soffice.bin and connect to it; exits this process, saying why, if it cannot."""
        for _ in range(STARTS):
            code = self._start_once()
            if code is None:
                return
            _say(f"soffice.bin ended with exit code {code} before it could be reached.")
            if code != FIRST_START:
                break
        sys.exit(1)

    def _start_once(self) -> "int | None":
        pipe = self._pipe()
        libc = ctypes.CDLL(None)  # loaded here, so that the child has nothing to import

        def die_with_worker() -> None:
            # Holds through exec. It fires when the worker's main thread ends, that is, the worker.
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

        self.process = subprocess.Popen(  # noqa: S603  (no shell; every part is ours)
            [
                *self.keeper,
                self.program,
                *("--headless", "--invisible", "--nologo", "--nodefault", "--norestore"),
                *("--nolockcheck", "--nofirststartwizard"),
                f"--accept=pipe,name={pipe};urp;",
                "-env:UserInstallation=" + (self.directory / "profile").as_uri(),
            ],
            stdin=subprocess.DEVNULL,
            preexec_fn=die_with_worker,  # noqa: PLW1509  (no thread runs yet)
        )
        resolver = uno.getComponentContext().ServiceManager.createInstance(
            "com.sun.star.bridge.UnoUrlResolver"
        )
        context: Any = None
        for look in itertools.count():
            self._show_sockets()
            if look % 10 == 0:  # one that is killed before it can be reached has sockets too
                self._note_sockets()
            try:
                context = resolver.resolve(f"uno:pipe,name={pipe};urp;StarOffice.ComponentContext")
                break
            except NoConnectException:
                code = self.process.poll()
                if code is not None:
                    return code
                if os.getppid() != self.owner:
                    self.end()
                time.sleep(0.02)
        self._note_sockets()
        self.context = context
        self.desktop = context.ServiceManager.createInstanceWithContext(
            "com.sun.star.frame.Desktop", context
        )
        return None

    def _note_sockets(self) -> None:
        # A killed office leaves its sockets in /tmp (no setting moves them); who clears up after
        # it reads here which they were.
        if self._has_own_tmp():
            return
        held = set()
        try:
            pid = self.pid()
            table = Path(f"/proc/{pid}/net/unix").read_text(encoding="utf-8")
            for link in Path(f"/proc/{pid}/fd").glob("*"):
                with contextlib.suppress(OSError):  # closed between the listing and the look
                    held.add(str(link.readlink()))
        except OSError:
            return  # it has ended already
        paths = [
            line.split()[7]
            for line in table.splitlines()[1:]
            if len(line.split()) == 8 and f"socket:[{line.split()[6]}]" in held
        ]
        (self.directory / "sockets").write_text("\n".join(sorted(set(paths))), encoding="utf-8")

    def _has_own_tmp(self) -> bool:
        return (self.directory / "tmp").is_dir()

    def _show_sockets(self) -> None:
        # The bridge looks for sockets in /tmp, where those of an office with a /tmp of its own are
        # not; a symbolic link will do.
        if not self._has_own_tmp():
            return
        for socket in (self.directory / "tmp").glob("OSL_PIPE_*" + self._pipe()):
            link = Path("/tmp", socket.name)  # noqa: S108  (the name is as good as random)
            if not link.is_symlink():
                (self.directory / "sockets").write_text(str(link), encoding="utf-8")
                link.symlink_to(socket)

    def _pipe(self) -> str:
        # The name must be this office's own: the sockets of all lie side by side in /tmp.
        return "letters_" + self.directory.name.replace("-", "_")

    def pid(self) -> int:
        """Answer the process id of soffice.bin itself, which may run under what keeps it apart."""
        parents = {}
        for entry in Path("/proc").glob("[0-9]*/stat"):
            try:
                told = entry.read_text(encoding="utf-8", errors="replace")
            except OSError:
                continue  # it ended between the listing and the look
            parents[int(told.rpartition(")")[2].split()[1])] = int(entry.parent.name)
        pid = self.process.pid
        program = self.program.encode()
        while pid in parents:
            if Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0] == program:
                break
            pid = parents[pid]  # what keeps it apart has but this child
        return pid

    def fonts(self) -> "list[str]":
        """Answer the families of the fonts that LibreOffice itself finds."""
        toolkit = self.context.ServiceManager.createInstanceWithContext(
            "com.sun.star.awt.Toolkit", self.context
        )
        device = toolkit.createScreenCompatibleDevice(1, 1)
        return sorted({font.Name for font in device.FontDescriptors})

    def convert(self, docx: bytes, *, settle: bool = False) -> bytes:
        """Answer the PDF of one docx; raises when LibreOffice will not load or export it."""
        document = self._load(docx)
        try:
            if settle:
                _settle(document)
            return self._export(document)
        finally:
            document.close(True)

    def _load(self, docx: bytes) -> Any:
        # Files, not UNO streams: the two were measured and files are 7% faster.
        source = self.directory / "letter.docx"
        source.write_bytes(docx)
        document = self.desktop.loadComponentFromURL(
            source.as_uri(), "_blank", 0, _properties(LOAD)
        )
        if document is None:
            raise ValueError("LibreOffice cannot load it as a Word document")
        return document

    def _export(self, document: Any) -> bytes:
        target = self.directory / "letter.pdf"
        target.unlink(missing_ok=True)
        filter_data = uno.Any("[]com.sun.star.beans.PropertyValue", _properties(EXPORT))
        document.storeToURL(
            target.as_uri(),
            (
                *_properties({"FilterName": "writer_pdf_Export"}),
                PropertyValue(Name="FilterData", Value=filter_data),
            ),
        )
        return target.read_bytes()

    def end(self) -> None:
        """Kill the office, take its exit code so that no zombie stays, and kill this group."""
        self.process.kill()
        self.wait()
        os.killpg(0, signal.SIGKILL)

    def wait(self) -> int:
        """Wait for the office to end, and answer its exit code."""
        code = self.process.wait()
        with contextlib.suppress(ChildProcessError):
            while self.keeper:  # that has ended, and all that it kept is dying with it
                os.wait()
        return code


class Kept:
    """A document that stays loaded while letters of one shape go through it.

    `slots` are what letters may differ in, as `pipeline.convert.shape` tells them, in the order of
    the document: number, kind, mark (of a text), drawing and part (of a drawing's), value (what
    the docx has there) and after (the number of the text slot that this one may adjoin, or null).
    """

    def __init__(self, document: Any, slots: "list[dict[str, Any]]") -> None:
        self.document = document
        self.slots = {slot["number"]: slot for slot in slots}
        self.values = {slot["number"]: slot["value"] for slot in slots}
        self.places: dict[int, Any] = {}
        self.restyled: dict[int, str] = {}
        self.geometries: dict[str, Any] = {}
        self.shown: dict[int, str] = {}
        try:
            self.properties = document.DocumentProperties
            self.changed = self.properties.ModificationDate
            _settle(document)
            drawings = self._drawings()
            found = self._found()
            for number, slot in self.slots.items():
                if slot["kind"] == "text":
                    if len(found.get(slot["mark"], [])) != 1:
                        raise NotKept("a text that letters differ in is not found just once")
                    self.places[number] = found[slot["mark"]][0]
                    self.values[number] = slot["mark"]
                elif slot["kind"] != "title":
                    self.places[number] = self._drawing(drawings, slot)
            styles = {
                number: _style(self.places[number])
                for number, slot in self.slots.items()
                if slot["kind"] == "text"
            }
            for number, style in styles.items():
                self._try_text(number, style)
        except BaseException:
            document.close(True)
            raise

    def fill(self, values: "dict[int, str]") -> None:
        """Put a letter's values where they belong, in the order of the document."""
        # Laid out once, when all is there.
        self.document.lockControllers()
        try:
            for number, value in sorted(values.items()):
                if self.values[number] != value:
                    # Unknown until it is done: a fault half way must not pass for the value.
                    self.values[number] = ""
                    self._put(number, value)
                    self.values[number] = value
        finally:
            self.document.unlockControllers()
        # The PDF repeats when it was changed: that is to be as the docx says, if it does.
        self.properties.ModificationDate = self.changed
        self.document.setModified(False)

    def _put(self, number: int, value: str) -> None:
        kind = self.slots[number]["kind"]
        if kind == "text":
            self._put_text(number, value)
        elif kind == "title":
            self.properties.Title = value
        elif kind == "alternative":
            self.places[number].Description = value
        else:
            preset, angles = json.loads(value)
            if preset != json.loads(self.shown.get(number, '[""]'))[0]:
                self.places[number].CustomShapeGeometry = self.geometries[preset]
            _bend(self.places[number], angles)
            self.shown[number] = value

    def _put_text(self, number: int, value: str) -> None:
        place = self.places[number]
        place.setString(value)
        if number in self.restyled:
            _restyle(place, self.restyled[number])
        before = self.slots[number]["after"]
        if before is not None:
            # What ended where this begins has grown by it.
            earlier = self.places[before]
            earlier.collapseToStart()
            earlier.goRight(_units(self.values[before]), True)

    def _try_text(self, number: int, style: "tuple[str, str]") -> None:
        # A text put in the place of a whole run takes on the look of what stands before it.
        self._put_text(number, "x")
        self.values[number] = "x"
        place = self.places[number]
        if _style(place) != style:
            self.restyled[number] = style[0]
            _restyle(place, style[0])
        if _style(place) != style or place.getString() != "x":
            raise NotKept(
                f"text in the look of “{style[0] or 'plain text'}” does not keep its look"
            )

    def _found(self) -> "dict[str, list[Any]]":
        wanted = self.document.createSearchDescriptor()
        wanted.SearchString = "Q7z[0-9]+z7Q"
        wanted.SearchRegularExpression = True
        wanted.SearchCaseSensitive = True
        found = self.document.findAll(wanted)
        places: dict[str, list[Any]] = {}
        for at in range(found.Count):
            place = found.getByIndex(at)
            cursor = place.getText().createTextCursorByRange(place)
            places.setdefault(cursor.getString(), []).append(cursor)
        return places

    def _drawings(self) -> "dict[str, list[Any]]":
        page = self.document.DrawPage
        drawings: dict[str, list[Any]] = {}
        for at in range(page.Count):
            drawing = page.getByIndex(at)
            drawings.setdefault(drawing.Name, []).append(drawing)
            if drawing.ShapeType == GROUP:
                for part in range(drawing.Count):
                    self._learn(drawing.getByIndex(part))
        return drawings

    def _learn(self, shape: Any) -> None:
        if shape.ShapeType == CUSTOM:
            geometry = shape.CustomShapeGeometry
            for each in geometry:
                if each.Name == "Type":
                    self.geometries.setdefault(each.Value.removeprefix("ooxml-"), geometry)

    def _drawing(self, drawings: "dict[str, list[Any]]", slot: "dict[str, Any]") -> Any:
        found = drawings.get(slot["drawing"], [])
        if len(found) != 1:
            raise NotKept(f"a drawing that letters differ in is found {len(found)} times")
        place = found[0]
        if slot["part"] >= 0:
            place = place.getByIndex(slot["part"])
        if slot["kind"] == "ring":
            had = [[each.Name, each.Value] for each in _adjustments(place)]
            self.shown[slot["number"]] = slot["value"]
            if had != json.loads(slot["value"])[1]:
                raise NotKept("a drawing's angles are not those of the docx")
        elif place.Description != slot["value"]:
            raise NotKept("an alternative text is not that of the docx")
        return place


def _style(place: Any) -> "tuple[str, str]":
    return place.CharStyleName, place.CharAutoStyleName


def _restyle(place: Any, name: str) -> None:
    if name:
        place.setPropertyValue("CharStyleName", name)
    else:
        place.setPropertyToDefault("CharStyleName")


def _adjustments(shape: Any) -> "tuple[Any, ...]":
    for each in shape.CustomShapeGeometry:
        if each.Name == "AdjustmentValues":
            return tuple(each.Value)
    return ()


def _settle(document: Any) -> None:
    """Set the angles of all grouped shapes to what they are.

    A shape whose angles were set since it was loaded is drawn up to a twentieth of a point
    otherwise than one as it was loaded, and the same bytes are wanted either way.
    """
    page = document.DrawPage
    for at in range(page.Count):
        drawing = page.getByIndex(at)
        if drawing.ShapeType == GROUP:
            for part in range(drawing.Count):
                shape = drawing.getByIndex(part)
                if shape.ShapeType == CUSTOM:
                    _bend(shape, [(each.Name, each.Value) for each in _adjustments(shape)])


def _bend(shape: Any, angles: "list[tuple[str, int]]") -> None:
    values = []
    for name, angle in angles:
        value = AdjustmentValue()
        value.Name, value.Value, value.State = name, angle, DIRECT_VALUE
        values.append(value)
    geometry = list(shape.CustomShapeGeometry)
    for at, each in enumerate(geometry):
        if each.Name == "AdjustmentValues":
            typed = uno.Any(
                "[]com.sun.star.drawing.EnhancedCustomShapeAdjustmentValue", tuple(values)
            )
            geometry[at] = PropertyValue(Name=each.Name, Value=typed)
    shape.CustomShapeGeometry = tuple(geometry)


def _units(text: str) -> int:
    """How far a cursor goes over a text: LibreOffice counts in UTF-16."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _properties(values: "dict[str, Any]") -> "tuple[Any, ...]":
    return tuple(PropertyValue(Name=name, Value=value) for name, value in values.items())


def _say(sentence: str) -> None:
    sys.stderr.write(sentence + "\n")
    sys.stderr.flush()


def _send(answers: Any, kind: bytes, content: bytes) -> None:
    frame = memoryview(kind + struct.pack(">I", len(content)) + content)
    while frame:
        frame = frame[answers.write(frame) :]


def _read(letters: "queue.SimpleQueue[tuple[bytes, bytes]]", owner: int, office: Office) -> None:
    # A thread of its own, so that the end of the input is seen while the office is at work. The
    # owner is looked for too: a process forked from it may hold the other end of the input open.
    data = bytearray()
    while True:
        if not select.select([0], [], [], 1.0)[0]:
            if os.getppid() != owner:
                office.end()
            continue
        part = os.read(0, 1 << 16)
        if not part:
            office.end()
        data += part
        while len(data) >= 5:
            length = struct.unpack(">I", data[1:5])[0]
            if len(data) < 5 + length:
                break
            letters.put((bytes(data[:1]), bytes(data[5 : 5 + length])))
            del data[: 5 + length]


def _end_with(office: Office) -> None:
    code = office.wait()
    _say(f"soffice.bin ended with exit code {code}.")
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
