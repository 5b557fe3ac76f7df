"""Settings: `config/letters.toml`, overridden by LETTERS_<SECTION>__<KEY> in the environment.

Nothing is read at import. What is wrong is said with the name of the key, where it was set and what
it may be. Of the values only addresses and home folders are repeated: a URL may hold a password.
"""

import difflib
import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from pipeline.address import ascii_address, split_mailbox
from pipeline.delivery import Mode
from pipeline.errors import LetterFault, Misconfigured

ENV_PREFIX = "LETTERS_"
CONFIG = Path("config/letters.toml")

# What nothing works without, and what is a path or may be one.
_NEVER_EMPTY = ("database.url", "archive.url", "template.path", "mail.capture", "smtp.host")
_PATHS = ("archive.url", "template.path", "mail.capture", "smtp.password_file")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DatabaseSettings(_Section):
    """The ledger."""

    url: str = "sqlite:///var/letters.db"


class SourceSettings(_Section):
    """The statistics database; empty: the ledger's."""

    url: str = ""


class ArchiveSettings(_Section):
    """The frozen files."""

    url: str = "var/archive"


class TemplateSettings(_Section):
    """The letter's template; the message's templates lie beside it."""

    path: str = "templates/letter.docx"


class MailSettings(_Section):
    """Where mail goes and whom it is from."""

    mode: Mode = Mode.CAPTURE
    capture: str = "var/captured"
    redirect_to: str = ""
    sender: str = "Local Government and Social Care Ombudsman <annual.letters@ombudsman.example>"
    reply_to: str = ""


class SmtpSettings(_Section):
    """The relay."""

    host: str = "localhost"
    port: int = Field(default=25, ge=1, le=65535)
    security: Literal["none", "starttls", "tls"] = "none"
    username: str = ""
    password_file: str = ""


class ConvertSettings(_Section):
    """LibreOffice: processes (0: one for each core) and seconds per letter."""

    workers: int = Field(default=0, ge=0, le=1024)
    timeout: float = Field(default=60.0, gt=0, le=3600, allow_inf_nan=False)


class ApprovalSettings(_Section):
    """How many people must approve a run before it is sent."""

    people: int = Field(default=0, ge=0, le=2)


class ScheduleSettings(_Section):
    """The clock: seconds between two ticks, and how late a missed start is still caught up.

    `catch_up_days` counts London calendar days.
    """

    every: int = Field(default=60, ge=5, le=3600)
    catch_up_days: int = Field(default=3, ge=0, le=60)


class Settings(BaseSettings):
    """Everything that can be set. Use `load`; the constructor reads nothing by itself."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True
    )

    database: DatabaseSettings = DatabaseSettings()
    source: SourceSettings = SourceSettings()
    archive: ArchiveSettings = ArchiveSettings()
    template: TemplateSettings = TemplateSettings()
    mail: MailSettings = MailSettings()
    smtp: SmtpSettings = SmtpSettings()
    convert: ConvertSettings = ConvertSettings()
    approval: ApprovalSettings = ApprovalSettings()
    schedule: ScheduleSettings = ScheduleSettings()

    _project: Path = PrivateAttr(default=Path())
    _read_from: Path = PrivateAttr(default=CONFIG)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the file; there are no other sources."""
        assert isinstance(init_settings, InitSettingsSource)  # noqa: S101 - narrows the type
        return env_settings, InitSettingsSource(settings_cls, init_settings.init_kwargs)

    @property
    def project(self) -> Path:
        """The folder that relative paths are taken from."""
        return self._project

    @property
    def read_from(self) -> Path:
        """The file that was read."""
        return self._read_from

    def path(self, value: str) -> Path:
        """A path from a setting, made absolute within the project.

        Raises Misconfigured for a `~` that stands for nobody's home.
        """
        try:
            return Path(os.path.normpath(self._project / Path(value).expanduser()))
        except RuntimeError:
            home = Path(value).parts[0]
            raise Misconfigured(
                f"There is no home folder that {home} could stand for; write the whole path."
            ) from None


