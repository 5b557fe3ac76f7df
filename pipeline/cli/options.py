"""What commands have in common: options, the settings, and who is at the keyboard."""

import getpass
import os
import pwd
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline import log
from pipeline.address import hidden_character
from pipeline.cli import completion
from pipeline.errors import Refused

if TYPE_CHECKING:
    from pipeline.settings import Settings

_chosen: dict[str, Path] = {}
_warned: set[str] = set()


def _choose(config: Path | None) -> Path | None:
    """Remember --config wherever it stands: before the command or after it."""
    if config is not None:
        _chosen["config"] = config
    return config


Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        callback=_choose,
        help="Another settings file than the project's own config/letters.toml.",
    ),
]


def _year(written: str | int) -> int:
    """A year as somebody typed it; 1974 is when the Ombudsman began."""
    text = str(written).strip()
    if not (text.isascii() and text.isdigit() and 1974 <= int(text) <= 9999):
        raise typer.BadParameter(f"{text!r} is no year of letters; write it as in 2020.")
    return int(text)


Year = Annotated[
    int,
    typer.Argument(
        metavar="YEAR",
        parser=_year,
        autocompletion=completion.years,
        help="The year of the letters, such as 2020.",
    ),
]
AnyYear = Annotated[
    int | None,
    typer.Argument(
        metavar="YEAR",
        parser=_year,
        autocompletion=completion.years,
        help="The year; without it, all that there is.",
    ),
]
EarlierYear = Annotated[
    int | None,
    typer.Option(
        "--from",
        metavar="YEAR",
        parser=_year,
        autocompletion=completion.years,
        help="The year whose settings a new edition starts from.",
    ),
]
BeforeYear = Annotated[
    int,
    typer.Option(
        "--before",
        metavar="YEAR",
        parser=_year,
        help="The first year that is kept; all before it are meant.",
    ),
]
YearOption = Annotated[
    int | None,
    typer.Option(
        "--year",
        metavar="YEAR",
        parser=_year,
        autocompletion=completion.years,
        help="The year of the letter; needed only where there are several.",
    ),
]
Authority = Annotated[
    str,
    typer.Argument(
        metavar="AUTHORITY",
        autocompletion=completion.authorities,
        help="An authority: its code, its name or a part of it, such as stevenage.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, for scripts.")]
By = Annotated[
    str | None, typer.Option("--by", metavar="NAME", help="Who does this; else the login name.")
]


def forget() -> None:
    """Forget the --config of a call before this one in the same process."""
    _chosen.clear()


def settings_now(*, unattended: bool = False) -> "Settings":
    """The settings as they are at this moment, from the file that --config names if it does.

    The log begins as they say; on standard error only if the command is `unattended`, as nobody
    wants it among what a command tells a person. What the settings warn of is said on standard
    error, once in the life of the process.
    """
    from pipeline.display.console import err
    from pipeline.settings import load

    settings = load(_chosen.get("config"))
    no_log = _begin_log(settings, unattended=unattended)
    for warning in [*settings.warnings(), *no_log]:
        if warning not in _warned:
            _warned.add(warning)
            err.print(f"letters: {warning}", markup=False, style="yellow")
    return settings


def _begin_log(settings: "Settings", *, unattended: bool) -> list[str]:
    """Log as the settings say; why that cannot be, if it cannot."""
    wanted = settings.log
    chosen = log.Log(
        level=log.Level(wanted.level),
        form=log.Form(wanted.format),
        file=settings.path(wanted.file) if wanted.file else None,
    )
    said = log.begin(chosen if chosen.file or unattended else None)
    return [said] if said else []


def person(by: str | None) -> str:
    """Who does this: the name given, with single spaces, else the login name.

    Raises Refused for a name with a character that does not show: it would read as another's.
    """
    name = " ".join((by or "").split())
    if name:
        hidden = hidden_character(name)
        if hidden is not None:
            raise Refused(f"The name in --by holds {hidden}, which does not show; take it out.")
        return name
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"


def login() -> str:
    """The login name of whoever is at the keyboard: of who called sudo, else of the process's user.

    Unlike the name that `person` gives it is not chosen freely, as long as nobody lies to the
    program on purpose: who may write to its environment or its database can.
    """
    called = os.environ.get("SUDO_USER", "").strip()
    if called:
        return called
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"user {os.getuid()}"
