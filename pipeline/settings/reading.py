"""Find the settings file, read it, and make `Settings` of it and the environment."""

import os
import re
import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import SettingsError

from pipeline.errors import Misconfigured
from pipeline.settings import faults
from pipeline.settings.sections import Settings

CONFIG = Path("config/letters.toml")

_TOML_PLACE = re.compile(r" \(at line (\d+), column (\d+)\)$")
_TOML_SECTION = re.compile(r"\s*\[\s*([A-Za-z0-9_-]+)\s*\]")
_TOML_KEY = re.compile(r"\s*([A-Za-z0-9_-]+)\s*=")


def load(config: Path | None = None) -> Settings:
    """Read the settings from `config`, or from the project's own file, and the environment.

    Raises Misconfigured, naming every wrong key at once.
    """
    project = find_project(config)
    file = config.absolute() if config else project / CONFIG
    read = _parsed(_text(file), file)
    found = [*faults.unknown(read, file), *faults.unknown_in_environment(os.environ)]
    settings: Settings | None = None
    try:
        settings = Settings(**faults.known(read))
    except ValidationError as error:
        found += faults.explained([dict(fault) for fault in error.errors()], file)
    except SettingsError:
        assert found  # noqa: S101 - a variable that names a whole section, which is said already
    else:
        found += faults.inconsistent(settings, file)
    if found or settings is None:
        raise Misconfigured("\n".join(found))
    settings._project = project  # noqa: SLF001 - set once, here, by the function that reads it
    settings._read_from = file  # noqa: SLF001
    return settings


def find_project(config: Path | None = None) -> Path:
    """The project's folder: LETTERS_HOME, else the checkout, else where `config` lies.

    A checkout is told by its own `config/letters.toml` beside the package; an installed package has
    none, so there the settings file says where the project is.
    """
    if home := os.environ.get("LETTERS_HOME"):
        return Path(home).absolute()
    checkout = Path(__file__).resolve().parent.parent.parent
    if (checkout / CONFIG).is_file():
        return checkout
    if config is not None:
        folder = config.absolute().parent
        return folder.parent if folder.name == "config" else folder
    if CONFIG.is_file():
        return Path.cwd()
    raise Misconfigured(
        "No settings were found: this is not a checkout of the project. "
        "Name the settings file with --config FILE, or the project's folder in LETTERS_HOME."
    )


def _text(file: Path) -> str:
    """What a settings file holds; UTF-8, with or without the mark that Windows puts before it."""
    try:
        data = file.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        home = os.environ.get("LETTERS_HOME")
        where = " and LETTERS_HOME says where to look" if home else ""
        raise Misconfigured(
            f"There is no settings file {file}{where}; name one with --config FILE."
        ) from None
    except IsADirectoryError:
        raise Misconfigured(
            f"{file} is a folder and not a settings file; name the file with --config FILE."
        ) from None
    except OSError as error:
        raise Misconfigured(
            f"The settings file {file} cannot be read: {error.strerror}. "
            "Give whoever runs this the right to read it, or name another with --config FILE."
        ) from error
    if b"\0" in data:
        wide = data.startswith((b"\xff\xfe", b"\xfe\xff"))
        raise Misconfigured(
            f"The settings file {file} is saved as UTF-16; save it as UTF-8."
            if wide
            else f"{file} is not a settings file: it is no text at all. "
            "Name the right file with --config FILE."
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise Misconfigured(
            f"Line {line} of the settings file {file} is not UTF-8: it holds the byte "
            f"0x{data[error.start]:02X}, as an older Windows encoding would. Save it as UTF-8."
        ) from None  # the error would show the line, which may hold a password


def _parsed(text: str, file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        said = str(error)
        if twice := _twice(text):
            name, first, again = twice
            reason = f"{name} stands there twice, on lines {first} and {again}; take one out"
            raise Misconfigured(f"The settings file {file} is not valid TOML: {reason}.") from None
        where = "The settings file"
        if place := _TOML_PLACE.search(said):
            where = f"Line {place[1]} of the settings file"
            said = f"{said[: place.start()]} at column {place[2]}"
        raise Misconfigured(
            f"{where} {file} is not valid TOML: {said[:1].lower()}{said[1:]}. "
            'Write key = "text" or key = 5, below its [section].'
        ) from None


def _twice(text: str) -> tuple[str, int, int] | None:
    """The first section or key that stands twice, and on which lines; tomllib does not say."""
    section, seen = "", dict[str, int]()
    for number, line in enumerate(text.splitlines(), start=1):
        if found := _TOML_SECTION.match(line):
            section = found[1]
            name = f"[{section}]"
        elif found := _TOML_KEY.match(line):
            name = f"{section}.{found[1]}" if section else found[1]
        else:
            continue
        if name in seen:
            return name, seen[name], number
        seen[name] = number
    return None
