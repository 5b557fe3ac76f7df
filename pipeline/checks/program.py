"""The program itself and the machine it runs on: settings, versions, clock, locale, memory."""

import locale
import os
import platform
import re
import sqlite3
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from importlib import metadata

from pipeline.capacity import LANE, Capacity, capacity
from pipeline.checks.found import Check, Looking, note, ok, size, warning
from pipeline.convert import Sandbox, find_sandbox
from pipeline.database import Database, absolute_url
from pipeline.errors import LettersError
from pipeline.settings import ENV_PREFIX, SECRET_FILES, Settings
from pipeline.source import LONDON

SANDBOX = "sandbox"
_DATABASES = ("database.url", "source.url")
_USERINFO = re.compile(r"(?<=://)[^/?#]*@")
_QUERY = re.compile(r"\?.*", re.DOTALL)
_DRIFT = timedelta(minutes=2)


def program() -> Looking[None]:
    """The versions of what runs here."""
    yield ok(
        "program",
        f"letters {_version()} under Python {platform.python_version()} ({sys.executable}), "
        f"SQLite {sqlite3.sqlite_version}.",
    )


def _version() -> str:
    try:
        return metadata.version("annual-letters")
    except metadata.PackageNotFoundError:
        return "(not installed)"


def settings_read(settings: Settings) -> Looking[None]:
    """Where the settings come from, and all that are not as usual; secrets are not shown."""
    environment = {name.upper(): name for name in os.environ}
    from_file, from_environment = [], []
    for key, value, usual in _values(settings):
        name = environment.get(ENV_PREFIX + key.replace(".", "__").upper())
        said = f"{key} = {shown(settings, key, value)}"
        if name is not None:
            from_environment.append(f"{said} ({name})")
        elif value != usual:
            from_file.append(said)
    parts = [f"Read from {settings.read_from}."]
    if from_file:
        parts.append(f"Other than usual: {', '.join(from_file)}.")
    if from_environment:
        parts.append(f"From the environment: {', '.join(from_environment)}.")
    if not from_file and not from_environment:
        parts.append("Everything is as usual.")
    yield ok("settings", " ".join(parts))
    for said in settings.warnings():
        found, _, fix = said.partition("; ")
        yield warning("settings", f"{found}.", f"{fix[:1].upper()}{fix[1:]}")


def _values(settings: Settings) -> Iterator[tuple[str, object, object]]:
    for section in type(settings).model_fields:
        values = getattr(settings, section)
        for key, info in type(values).model_fields.items():
            yield f"{section}.{key}", getattr(values, key), info.default


def shown(settings: Settings, key: str, value: object) -> str:
    """A setting's value without the secrets that may be in it."""
    text = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    if not text:
        return "(empty)"
    if key in _DATABASES:
        try:
            return str(Database(absolute_url(text, settings.project, setting=key), setting=key))
        except LettersError:
            return "(not shown, as it is no database's URL)"
    if key == "oauth2.command" or (key in SECRET_FILES and not settings.secret_file_is_there(key)):
        is_file = key in SECRET_FILES
        return f"(not shown, as {'there is no such file' if is_file else 'it may hold a secret'})"
    if "://" in text:
        return _QUERY.sub("?***", _USERINFO.sub("***@", text))
    return text


def clock(now: datetime, newest: datetime | None) -> Looking[None]:
    """The time, and whether it can be right: the ledger's `newest` event has happened already."""
    here = now.astimezone()
    told = f"{now.astimezone(LONDON):%A %-d %B %Y, %H:%M %Z} in London"
    if here.utcoffset() != now.astimezone(LONDON).utcoffset():
        told += f"; this machine's own time is {here:%H:%M %Z}"
    if newest is not None and newest - now > _DRIFT:
        yield warning(
            "clock",
            f"It is {told}, but the newest event in the ledger is of "
            f"{newest.astimezone(LONDON):%-d %B %Y, %H:%M} in London, which is yet to come.",
            "Set this machine's clock, or let it be set over the network (timedatectl).",
        )
        return
    yield ok("clock", f"It is {told}.")


