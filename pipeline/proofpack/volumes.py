"""The pages of a proof pack: each letter's own, with a line on top that says whose it is.

Put together for eyes: the letters' tags for screen readers are not carried over, as they are each
letter's own; who needs them opens the letter itself.
"""

import io
import os
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from textwrap import wrap
from types import TracebackType

import pikepdf

from pipeline.errors import Unavailable

_GREY = "0.35 0.35 0.35"
_RED = "0.75 0.05 0.05"
_SIZE = 7.5  # points
_COLUMNS = 130  # characters of a mark on one line
_LINES = 3  # of marks on a letter's first page


class Volume:
    """One file of a pack, for its owner alone; it has its name once the block ends well.

    `file` is its path, `pages` how many it has so far.
    """

    def __init__(self, file: Path, *, title: str) -> None:
        self.file = file
        self.pages = 0
        self._title = title
        self._pdf = pikepdf.new()
        self._sources = ExitStack()
        self._bookmarks: list[tuple[str, int, bool]] = []

    def __enter__(self) -> "Volume":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._sources, self._pdf:
            if kind is None:
                self._save()

    def cover(self, pdf: bytes) -> None:
        """Begin with these pages, as they are."""
        self._bookmarks.append(("Cover", 0, False))
        self._append(pdf)

    def add(self, pdf: bytes, *, head: str, bookmark: str, marks: Sequence[str]) -> int:
        """One letter: a line on each page, a bar beside a marked one; its first page from 1."""
        first = self.pages
        count = self._append(pdf)
        for at in range(count):
            page = self._pdf.pages[first + at]
            width, height = _size(page)
            drawn = [_text(f"{head}  |  page {at + 1} of {count}", 28, height - 16, _GREY)]
            if marks:
                drawn.append(f"{_RED} rg 0 0 7 {height:.1f} re f")
                drawn.append(f"{width - 7:.1f} 0 7 {height:.1f} re f")
            if marks and at == 0:
                drawn += [
                    _text(line, 28, 12 + 9 * (number - 1), _RED)
                    for number, line in enumerate(reversed(_fitted(marks)), start=1)
                ]
            self._draw(page, "\n".join(drawn))
        self._bookmarks.append((bookmark, first, bool(marks)))
        return first + 1

    def _append(self, pdf: bytes) -> int:
        source = self._sources.enter_context(pikepdf.open(io.BytesIO(pdf)))
        for page in source.pages:
            self._pdf.pages.append(page)
            added = self._pdf.pages[-1].obj
            for key in ("/StructParents", "/Tabs"):
                if key in added:
                    del added[key]
            for note in added.get("/Annots", []):
                if "/StructParent" in note:
                    del note["/StructParent"]
        count = len(source.pages)
        self.pages += count
        return count

    def _draw(self, page: pikepdf.Page, content: str) -> None:
        font = pikepdf.Dictionary(
            Type=pikepdf.Name.Font,
            Subtype=pikepdf.Name.Type1,
            BaseFont=pikepdf.Name("/Helvetica"),
            Encoding=pikepdf.Name.WinAnsiEncoding,
        )
        name = page.add_resource(font, pikepdf.Name.Font, prefix="Proof")
        stream = content.replace("/ProofFont", str(name)).encode("latin-1")
        # The letter's own marks may leave the page's state changed: it is put back first.
        page.contents_add(self._pdf.make_stream(b"q\n"), prepend=True)
        page.contents_add(self._pdf.make_stream(b"\nQ\nq\n" + stream + b"\nQ\n"))

    def _save(self) -> None:
        with self._pdf.open_outline() as outline:
            marked = pikepdf.OutlineItem("To look at first")
            for title, at, is_marked in self._bookmarks:
                outline.root.append(pikepdf.OutlineItem(title, at))
                if is_marked:
                    marked.children.append(pikepdf.OutlineItem(title, at))
            if marked.children:
                marked.destination = self._bookmarks[0][1]
                outline.root.insert(1, marked)
        with self._pdf.open_metadata(set_pikepdf_as_editor=False) as metadata:
            metadata["dc:title"] = self._title
        try:
            descriptor, name = tempfile.mkstemp(prefix=".", suffix=".part", dir=self.file.parent)
        except OSError as error:
            raise _unwritable(self.file, error) from error
        part = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                self._pdf.save(file, object_stream_mode=pikepdf.ObjectStreamMode.generate)
                file.flush()
                os.fsync(file.fileno())
            part.replace(self.file)
        except OSError as error:
            raise _unwritable(self.file, error) from error
        finally:
            with suppress(OSError):
                part.unlink()


def _unwritable(file: Path, error: OSError) -> Unavailable:
    return Unavailable(
        f"The proof {file} cannot be written: {error.strerror}. Make room there, or name another "
        "folder with --to."
    )


def _size(page: pikepdf.Page) -> tuple[float, float]:
    left, bottom, right, top = (float(one) for one in page.mediabox)
    return right - left, top - bottom


def _fitted(marks: Sequence[str]) -> list[str]:
    lines = [line for mark in marks for line in wrap(mark, _COLUMNS)]
    if len(lines) > _LINES:
        return [*lines[: _LINES - 1], f"{lines[_LINES - 1][: _COLUMNS - 30]} … more on the cover"]
    return lines


def _text(text: str, x: float, y: float, colour: str) -> str:
    """One line of text; a sign that the font does not have becomes a question mark."""
    octets = text.encode("cp1252", "replace")
    hexed = octets.hex()
    return f"BT {colour} rg /ProofFont {_SIZE} Tf {x:.1f} {y:.1f} Td <{hexed}> Tj ET"