def load(config: Path | None = None) -> Settings:
    """Read the settings from `config`, or from the project's own file, and the environment.

    Raises Misconfigured, naming every wrong key at once.
    """
    project = find_project(config)
    file = config.absolute() if config else project / CONFIG
    try:
        read = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Misconfigured(f"There is no settings file {file}; name one with --config.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"The settings file {file} cannot be read: {error}.") from error
    except tomllib.TOMLDecodeError as error:
        raise Misconfigured(f"The settings file {file} is not valid TOML: {error}.") from error
    faults = [*_unknown(read, file), *_unknown_environment(os.environ)]
    settings: Settings | None = None
    if not faults:
        try:
            settings = Settings(**read)
        except ValidationError as error:
            faults = [_explained(dict(fault), file) for fault in error.errors()]
        else:
            faults = list(_inconsistent(settings, file))
    if faults or settings is None:
        raise Misconfigured("\n".join(faults))
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
    checkout = Path(__file__).resolve().parent.parent
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


def _unknown(read: Mapping[str, Any], file: Path) -> Iterator[str]:
    sections = _keys()
    for section, values in read.items():
        keys = sections.get(section)
        if keys is None:
            yield f"{file}: there is no section [{section}]{_near(section, sections)}"
        elif not isinstance(values, dict):
            yield f"{file}: {section} is a section; write [{section}] and its keys below it."
        else:
            for key in values:
                if key not in keys:
                    yield f"{file}: there is no setting {section}.{key}{_near(key, keys)}"


def _unknown_environment(environment: Mapping[str, str]) -> Iterator[str]:
    """What was meant for the settings but would be ignored, or taken for a whole section.

    Other names that begin with LETTERS_ are left alone: they may be somebody else's.
    """
    sections = {ENV_PREFIX + section.upper(): keys for section, keys in _keys().items()}
    names = [f"{section}__{key.upper()}" for section, keys in sections.items() for key in keys]
    slips = {name.replace("__", "_"): name for name in names}
    for name in sorted(environment):
        upper = name.upper()
        if upper in sections:
            wanted = ", ".join(f"{upper}__{key.upper()}" for key in sections[upper])
            yield (
                f"The environment's {name} names a whole section; "
                f"set one key of it at a time, with {wanted}."
            )
        elif upper in slips:
            yield f"The environment's {name} is no setting; did you mean {slips[upper]}?"
        elif upper.startswith(ENV_PREFIX) and "__" in upper and upper not in names:
            yield f"The environment's {name} is no setting{_near(upper, names)}"


def _keys() -> dict[str, list[str]]:
    """The keys of every section."""
    return {
        section: list(info.annotation.model_fields)  # type: ignore[union-attr]
        for section, info in Settings.model_fields.items()
    }


def _near(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about a name that is not known."""
    found = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {found[0]}?" if found else "."


def _explained(fault: Mapping[str, Any], file: Path) -> str:
    key = ".".join(str(part) for part in fault["loc"])
    return f"{_place(key, file)}: {fault['msg']}."


def _place(key: str, file: Path) -> str:
    """A key and where it was set, or would be."""
    variable = ENV_PREFIX + key.replace(".", "__").upper()
    for name in os.environ:
        if name.upper() == variable:
            return f"{key} in the environment's {name}"
    return f"{key} in {file}"


def _inconsistent(settings: Settings, file: Path) -> Iterator[str]:
    """What each value's own type cannot tell."""
    for key in _NEVER_EMPTY:
        if not _value(settings, key).strip():
            usual = _value(Settings.model_construct(), key)
            yield f"{_place(key, file)}: It must not be empty; the usual value is {usual}."
    for key in _PATHS:
        try:
            settings.path(_value(settings, key))
        except Misconfigured as error:
            yield f"{_place(key, file)}: {error}"
    for key in ("mail.sender", "mail.reply_to", "mail.redirect_to"):
        value = _value(settings, key)
        if value or key == "mail.sender":
            try:
                ascii_address(split_mailbox(value)[1])
            except LetterFault as fault:
                yield (
                    f"{_place(key, file)}: {fault} "
                    "Write one address, as name@domain or Name <name@domain>."
                )
    if settings.mail.mode is Mode.REDIRECT and not settings.mail.redirect_to:
        yield "mail.mode is redirect, so mail.redirect_to must name the inbox that gets all mail."
    if settings.smtp.username and not settings.smtp.password_file:
        yield "smtp.username is set, so smtp.password_file must name a file with the password."


def _value(settings: Settings, key: str) -> str:
    section, _, name = key.partition(".")
    return str(getattr(getattr(settings, section), name))