def characters() -> Looking[None]:
    """Whether names of files and what is printed may have any letter in them."""
    # not sys.stdout: whatever shows that work goes on may stand in its place
    files, printed = sys.getfilesystemencoding(), getattr(sys.__stdout__, "encoding", "nothing")
    found = f"Names of files are {files}, and {printed} is printed ({_locale()})."
    if files.lower() not in {"utf-8", "utf8"}:
        yield warning("locale", found, "Set LANG to a UTF-8 locale, such as C.UTF-8.")
    elif printed.lower() not in {"utf-8", "utf8"}:
        yield note(
            "locale",
            f"{found} What that does not have is printed as a question mark.",
            "Set LANG to a UTF-8 locale, such as C.UTF-8.",
        )
    else:
        yield ok("locale", found)


def _locale() -> str:
    for name in ("LC_ALL", "LC_CTYPE", "LANG"):
        if os.environ.get(name):
            return f"{name}={os.environ[name]}"
    return f"locale {locale.setlocale(locale.LC_CTYPE)}"


def log(settings: Settings) -> Looking[None]:
    """Whether what is to be logged can be; nothing is found where nothing is to be."""
    wanted = settings.log
    if wanted.level == "off":
        if wanted.file:
            yield note(
                "log",
                "log.file is set and log.level is off, so nothing is logged.",
                "Set log.level to info.",
            )
        return
    if not wanted.file:
        yield ok(
            "log",
            f"{wanted.level}, to the standard error of letters serve and letters tick.",
        )
        return
    file = settings.path(wanted.file)
    writable = os.access(file, os.W_OK) and file.is_file()
    if writable or (not file.exists() and os.access(file.parent, os.W_OK | os.X_OK)):
        yield ok("log", f"{wanted.level}, to {file}.")
    else:
        yield warning(
            "log",
            f"{file} cannot be written to, so nothing is logged. The letters go all the same.",
            "Name a file in a folder that is there, which whoever runs this may write to.",
        )


def memory(settings: Settings) -> Looking[None]:
    """How many LibreOffice processes a run starts, why, and whether they have room."""
    here = capacity()
    lanes = settings.convert.workers or here.lanes
    run = "runs" if lanes == 1 else "run"
    found = f"{_processes(lanes)} {run} at once{_why(settings, here)}."
    if here.memory is None:
        yield ok("memory", found)
        return
    found += (
        f" {size(here.memory)} of memory are free; {_processes(lanes)} "
        f"{'takes' if lanes == 1 else 'take'} up to {size(lanes * LANE)}."
    )
    if here.room >= lanes:
        yield ok("memory", found)
        return
    fix = "End other programs or give this machine more memory."
    if here.lanes < lanes:
        fix = f"Set convert.workers to {here.lanes}, or give this machine more memory."
    yield warning("memory", found, fix)


def _processes(number: int) -> str:
    return f"{number} LibreOffice {'process' if number == 1 else 'processes'}"


def _why(settings: Settings, here: Capacity) -> str:
    if settings.convert.workers:
        return ", as convert.workers says"
    if here.room >= here.cores:
        return f", as there {'is' if here.cores == 1 else 'are'} {_cores(here.cores)}"
    return f", as there is no memory for {_cores(here.cores)}"


def _cores(number: int) -> str:
    return f"{number} {'core' if number == 1 else 'cores'}"


def sandbox(settings: Settings) -> Looking[Sandbox]:
    """How LibreOffice is kept apart from this machine; raises where it must be and cannot."""
    kept = find_sandbox(settings.convert.sandbox)
    if kept.bubblewrap is not None:
        listed = "; other processes are listed to it, though out of reach"
        listed = listed if kept.sees_processes else ""
        yield ok(
            SANDBOX,
            f"LibreOffice is kept apart by bubblewrap ({kept.bubblewrap}): it may read the system, "
            f"write to one folder, and has no network{listed}.",
        )
    else:
        yield not_kept(kept)
    return kept


def not_kept(kept: Sandbox) -> Check:
    """What there is to say of a LibreOffice that is not kept apart."""
    all_the_same = " It has no network all the same." if kept.no_network is not None else ""
    return note(SANDBOX, f"LibreOffice is not kept apart: {kept.reason}.{all_the_same}", kept.fix)
