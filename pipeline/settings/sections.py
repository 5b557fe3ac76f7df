"""What can be set: a class for each section, and `Settings`, which holds them all."""

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from pipeline.delivery import Mode
from pipeline.errors import Misconfigured
from pipeline.settings.secret import (
    is_plainly_a_path,
    is_there,
    read_secret,
    readable_by_all,
)

ENV_PREFIX = "LETTERS_"
SECRET_FILES = {
    "archive.secret_key_file": "secret key",
    "smtp.password_file": "password",
    "oauth2.client_secret_file": "client secret",
    "oauth2.refresh_token_file": "refresh token",
    "reports.key_file": "key",
    "reports.password_file": "password",
}
"""The settings that name a file with a secret in it, and what is in it."""


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
    """The ledger, and the file outside it that tells a copy or an old one."""

    url: str = "sqlite:///var/letters.db"
    mark: str = "var/high-water-mark"


class SourceSettings(_Section):
    """The statistics database; empty: the ledger's."""

    url: str = ""


class ArchiveSettings(_Section):
    """The frozen files; all but the place is for a bucket."""

    url: str = "var/archive"
    endpoint: str = ""
    region: str = ""
    ca_file: str = ""
    profile: str = ""
    access_key: str = ""
    secret_key_file: str = ""


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
    only_to_domains: str = ""


class SmtpSettings(_Section):
    """The relay."""

    host: str = "localhost"
    port: _Whole = Field(default=25, ge=1, le=65535)
    security: Literal["none", "starttls", "tls"] = "none"
    username: str = ""
    password_file: str = ""
    ca_file: str = ""
    connections: _Whole = Field(default=2, ge=1, le=8)
    per_minute: _Whole = Field(default=0, ge=0, le=100_000)
    per_minute_to_one_domain: _Whole = Field(default=0, ge=0, le=100_000)
    tries: _Whole = Field(default=15, ge=1, le=1000)
    try_for_days: _Whole = Field(default=3, ge=1, le=30)


class OAuth2Settings(_Section):
    """Access tokens in the place of passwords: from an endpoint, or else from a command."""

    token_url: str = ""
    client_id: str = ""
    client_secret_file: str = ""
    refresh_token_file: str = ""
    scope: str = ""
    command: str = ""


class ReportsSettings(_Section):
    """What comes back: the address it comes to, and where it is read."""

    address: str = ""
    key_file: str = ""
    separator: str = "+"
    mailbox: str = ""
    password_file: str = ""
    ca_file: str = ""
    move_to: str = ""
    relay_log: str = ""
    every: _Whole = Field(default=300, ge=30, le=86_400)


class ConvertSettings(_Section):
    """LibreOffice: processes (0: as many as there is room for), and what bounds each of them.

    `timeout` is in seconds for one letter, `memory_mb` in millions of bytes.
    """

    workers: _Whole = Field(default=0, ge=0, le=1024)
    timeout: _Number = Field(default=60.0, gt=0, le=3600, allow_inf_nan=False)
    memory_mb: _Whole = Field(default=500, ge=300, le=1_000_000)
    sandbox: Literal["auto", "on", "off"] = "auto"
    lane: Literal["auto", "plain"] = "plain"


class EngineSettings(_Section):
    """Where letters are made: on this machine, or by the workers of a Dask cluster.

    `patience_seconds`: how long a cluster may be without a worker before the work stops.
    """

    kind: Literal["local", "dask"] = "local"
    address: str = ""
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    patience_seconds: _Whole = Field(default=60, ge=1, le=86_400)


class ApprovalSettings(_Section):
    """How many people must approve a run before it is sent."""

    people: _Whole = Field(default=0, ge=0, le=2)


class ScheduleSettings(_Section):
    """The clock: seconds between two ticks, and how late a missed start is still caught up.

    `catch_up_days` counts London calendar days.
    """

    every: _Whole = Field(default=60, ge=5, le=3600)
    catch_up_days: _Whole = Field(default=3, ge=0, le=60)


def _listed(value: object) -> object:
    # in the environment there is only text
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


_List = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)]


class AlertsSettings(_Section):
    """Who is told when a person is needed; nobody: that is logged only.

    What comes back within `quiet_minutes` after it was over is not mailed anew before they end.
    """

    to: _List = ()
    quiet_minutes: _Whole = Field(default=60, ge=0, le=1440)


class RetentionSettings(_Section):
    """For how many whole years after its own a year's letters are kept; 0: for ever."""

    years: _Whole = Field(default=7, ge=0, le=100)


class LogSettings(_Section):
    """The log: how much, how, and where; without a file, standard error of serve and tick."""

    level: Literal["off", "debug", "info", "warning", "error"] = "off"
    format: Literal["console", "json"] = "console"
    file: str = ""


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
    oauth2: OAuth2Settings = OAuth2Settings()
    reports: ReportsSettings = ReportsSettings()
    convert: ConvertSettings = ConvertSettings()
    engine: EngineSettings = EngineSettings()
    approval: ApprovalSettings = ApprovalSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    alerts: AlertsSettings = AlertsSettings()
    retention: RetentionSettings = RetentionSettings()
    log: LogSettings = LogSettings()

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

    @property
    def only_to(self) -> tuple[str, ...]:
        """The domains that live mail may go to, in small letters; none: to all."""
        return tuple(self.mail.only_to_domains.replace(",", " ").lower().split())

    def password(self) -> str | None:
        """The relay's password, read now from `smtp.password_file`; None where no file is set."""
        return self.secret("smtp.password_file")

    def secret(self, setting: str, what: str = "password") -> str | None:
        """What the file holds that a setting names, read now; None where it names none.

        Raises Misconfigured for a file that cannot be read, or that holds anything but one line of
        text. What it holds is never shown, nor is what stands in the place of a file's name, where
        that might be the secret itself.
        """
        named = self._named(setting)
        if not named:
            return None
        file = self.path(named)
        shown = is_plainly_a_path(named, file)
        return read_secret(file, setting=setting, what=what, shown=shown)

    def secret_file_is_there(self, setting: str) -> bool:
        """Whether a setting names a file that exists, so that its name can be shown."""
        try:
            named = self._named(setting)
            return bool(named) and is_there(self.path(named))
        except Misconfigured:
            return False

    def warnings(self) -> list[str]:
        """What works and should not stay so, as sentences: who else can read a secret."""
        files = [(what, self._named(setting)) for setting, what in SECRET_FILES.items()]
        files.append(("certificate's key", self.engine.key_file))
        return [
            f"The {what} file {self.path(named)} can be read by everybody on this machine; "
            f"keep it to yourself with chmod 600 {self.path(named)}."
            for what, named in files
            if named and readable_by_all(self.path(named))
        ]

    def _named(self, setting: str) -> str:
        section, _, key = setting.partition(".")
        return str(getattr(getattr(self, section), key))
