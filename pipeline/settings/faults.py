"""What is wrong with settings, as sentences: the key, where it was set, and what it may be."""

import difflib
import ipaddress
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, time
from enum import Enum
from pathlib import Path
from typing import Any, get_args
from urllib.parse import urlsplit

from pydantic.fields import FieldInfo

from pipeline.address import ascii_address, is_loopback, split_mailbox
from pipeline.delivery import Mode
from pipeline.envelope import SHORTEST_KEY, ReturnAddress
from pipeline.errors import LetterFault, Misconfigured
from pipeline.settings.mailboxes import imap_folder
from pipeline.settings.secret import CONTROL
from pipeline.settings.sections import ENV_PREFIX, SECRET_FILES, Settings

# What nothing works without, what is a path or may be one, and what is an address.
_NEVER_EMPTY = (
    *("database.url", "database.mark", "archive.url", "template.path", "mail.capture"),
    "smtp.host",
)
_PATHS = (
    *("database.mark", "archive.url", "template.path", "mail.capture"),
    *("archive.ca_file", "smtp.ca_file", "reports.ca_file", "reports.relay_log"),
    "log.file",
    *("engine.ca_file", "engine.cert_file", "engine.key_file"),
    *SECRET_FILES,
)
_ADDRESSES = ("mail.sender", "mail.reply_to", "mail.redirect_to", "reports.address")
_ADDRESS_LISTS = ("alerts.to",)

_HOST = re.compile(r"[^\s/@:\[\]]+")
_DOMAIN = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+")
_SHORT_NUMBER = re.compile(r"-?[0-9]{1,6}(\.[0-9]{1,2})?")
_LONGEST_TOKEN = "x" * 16  # as `ledger.messages` makes them
_SHOWN = 40
"""Characters of a wrong value that are repeated."""


def unknown(read: Mapping[str, Any], file: Path) -> Iterator[str]:
    """Sections and keys of a file that do not exist, with what may have been meant."""
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
                    at_home = [
                        f"{there}.{key}" for there, known in sections.items() if key in known
                    ]
                    near = _near(f"{section}.{key}", at_home) if at_home else _near(key, keys)
                    yield f"{file}: there is no setting {section}.{key}{near}"


def known(read: Mapping[str, Any]) -> dict[str, Any]:
    """What a file says without what `unknown` finds in it."""
    return {
        section: {key: value for key, value in read[section].items() if key in keys}
        for section, keys in _keys().items()
        if isinstance(read.get(section), dict)
    }


def unknown_in_environment(environment: Mapping[str, str]) -> Iterator[str]:
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


def _meant(section: str, key: str) -> str:
    """The end of a sentence about a key that its section does not have."""
    sections = _keys()
    homes = [f"{home}.{key}" for home, keys in sections.items() if key in keys]
    if len(homes) == 1:
        return f"; did you mean {homes[0]}?"
    return _near(key, sections[section])


