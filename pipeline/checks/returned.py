"""What comes back: the mailbox that reports come to, the key that marks them, the relay's log."""

import contextlib

from pipeline import bootstrap
from pipeline.checks.found import Looking, note, ok
from pipeline.delivery import Mode
from pipeline.evidence import is_here
from pipeline.mailbox import Unreadable
from pipeline.settings import Settings

CHECK = "reports"


def returned(settings: Settings) -> Looking[None]:
    """Whether reports of what became of the letters can be read. Nothing is changed."""
    named = settings.reports
    captured = settings.mail.mode is Mode.CAPTURE
    if not (named.mailbox or named.relay_log or named.key_file):
        if not captured:
            yield note(
                CHECK,
                "What comes back is read nowhere: it goes to "
                f"{named.address or settings.mail.sender}, and somebody has to look there.",
                "Name the mailbox in reports.mailbox, or the relay's log in reports.relay_log; "
                "docs/operating.md says how.",
            )
        return
    own = bootstrap.returns(settings)
    if own is not None:
        own()  # says what is wrong with the key's file
    if named.mailbox:
        mailbox = bootstrap.mailbox(settings)
        found = f"{mailbox.place[:1].upper()}{mailbox.place[1:]} can be read"
        with contextlib.closing(mailbox.read()) as mails:  # type: ignore[type-var]
            first = next(mails, None)
        if first is None:
            yield ok(CHECK, f"{found}; it is empty.")
        elif isinstance(first, Unreadable):
            yield note(CHECK, f"{found}, but not all that is in it. {first.reason}")
        else:
            mails_there = f"{first.left + 1:,} {'mail' if not first.left else 'mails'}"
            yield ok(CHECK, f"{found}; it holds {mails_there}.")
        if own is None:
            yield note(
                CHECK,
                "No key is set, so whoever has a letter's Message-ID could report of it.",
                "Set reports.key_file and reports.address, if the relay takes such addresses.",
            )
    log = bootstrap.sources(settings).log
    if log is not None:
        if log.look():  # says what is wrong with the file
            yield ok(CHECK, f"The relay's log {log.path} can be read.")
        else:
            yield ok(CHECK, f"The relay's log {log.path} can be read; it is empty.")
        if not captured and not is_here(f"{settings.smtp.host}:{settings.smtp.port}", None):
            yield note(
                CHECK,
                f"The relay {settings.smtp.host} is not known to be on this machine, and the log "
                "is believed only of one that is.",
                "If it is this machine, name it localhost in smtp.host.",
            )
