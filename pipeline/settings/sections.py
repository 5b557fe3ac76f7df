"""What can be set: a class for each section, and `Settings`, which holds them all."""

import os
import re
import stat
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from pipeline.delivery import Mode
from pipeline.errors import Misconfigured

ENV_PREFIX = "LETTERS_"
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
"""A line break, or another character that is not seen."""
_PASSWORD_LIMIT = 4096


def _not_yes_or_no(value: object) -> object:
    # pydantic takes true for 1, which nobody means by a port
    if isinstance(value, bool):
        raise ValueError("not a number")  # noqa: TRY004 - pydantic's own rule for validators
    return value


_Whole = Annotated[int, BeforeValidator(_not_yes_or_no)]
_Number = Annotated[float, BeforeValidator(_not_yes_or_no)]


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
    port: _Whole = Field(default=25, ge=1, le=65535)
    security: Literal["none", "starttls", "tls"] = "none"
    username: str = ""
    password_file: str = ""
    connections: _Whole = Field(default=2, ge=1, le=8)
    per_minute: _Whole = Field(default=0, ge=0, le=100_000)
    per_minute_to_one_domain: _Whole = Field(default=0, ge=0, le=100_000)
    tries: _Whole = Field(default=15, ge=1, le=1000)
    try_for_days: _Whole = Field(default=3, ge=1, le=30)


class ConvertSettings(_Section):
    """LibreOffice: processes (0: one for each core) and seconds per letter."""

    workers: _Whole = Field(default=0, ge=0, le=1024)
    timeout: _Number = Field(default=60.0, gt=0, le=3600, allow_inf_nan=False)


class ApprovalSettings(_Section):
    """How many people must approve a run before it is sent."""

    people: _Whole = Field(default=0, ge=0, le=2)


class ScheduleSettings(_Section):
    """The clock: seconds between two ticks, and how late a missed start is still caught up.

    `catch_up_days` counts London calendar days.
    """

    every: _Whole = Field(default=60, ge=5, le=3600)
    catch_up_days: _Whole = Field(default=3, ge=0, le=60)


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
    _read_from: Path = PrivateAttr(default=Path())

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

    def password(self) -> str | None:
        """The relay's password, read now from `smtp.password_file`; None where no file is set.

        Line breaks and blanks around it do not belong to it. Raises Misconfigured for a file that
        cannot be read, or that holds anything but one line of text. The password is never shown,
        nor the name of a file that is not there: somebody may have put the password in its place.
        """
        if not self.smtp.password_file:
            return None
        file = self.path(self.smtp.password_file)
        told = f"The password file {file}, which smtp.password_file names,"
        must = "It must hold the password, on one line, and nothing else"
        try:
            descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK)  # a pipe would wait for ever
            try:
                mode = os.fstat(descriptor).st_mode
                if not stat.S_ISREG(mode):
                    what = "a folder" if stat.S_ISDIR(mode) else "no ordinary file"
                    raise Misconfigured(f"{told} is {what}; name the file. {must}.")
                with os.fdopen(descriptor, "rb", closefd=False) as opened:
                    data = opened.read(_PASSWORD_LIMIT + 1)
            finally:
                os.close(descriptor)
            text = data.decode("utf-8").removeprefix("\ufeff").strip()
        except OSError as error:
            if not self.password_file_is_there:
                told = "The password file that smtp.password_file names"
            raise Misconfigured(f"{told} cannot be read: {error.strerror}. {must}.") from None
        except UnicodeDecodeError:
            # not chained: what cannot be decoded is shown by the error, and may be the password
            raise Misconfigured(f"{told} is not UTF-8 text. {must}.") from None
        if not text:
            raise Misconfigured(f"{told} is empty. {must}.")
        if CONTROL.search(text) or len(data) > _PASSWORD_LIMIT:
            raise Misconfigured(f"{told} holds more than one line of text. {must}.")
        return text

    @property
    def password_file_is_there(self) -> bool:
        """Whether smtp.password_file names something that exists, so that it can be shown."""
        try:
            return bool(self.smtp.password_file) and os.path.lexists(
                self.path(self.smtp.password_file)
            )
        except (Misconfigured, OSError, ValueError):
            return False

    def warnings(self) -> list[str]:
        """What works and should not stay so, as sentences: who else can read the password."""
        if not self.smtp.password_file:
            return []
        file = self.path(self.smtp.password_file)
        try:
            mode = file.stat().st_mode
        except OSError:
            return []  # whoever needs it is told by `password`
        if not stat.S_ISREG(mode) or not mode & stat.S_IROTH:
            return []
        return [
            f"The password file {file} can be read by everybody on this machine; "
            f"keep it to yourself with chmod 600 {file}."
        ]
