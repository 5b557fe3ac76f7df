"""Files that a person asked for by name: there whole or not at all, and nothing lost for them."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from pipeline.errors import Refused, Unavailable

Force = Annotated[
    bool, typer.Option("--force", help="Let --out take the place of a file that is there already.")
]

STANDARD_OUTPUT = "-"


@contextmanager
def output(out: str | None, *, force: bool) -> Iterator[BinaryIO]:
    """Where bytes go: the file that `out` names, as in `whole_file`; else standard output.

    Whoever reads that may stop reading: then they have seen enough, and the command ends well.
    """
    if out is None or out == STANDARD_OUTPUT:
        try:
            yield sys.stdout.buffer
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            # Else Python would try once more to write what is left, as it ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        return
    with whole_file(Path(out), force=force) as file:
        yield file


@contextmanager
def whole_file(path: Path, *, force: bool, private: bool = True) -> Iterator[BinaryIO]:
    """A file to write, which has its name once the block ends well; else nothing is left of it.

    Without `force` a file that is there already is left as it is. A `private` file can be read by
    nobody but its owner. Raises Refused if it cannot have that name, Unavailable if it cannot be
    written.
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        what = "a folder" if path.is_dir() else "neither a file nor a folder"
        raise Refused(f"{path} is {what}; name a file to write to.")
    if path.exists() and not force:
        raise _taken(path)
    try:
        descriptor, name = tempfile.mkstemp(prefix=".", suffix=".part", dir=path.parent)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise Refused(f"There is no folder {path.parent} to write {path.name} in.") from error
    except OSError as error:
        raise _unwritable(path, error) from error
    part = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            if not private:
                mask = os.umask(0)
                os.umask(mask)
                os.fchmod(file.fileno(), 0o666 & ~mask)
            os.fsync(file.fileno())
        _name(part, path, force=force)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


def _name(part: Path, path: Path, *, force: bool) -> None:
    if force:
        part.replace(path)
        return
    try:
        path.hardlink_to(part)  # unlike a rename, it never takes another file's place
    except FileExistsError:
        raise _taken(path) from None
    except OSError:  # some file systems have no links
        if path.exists():
            raise _taken(path) from None
        part.rename(path)


def _taken(path: Path) -> Refused:
    return Refused(f"There is another file at {path} already; --force puts the new one there.")


def _unwritable(path: Path, error: OSError) -> Unavailable:
    return Unavailable(
        f"{path} cannot be written: {error.strerror or error}. Make room there or choose another "
        "place; nothing of it is left behind."
    )


def made_folder(folder: Path) -> Path:
    """The folder that --to names, whole; made if need be, for its owner alone.

    Raises Refused if it cannot be a folder, Unavailable if it cannot be made.
    """
    place = folder.expanduser().absolute()
    try:
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
    except (FileExistsError, NotADirectoryError) as error:
        raise Refused(f"{place} is not a folder; name another one with --to.") from error
    except OSError as error:
        raise Unavailable(
            f"The folder {place} cannot be made: {error.strerror}. Name another one with --to."
        ) from error
    return place
