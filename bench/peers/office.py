"""One LibreOffice and nothing else: the least that a conversion costs, run for `bench.peers.floor`.

    /usr/bin/python3 -I office.py SOFFICE_BIN FOLDER NUMBER plain|fast

Run by the distribution's own Python, the only one that can `import uno`, and so restricted to the
standard library and uno. `plain` loads, exports and closes FOLDER/NUMBER/*.docx. `fast` loads
FOLDER/marked.docx once, and for each line of FOLDER/NUMBER/values.jsonl puts its values in the
places of the marks and exports. Prints `made` after each.
"""

import ctypes
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import uno  # type: ignore[import-not-found]  # of the distribution's Python, not of the package's
from com.sun.star.beans import PropertyValue  # type: ignore[import-not-found]
from com.sun.star.connection import NoConnectException  # type: ignore[import-not-found]

LOAD = {
    "Hidden": True,
    "ReadOnly": True,
    "UpdateDocMode": 0,
    "MacroExecutionMode": 0,
    "FilterName": "MS Word 2007 XML",
}
EXPORT = {
    "PDFUACompliance": True,
    "UseTaggedPDF": True,
    "SelectPdfVersion": 2,
    "ExportBookmarks": True,
    "ExportNotes": False,
    "ExportFormFields": False,
    "DisplayPDFDocumentTitle": True,
    "ReduceImageResolution": False,
    "UseLosslessCompression": True,
}


def main() -> None:
    """Convert everything in the folder, and end LibreOffice."""
    program, folder, number, lane = sys.argv[1], Path(sys.argv[2]), sys.argv[3], sys.argv[4]
    process, desktop = _started(program, folder, number)
    try:
        if lane == "plain":
            _plain(desktop, folder / number)
        else:
            _fast(desktop, folder, folder / number)
    finally:
        process.kill()
        process.wait()


def _started(program: str, folder: Path, number: str) -> "tuple[subprocess.Popen[bytes], Any]":
    pipe = f"floor_{folder.name}_{number}".replace("-", "_")
    libc = ctypes.CDLL(None)
    local = uno.getComponentContext()
    resolver = local.ServiceManager.createInstance("com.sun.star.bridge.UnoUrlResolver")
    while True:
        process = subprocess.Popen(
            [
                program,
                *("--headless", "--invisible", "--nologo", "--nodefault", "--norestore"),
                *("--nolockcheck", "--nofirststartwizard"),
                f"--accept=pipe,name={pipe};urp;",
                f"-env:UserInstallation={(folder / f'profile-{number}').as_uri()}",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=lambda: libc.prctl(1, signal.SIGKILL),  # noqa: PLW1509 - no thread runs yet
        )
        while process.poll() is None:  # the first start on a new profile ends, and is repeated
            try:
                context = resolver.resolve(f"uno:pipe,name={pipe};urp;StarOffice.ComponentContext")
            except NoConnectException:
                time.sleep(0.02)
                continue
            manager = context.ServiceManager
            return process, manager.createInstanceWithContext("com.sun.star.frame.Desktop", context)


def _plain(desktop: Any, folder: Path) -> None:
    for docx in sorted(folder.glob("*.docx")):
        document = _loaded(desktop, docx)
        _export(document, docx.with_suffix(".pdf"))
        document.close(True)
        _tell()


def _fast(desktop: Any, folder: Path, mine: Path) -> None:
    document = _loaded(desktop, folder / "marked.docx")
    lines = (mine / "values.jsonl").read_text(encoding="utf-8").splitlines()
    places: dict[str, list[Any]] = {}
    for mark in json.loads(lines[0]):
        search = document.createSearchDescriptor()
        search.SearchString = mark
        found = document.findAll(search)
        places[mark] = [found.getByIndex(number) for number in range(found.getCount())]
    for number, line in enumerate(lines):
        for mark, value in json.loads(line).items():
            for place in places[mark]:
                place.setString(value)
        _export(document, mine / f"{number}.pdf")
        _tell()
    document.close(True)


def _loaded(desktop: Any, docx: Path) -> Any:
    return desktop.loadComponentFromURL(docx.as_uri(), "_blank", 0, _properties(LOAD))


def _export(document: Any, pdf: Path) -> None:
    filter_data = uno.Any("[]com.sun.star.beans.PropertyValue", _properties(EXPORT))
    document.storeToURL(
        pdf.as_uri(),
        (
            *_properties({"FilterName": "writer_pdf_Export"}),
            PropertyValue(Name="FilterData", Value=filter_data),
        ),
    )


def _properties(values: "dict[str, Any]") -> "tuple[Any, ...]":
    return tuple(PropertyValue(Name=name, Value=value) for name, value in values.items())


def _tell() -> None:
    sys.stdout.write("made\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
