"""An edition's template and the wording of its mail: its own folder, or what is configured.

`templates/2021/` beside the configured template holds those of 2021, and so keeps them when the
next year's are edited. A run that is open has its own copy of both already, and looks at neither.
"""

import stat
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import Misconfigured


@dataclass(frozen=True, slots=True, kw_only=True)
class Stationery:
    """Where one edition's template is, and the folder of its wording.

    `own` is whether the edition has a folder of its own.
    """

    template: Path
    wording: Path
    own: bool


def own_folder(template: Path, year: int) -> Path:
    """The folder that an edition's own template and wording lie in, where it has any."""
    return template.parent / str(year)


def needed(template: Path) -> tuple[str, ...]:
    """The names of the files that such a folder has to hold: all of them, or it is no folder."""
    from pipeline.wording import HTML_FILE, TEXT_FILE

    return template.name, TEXT_FILE, HTML_FILE


def find(template: Path, year: int) -> Stationery:
    """The template and wording of a year; `template` is the configured one.

    Raises Misconfigured for a folder of the year's that lacks one of the files or cannot be looked
    at: half of one year's words and half of another's is what nobody means.
    """
    folder = own_folder(template, year)
    if not _is_folder(folder):
        return Stationery(template=template, wording=template.parent, own=False)
    files = needed(template)
    try:
        there = {path.name for path in folder.iterdir()}
    except OSError as error:
        raise Misconfigured(_unreadable(folder, error)) from error
    lacking = [name for name in files if name not in there]
    if lacking:
        *most, last = lacking
        listed = f"{', '.join(most)} and {last}" if most else last
        raise Misconfigured(
            f"{folder} is where the template and the wording of {year} lie, and it lacks {listed}. "
            f"Copy what is lacking from {template.parent}, or take the folder away: then the "
            f"letters of {year} are made with what lies there."
        )
    return Stationery(template=folder / template.name, wording=folder, own=True)


def _is_folder(folder: Path) -> bool:
    try:
        mode = folder.stat().st_mode
    except FileNotFoundError:
        if folder.is_symlink():
            raise Misconfigured(
                f"{folder} is a link to something that is not there; mend it, or take it away."
            ) from None
        return False
    except NotADirectoryError:
        return False  # nor is the template there, which whoever reads it says
    except OSError as error:
        raise Misconfigured(_unreadable(folder, error)) from error
    if not stat.S_ISDIR(mode):
        raise Misconfigured(
            f"{folder} is a file; where it is, a folder with the year's template and wording may "
            "be. Give it another name."
        )
    return True


def _unreadable(folder: Path, error: OSError) -> str:
    return (
        f"{folder} cannot be read ({error.strerror}); "
        "let whoever runs this read it, or take it away."
    )