def _near(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about a name that is not known."""
    alike = {one.casefold(): one for one in known}
    found = difflib.get_close_matches(name.casefold(), alike, n=1)
    return f"; did you mean {alike[found[0]]}?" if found else "."


def explained(found: Iterable[Mapping[str, Any]], file: Path) -> Iterator[str]:
    """What pydantic found, in plain words. What does not exist is left to `unknown`."""
    for fault in found:
        if fault["type"] == "extra_forbidden":
            continue
        key = ".".join(str(part) for part in fault["loc"][:2])
        info, given = _field(key), fault["input"]
        if key in _ADDRESS_LISTS:
            yield (
                f"{place(key, file)}: It must be a list of addresses in quotes, as in "
                f'["post@office.example"], and holds {_kind(given)}.'
            )
            continue
        if info.annotation is str:
            yield f"{place(key, file)}: It must be text in quotes, and is {_kind(given)}."
        else:
            yield (
                f"{place(key, file)}: It must be {_wanted(info)}, and is "
                f"{_shown(given, secret=key.startswith(('smtp.', 'oauth2.', 'reports.')))}; "
                f"the usual value is {info.default}."
            )


def _field(key: str) -> FieldInfo:
    section, _, name = key.partition(".")
    found: FieldInfo = Settings.model_fields[section].annotation.model_fields[name]  # type: ignore[union-attr]
    return found


def _wanted(info: FieldInfo) -> str:
    """What a setting may be, as words: "a whole number from 1 to 65535"."""
    kind = info.annotation
    if kind is int or kind is float:
        number = "a whole number" if kind is int else "a number"
        least = most = ""
        for limit in info.metadata:
            if (from_ := getattr(limit, "ge", None)) is not None:
                least = f" from {from_}"
            if (above := getattr(limit, "gt", None)) is not None:
                least = f" above {above} and up"
            if (to := getattr(limit, "le", None)) is not None:
                most = f" to {to}"
        return f"{number}{least}{most}"
    choices = [str(one) for one in (kind if _is_choice(kind) else get_args(kind))]  # type: ignore[union-attr]
    *others, last = [f"'{choice}'" for choice in choices]
    return f"{', '.join(others)} or {last}"


def _is_choice(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Enum)


def _shown(given: object, *, secret: bool) -> str:
    """A wrong number or choice, to be recognised by.

    Where it may be a `secret`, as somebody may have put the relay's password in the wrong place,
    nothing but a number as short as those that are wanted is repeated.
    """
    if isinstance(given, str) and not given:
        return "empty"
    repeated = isinstance(given, str | int | float) and not isinstance(given, bool)
    if secret and repeated and not _SHORT_NUMBER.fullmatch(str(given)):
        return "something else (not shown, as it may be a password)"
    if isinstance(given, str):
        printable = "".join(one if one.isprintable() else " " for one in given)
        return f"'{printable[:_SHOWN]}{'…' if len(printable) > _SHOWN else ''}'"
    if isinstance(given, bool):
        return str(given).lower()
    return f"{given}" if isinstance(given, int | float) else _kind(given)


def _kind(given: object) -> str:
    """What sort of value was given where text is wanted; the value itself may be a secret."""
    match given:
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case list():
            return "a list"
        case dict():
            return "a section"
        case date() | time():
            return "a date or a time"
        case _:
            return "something else"


def place(key: str, file: Path) -> str:
    """A key and where it was set, or would be."""
    variable = ENV_PREFIX + key.replace(".", "__").upper()
    for name in os.environ:
        if name.upper() == variable:
            return f"{key} in the environment's {name}"
    return f"{key} in {file}"


def inconsistent(settings: Settings, file: Path) -> Iterator[str]:
    """What each value's own type cannot tell."""
    for key in _NEVER_EMPTY:
        if not _value(settings, key).strip():
            usual = _value(Settings.model_construct(), key)
            yield f"{place(key, file)}: It must not be empty; the usual value is {usual}."
    for section, keys in _keys().items():
        for key in (f"{section}.{name}" for name in keys):
            if key not in _ADDRESSES and CONTROL.search(_value(settings, key)):
                yield (
                    f"{place(key, file)}: It holds a line break or another character that cannot "
                    "be seen; write it on one line, and a backslash twice."
                )
    for key in _PATHS:
        try:
            settings.path(_value(settings, key))
        except Misconfigured as error:
            said = str(error)
            if key in SECRET_FILES:  # it may be the secret itself
                said = "Its ~ stands for nobody's home folder; write the whole path."
            yield f"{place(key, file)}: {said}"
    if "memory://" in settings.archive.url.casefold():
        yield (
            f"{place('archive.url', file)}: It names an archive in memory, which keeps no record; "
            "name a folder, as in var/archive."
        )
    yield from _inconsistent_addresses(settings, file)
    yield from _inconsistent_archive(settings, file)
    yield from _inconsistent_relay(settings, file)
    yield from _inconsistent_reports(settings, file)
    yield from _inconsistent_tokens(settings, file)
    yield from _inconsistent_engine(settings, file)


def _inconsistent_addresses(settings: Settings, file: Path) -> Iterator[str]:
    one = [(key, _value(settings, key)) for key in _ADDRESSES]
    named = [(key, value) for key, value in one if value or key == "mail.sender"]
    several = [("alerts.to", address) for address in settings.alerts.to]
    for key, value in (*named, *several):
        try:
            ascii_address(split_mailbox(value)[1])
        except LetterFault as fault:
            what = "each address" if key in _ADDRESS_LISTS else "one address,"
            yield f"{place(key, file)}: {fault} Write {what} as name@domain or Name <name@domain>."


def _inconsistent_archive(settings: Settings, file: Path) -> Iterator[str]:
    archive = settings.archive
    if archive.endpoint and not _is_token_url(archive.endpoint):
        yield (
            f"{place('archive.endpoint', file)}: It must be a whole URL that begins with https://, "
            "without a name or a password in it; http:// is for this machine only."
        )
    if bool(archive.access_key) is not bool(archive.secret_key_file):
        yield (
            "archive.access_key and archive.secret_key_file belong together: set both, or neither "
            "where the keys are in the environment or a profile."
        )


def _inconsistent_relay(settings: Settings, file: Path) -> Iterator[str]:
    if settings.mail.mode is Mode.REDIRECT and not settings.mail.redirect_to:
        yield "mail.mode is redirect, so mail.redirect_to must name the inbox that gets all mail."
    host = settings.smtp.host.strip()
    if host and not _HOST.fullmatch(host) and not _is_address(host):
        yield (
            f"{place('smtp.host', file)}: It must be the relay's name or address alone, as in "
            "relay.example; its port goes into smtp.port, and how it is encrypted into "
            "smtp.security."
        )
    tokens = settings.oauth2.token_url or settings.oauth2.command
    if settings.smtp.username and not settings.smtp.password_file and not tokens:
        yield (
            "smtp.username is set, so smtp.password_file must name a file with the password, or "
            "[oauth2] must say where access tokens come from."
        )
    for domain in settings.only_to:
        if not _DOMAIN.fullmatch(domain):
            yield (
                f"{place('mail.only_to_domains', file)}: {_shown(domain, secret=False)} is no "
                "domain; write the part behind the @, several with commas: council.example, "
                "ombudsman.example."
            )


def _inconsistent_tokens(settings: Settings, file: Path) -> Iterator[str]:
    oauth2 = settings.oauth2
    asked = [key for key, value in oauth2 if value and key not in ("token_url", "command")]
    if oauth2.command and (oauth2.token_url or asked):
        yield (
            "oauth2.command is set, so the other keys of [oauth2] must be empty: access tokens "
            "come from either a command or an endpoint."
        )
    elif asked and not oauth2.token_url:
        yield f"oauth2.{asked[0]} is set, so oauth2.token_url must name the endpoint to ask."
    elif oauth2.token_url:
        if not _is_token_url(oauth2.token_url):
            yield (
                f"{place('oauth2.token_url', file)}: It must be a whole URL that begins with "
                "https://, without a name or a password in it; http:// is for this machine only."
            )
        if not oauth2.client_id:
            yield "oauth2.token_url is set, so oauth2.client_id must say as whom to ask."
        if not (oauth2.client_secret_file or oauth2.refresh_token_file):
            yield (
                "oauth2.token_url is set, so oauth2.refresh_token_file or "
                "oauth2.client_secret_file must name a file with what to ask with."
            )
    try:
        words = shlex.split(oauth2.command)
    except ValueError:
        words = []
    if oauth2.command and not words:
        yield (
            f"{place('oauth2.command', file)}: It must be a program and what it is to be given, "
            "with its quotes in pairs."
        )


def _inconsistent_engine(settings: Settings, file: Path) -> Iterator[str]:
    engine = settings.engine
    if engine.kind != "dask":
        return
    if not engine.address:
        yield "engine.kind is dask, so engine.address must name the cluster's scheduler."
        return
    parts = _scheduler(engine.address)
    if parts is None:
        yield (
            f"{place('engine.address', file)}: It must be tls:// or tcp:// with the scheduler's "
            "name and port behind it, as in tls://scheduler.example:8786."
        )
        return
    scheme, host = parts
    if scheme == "tls":
        for key in ("ca_file", "cert_file", "key_file"):
            if not getattr(engine, key):
                yield f"engine.address begins with tls://, so engine.{key} must name a PEM file."
    elif not is_loopback(host):
        yield (
            f"{place('engine.address', file)}: tcp:// is not encrypted and lets everybody in who "
            "reaches it, to run any program there; it is for a cluster on this machine alone, as "
            "in tcp://127.0.0.1:8786. Give the cluster certificates and write tls://."
        )


def _scheduler(address: str) -> tuple[str, str] | None:
    """How a scheduler is reached and the machine it is on; None for what is no such address."""
    try:
        parts = urlsplit(address)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return None
    plain = address.isascii() and address.isprintable() and not {" ", "@"} & set(address)
    more = parts.path or parts.query or parts.fragment
    known = parts.scheme in {"tls", "tcp"}
    return (parts.scheme, host) if known and host and port and plain and not more else None


def _inconsistent_reports(settings: Settings, file: Path) -> Iterator[str]:
    named = settings.reports
    if named.key_file and not named.address:
        yield "reports.key_file is set, so reports.address must name where reports come back to."
    elif named.key_file:
        try:
            # With any key: what is wrong is the address or the separator.
            ReturnAddress(
                mailbox=named.address, keys=(b"x" * SHORTEST_KEY,), separator=named.separator
            ).verp(_LONGEST_TOKEN)
        except Misconfigured as error:
            key = "address" if "separator" not in str(error) else "separator"
            yield f"{place(f'reports.{key}', file)}: {error}"
        except LetterFault:
            yield (
                f"{place('reports.address', file)}: The part before its @ is too long: with a "
                "delivery's mark behind it, it would be longer than the 64 characters that mail "
                "allows. Take one as short as bounces."
            )
    if not named.mailbox:
        return
    try:
        folder = imap_folder(named.mailbox)
    except Misconfigured as error:
        yield f"{place('reports.mailbox', file)}: {error}"
        return
    if folder is None:
        try:
            settings.path(named.mailbox)
        except Misconfigured as error:
            yield f"{place('reports.mailbox', file)}: {error}"
        if named.move_to != named.move_to.strip(". ") or "/" in named.move_to:
            yield (
                f"{place('reports.move_to', file)}: It must be the plain name of a folder within "
                "the Maildir, as in Read."
            )
    elif not named.password_file and not (settings.oauth2.token_url or settings.oauth2.command):
        yield (
            "reports.mailbox is on an IMAP server, so reports.password_file must name a file with "
            "the password, or [oauth2] must say where access tokens come from."
        )


def _is_token_url(url: str) -> bool:
    """Whether a URL is a token endpoint's that nobody overhears."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return False
    encrypted = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))
    plain = url.isascii() and url.isprintable() and " " not in url and "@" not in parts.netloc
    return bool(host) and port != 0 and encrypted and plain


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _value(settings: Settings, key: str) -> str:
    section, _, name = key.partition(".")
    return str(getattr(getattr(settings, section), name))
