"""All checks in their order, and what is hidden of what they say."""

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from pipeline.checks import databases, engine, keeping, mail, making, program, returned
from pipeline.checks.found import Check, bounded, guarded
from pipeline.delivery import Mode
from pipeline.errors import LettersError
from pipeline.settings import SECRET_FILES, Settings

NETWORK_SECONDS = 15.0
"""How long a database, an archive or a relay may take in all."""
STATISTICS_SECONDS = 60.0
"""How long a whole year may take to be pulled."""
_QUERY = re.compile(r"(?<=://)[^?\s]*\?\S+")
_VALUE = re.compile(r"=[^&\s]*[^&\s.:,;)]")
_SHORTEST = 4  # characters of a secret that is looked for in what is said


def look(settings: Settings, *, quick: bool = False) -> Iterator[Check]:
    """Everything that a run with these settings leans on, as it is found.

    `quick` leaves out the letter that LibreOffice is made to make, which takes some seconds.
    Nothing is raised: what cannot be looked at is a fault of that check.
    """
    secrets = _secrets(settings)
    for found in _all(settings, quick=quick):
        yield replace(found, found=_hidden(found.found, secrets), fix=_hidden(found.fix, secrets))


def _all(settings: Settings, *, quick: bool) -> Iterator[Check]:
    now = datetime.now(UTC)
    yield from guarded("settings", partial(program.settings_read, settings))
    yield from guarded("program", program.program)
    yield from guarded("locale", program.characters)
    yield from guarded("log", partial(program.log, settings))
    readable = yield from bounded(
        "ledger",
        NETWORK_SECONDS,
        partial(databases.ledger, settings),
        fix="Check that the database in database.url can be reached, and that its disk works.",
    )
    newest = None
    if readable:
        newest = yield from bounded(
            "clock",
            NETWORK_SECONDS,
            partial(databases.newest_event, settings),
            fix="Check the ledger's database.",
        )
    yield from guarded("clock", partial(program.clock, now, newest))
    edition = yield from bounded(
        "statistics",
        STATISTICS_SECONDS,
        partial(databases.statistics, settings),
        fix="Check that the statistics database can be reached, and that its disk works.",
    )
    if edition is not None:
        yield from guarded("schedule", partial(databases.schedule, settings, edition, now))
    if readable:
        yield from bounded(
            "runs",
            NETWORK_SECONDS,
            partial(databases.standing, settings),
            fix="Check the ledger's database.",
        )
    named = None
    if readable:
        named = yield from bounded(
            "archive",
            NETWORK_SECONDS,
            partial(databases.archived, settings),
            fix="Check the ledger's database.",
        )
    if readable:
        yield from bounded(
            "instance",
            NETWORK_SECONDS,
            partial(keeping.mark, settings),
            fix="Check the ledger's database, and the file in database.mark.",
        )
    yield from bounded(
        "archive",
        NETWORK_SECONDS,
        partial(keeping.archive, settings, named or 0),
        fix="Check that the place in archive.url can be reached.",
    )
    template = yield from guarded("template", partial(making.template, settings, edition))
    yield from guarded("message", partial(making.message, settings, edition))
    yield from guarded("fonts", partial(making.fonts, settings, edition))
    office = yield from guarded("LibreOffice", making.office)
    kept = yield from guarded(program.SANDBOX, partial(program.sandbox, settings))
    if not quick:
        yield from guarded(
            "a letter", partial(making.conversion, settings, template, office, edition, kept)
        )
    yield from guarded("memory", partial(program.memory, settings))
    yield from bounded(
        engine.CHECK,
        engine.SECONDS + NETWORK_SECONDS,
        partial(engine.engine, settings),
        fix="Check the network, and the scheduler that engine.address names.",
    )
    yield from guarded("mail", partial(mail.mode, settings))
    yield from guarded("sender", partial(mail.sender, settings))
    yield from guarded("alerts", partial(mail.alerts, settings))
    if settings.mail.mode is Mode.CAPTURE:
        yield from guarded("captured mail", partial(keeping.captured, settings))
    else:
        yield from bounded(
            "relay",
            NETWORK_SECONDS,
            partial(mail.relay, settings, now),
            fix="Check smtp.host, the network, and whatever answers its name servers' questions.",
        )
    yield from bounded(
        returned.CHECK,
        NETWORK_SECONDS,
        partial(returned.returned, settings),
        fix="Check that the mail server in reports.mailbox can be reached.",
    )


def _secrets(settings: Settings) -> list[str]:
    """The passwords that may be in the settings, to be hidden should anything repeat them."""
    found: list[str | None] = []
    for url in (settings.database.url, settings.source.url):
        try:
            parsed = make_url(url) if url else None
        except (ArgumentError, ValueError):
            continue
        if parsed is not None:
            found += [str(parsed.password) if parsed.password else None]
            found += [str(value) for key, value in parsed.query.items() if "password" in key]
    for setting, what in SECRET_FILES.items():
        with suppress(LettersError):  # the relay's check says so, where it is needed
            found.append(settings.secret(setting, what))
    return sorted({each for each in found if each and len(each) >= _SHORTEST}, key=len)[::-1]


def _hidden(text: str, secrets: list[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, "***")
    # what a URL asks for may be a token under any name
    return _QUERY.sub(lambda found: _VALUE.sub("=***", found[0]), text)
