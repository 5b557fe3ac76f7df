"""docxtpl, and LibreOffice as most programs use it: `soffice --convert-to`, or unoserver.

    python -m bench.peers.documents ... soffice|unoserver

Each worker is a process: it opens the template with docxtpl, renders and saves the letter, as
docxtpl's own pages say, and has it converted. With `soffice` that is one program start for each
letter, on a profile of the worker's own; with `unoserver` each worker has a server of its own,
which stays up, and is asked over XML-RPC, as unoserver's own client asks.
The PDF is tagged PDF/UA and PDF/A-2, as that of this project.
"""

import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xmlrpc.client import ServerProxy

from docxtpl import DocxTemplate  # type: ignore[import-untyped]

from bench import contender
from bench.contender import Asked
from bench.peers.setup import unoserver
from tests.postgres import free_port

_OPTIONS: Mapping[str, str | int | bool] = {
    "PDFUACompliance": True,
    "UseTaggedPDF": True,
    "SelectPdfVersion": 2,
    "ExportBookmarks": True,
    "ReduceImageResolution": False,
    "UseLosslessCompression": True,
}
_PATIENCE = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """One of the processes that make letters; `port` is that of its unoserver, if it has one."""

    folder: Path
    number: int
    port: int | None

    def make(self, number: int, fields: Mapping[str, Any]) -> None:
        """Make one letter's PDF."""
        docx = self.folder / f"{number}.docx"
        template = DocxTemplate(contender.TEMPLATE)
        template.render(dict(fields), autoescape=True)
        template.save(docx)
        pdf = docx.with_suffix(".pdf")
        if self.port is None:
            self._started(docx)
        else:
            self._asked(docx, pdf)
        if not pdf.is_file():
            raise RuntimeError(f"no PDF of letter {number} was made")
        docx.unlink()

    def _started(self, docx: Path) -> None:
        told = {
            name: {
                "type": "boolean" if isinstance(value, bool) else "long",
                "value": str(value).lower(),
            }
            for name, value in _OPTIONS.items()
        }
        profile = self.folder / f"profile-{self.number}"
        subprocess.run(
            [  # noqa: S607 - whichever soffice is there
                "soffice",
                "--headless",
                f"-env:UserInstallation={profile.as_uri()}",
                *("--convert-to", f"pdf:writer_pdf_Export:{json.dumps(told)}"),
                *("--outdir", str(self.folder), str(docx)),
            ],
            check=True,
            capture_output=True,
        )

    def _asked(self, docx: Path, pdf: Path) -> None:
        options = [f"{name}={str(value).lower()}" for name, value in _OPTIONS.items()]
        with ServerProxy(f"http://127.0.0.1:{self.port}", allow_none=True) as server:
            server.info()  # as its client asks before each letter
            server.convert(str(docx), None, str(pdf), "pdf", None, options, True, None, None)


_worker: Worker | None = None


def _begin(workers: "multiprocessing.SimpleQueue[Worker]") -> None:
    global _worker  # noqa: PLW0603 - a process is one worker
    _worker = workers.get()


def _made(job: tuple[int, Mapping[str, Any]]) -> None:
    assert _worker is not None
    _worker.make(*job)


def _server(asked: Asked, number: int, stack: ExitStack) -> int:
    """Start an unoserver, ended with the stack; its port, once it answers."""
    port, office = free_port(), free_port()
    profile = asked.folder / f"profile-{number}"
    running = subprocess.Popen(
        [
            unoserver(asked.installed).with_name("unoserver"),
            *("--port", str(port), "--uno-port", str(office), "--quiet"),
            *("--user-installation", str(profile)),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    stack.callback(running.wait)
    stack.callback(running.terminate)
    return port


def _await(port: int) -> None:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        try:
            with ServerProxy(f"http://127.0.0.1:{port}", allow_none=True) as server:
                server.info()
        except OSError:
            time.sleep(0.05)
        else:
            return
    sys.exit("unoserver does not answer")


def main() -> None:
    """Make the letters that are asked for."""
    asked = contender.asked()
    begun = time.monotonic()
    letters = contender.composed(asked.statistics)
    contender.tell_composed(time.monotonic() - begun, len(letters))
    with ExitStack() as stack:
        ports: list[int | None] = [None] * asked.workers
        if "unoserver" in asked.more:
            ports = [_server(asked, number, stack) for number in range(asked.workers)]
            for port in ports:
                assert port is not None
                _await(port)
        context = multiprocessing.get_context("fork")
        workers: multiprocessing.SimpleQueue[Worker] = context.SimpleQueue()
        for number, port in enumerate(ports):
            workers.put(Worker(folder=asked.folder, number=number, port=port))
        pool = stack.enter_context(context.Pool(asked.workers, _begin, (workers,)))
        jobs = list(enumerate(letter.fields for letter in letters[: asked.letters]))
        for _ in pool.imap_unordered(_made, jobs):
            contender.tell_made()


if __name__ == "__main__":
    os.environ["SAL_USE_VCLPLUGIN"] = "svp"
    main()
