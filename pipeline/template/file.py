"""The template as it lies on the disk."""

import os
import stat
from collections.abc import Collection
from pathlib import Path

from pipeline.errors import Misconfigured
from pipeline.template.compiled import CompiledTemplate, compile_template
from pipeline.template.package import MAX_FILE
from pipeline.template.vocabulary import MEBIBYTE

_MEND = "put the letter's Word document there, or correct template.path"


def load_template(path: Path, *, fields: Collection[str]) -> CompiledTemplate:
    """Read, check and compile the template at `path`; `fields` are the names that tags may use.

    Raises `Misconfigured`, the path first, for whatever is wrong with the file or within it.
    """
    data = read_template(path)
    try:
        return compile_template(data, fields=fields)
    except Misconfigured as error:
        raise Misconfigured(f"{path}: {error}") from error


def read_template(path: Path) -> bytes:
    """Return the bytes of the file at `path`; raise `Misconfigured` if they cannot be had.

    Only a file of a template's size is read: a pipe would never end, and a disk image would fill
    the memory.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe would wait for a writer
        try:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode):
                what = "a folder" if stat.S_ISDIR(mode) else "not a file"
                raise Misconfigured(f"The template {path} is {what}; {_MEND}.")
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                data = file.read(MAX_FILE + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise Misconfigured(
            f"The template {path} cannot be read ({error.strerror}); {_MEND}."
        ) from error
    if len(data) > MAX_FILE:
        raise Misconfigured(
            f"The template {path} is larger than {MAX_FILE // MEBIBYTE} MB; use smaller pictures"
            " (Picture Format > Compress Pictures)."
        )
    return data
