"""From settings to a wired pipeline: the only place where things are put together."""

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache, partial
from typing import TYPE_CHECKING

from pipeline import home, log, migrate
from pipeline.address import is_loopback, split_mailbox
from pipeline.alerts import Telling
from pipeline.archive import Account, Archive
from pipeline.cluster import Place
from pipeline.database import Database, absolute_url
from pipeline.delivery import Mode, Pace, Patience
from pipeline.dispatch import Outbox
from pipeline.envelope import ReturnAddress
from pipeline.evidence import Sources
from pipeline.highwater import MarkFile
from pipeline.ledger.messages import Sender
from pipeline.letter import MERGE_FIELDS
from pipeline.mailbox import Imap, Mailbox, Maildir
from pipeline.oauth import AccessTokens, Command, Endpoint, RefreshToken
from pipeline.prepare import Job, Preparer
from pipeline.relaylog import RelayLog
from pipeline.run import Pipeline
from pipeline.settings import Settings, faults
from pipeline.settings.mailboxes import imap_folder
from pipeline.transport import Relay

if TYPE_CHECKING:
    from pipeline.convert import Converter

_FAILURES = ("FAILURE", "DELAY")


def open_ledger(settings: Settings) -> Database:
    """The ledger's database, not yet looked at."""
    return _database(settings, settings.database.url, "database.url")


def open_statistics(settings: Settings) -> Database:
    """The statistics database, read only; the ledger's where no other is set."""
    if settings.source.url:
        return _database(settings, settings.source.url, "source.url", read_only=True)
    return _database(settings, settings.database.url, "database.url", read_only=True)


def _database(settings: Settings, url: str, setting: str, *, read_only: bool = False) -> Database:
    # What is wrong with the URL itself is mended where it was set.
    place = faults.place(setting, settings.read_from)
    absolute = absolute_url(url, settings.project, setting=place)
    return Database(absolute, read_only=read_only, setting=setting)


def open_archive(settings: Settings) -> Archive:
    """The frozen files."""
    named = settings.archive
    account = Account(
        endpoint=named.endpoint,
        region=named.region,
        ca_file=str(settings.path(named.ca_file)) if named.ca_file else "",
        profile=named.profile,
        access_key=named.access_key,
        secret_key=lambda: settings.secret("archive.secret_key_file", "secret key"),
    )
    return Archive(named.url if "://" in named.url else str(settings.path(named.url)), account)


def cluster(settings: Settings) -> Place:
    """Where the machines are that make letters, and what this one proves itself to them with."""
    named = settings.engine
    return Place(
        address=named.address,
        ca_file=settings.path(named.ca_file) if named.ca_file else None,
        cert_file=settings.path(named.cert_file) if named.cert_file else None,
        key_file=settings.path(named.key_file) if named.key_file else None,
    )


def mark(settings: Settings) -> MarkFile:
    """The file outside the ledger that tells a copy or an old one."""
    return MarkFile(settings.path(settings.database.mark))


def outbox(settings: Settings, *, at_once: bool = True) -> Outbox:
    """Where mail goes in the mode that is set, whom it is from, and how fast it may go."""
    mail, smtp = settings.mail, settings.smtp
    sender = Sender(
        address=split_mailbox(mail.sender)[1],
        mode=mail.mode,
        redirect_to=split_mailbox(mail.redirect_to)[1],
        mailbox=mail.sender,
        reply_to=mail.reply_to or None,
        envelope=settings.reports.address,
        returns=None if mail.mode is Mode.CAPTURE else returns(settings),
    )
    return Outbox(
        sender=sender,
        relay=None if mail.mode is Mode.CAPTURE else partial(_relay, settings),
        maildir=settings.path(mail.capture),
        connections=smtp.connections,
        pace=_pace(settings),
        patience=Patience(times=smtp.tries, within=timedelta(days=smtp.try_for_days)),
        notify=("SUCCESS", *_FAILURES) if settings.reports.mailbox else _FAILURES,
        only_to=settings.only_to if mail.mode is Mode.LIVE else (),
        at_once=at_once,
        mark=mark(settings),
    )


def telling(settings: Settings) -> Telling:
    """Who is told when a person is needed."""
    named = settings.alerts
    return Telling(
        to=tuple(dict.fromkeys(split_mailbox(each)[1] for each in named.to)),
        quiet=timedelta(minutes=named.quiet_minutes),
    )


def returns(settings: Settings) -> Callable[[], ReturnAddress] | None:
    """Where reports come back to, marked for each delivery; None where no key is set.

    The key is read when it is called, once. Raises Misconfigured then.
    """
    reports = settings.reports
    if not reports.key_file:
        return None

    @cache
    def read() -> ReturnAddress:
        # The first one signs; those behind it are older and still prove what was sent with them.
        keys = (settings.secret("reports.key_file", "key") or "").split()
        return ReturnAddress(
            mailbox=reports.address,
            keys=tuple(key.encode() for key in keys),
            separator=reports.separator,
        )

    return read


def sources(settings: Settings) -> Sources:
    """Where evidence is found of what became of the letters; nothing is opened yet."""
    named = settings.reports
    return Sources(
        mailbox=partial(mailbox, settings) if named.mailbox else None,
        own=returns(settings),
        log=RelayLog(settings.path(named.relay_log)) if named.relay_log else None,
        # A rehearsal leaves the mailbox as it is.
        mark=None if settings.mail.mode is Mode.CAPTURE else mark(settings),
    )


def mailbox(settings: Settings) -> Mailbox:
    """Where returned mail is read. The password is read now; nothing is opened yet."""
    named = settings.reports
    move_to = named.move_to or None
    place = imap_folder(named.mailbox)
    if place is None:
        return Maildir(path=settings.path(named.mailbox), move_to=move_to)
    password = settings.secret("reports.password_file")
    return Imap(
        host=place.host,
        port=place.port,
        username=place.username,
        folder=place.folder,
        security=place.security,
        password=password,
        token=access_tokens(settings) if password is None else None,
        move_to=move_to,
        ca_file=str(settings.path(named.ca_file)) if named.ca_file else None,
        # It has not left this machine; but whoever names an authority wants it asked.
        verify=bool(named.ca_file) or not is_loopback(place.host),
        login_fix=_mailbox_login(settings),
    )


def _mailbox_login(settings: Settings) -> str:
    """What to put right when the mail server refuses the name or the password."""
    named, file = settings.reports, settings.read_from
    mailbox = faults.place("reports.mailbox", file)
    password = faults.place("reports.password_file", file)
    return (
        f"Correct the name before the @ in {mailbox}, or the password in "
        f"{settings.path(named.password_file)}, which is named by {password}."
    )


def _pace(settings: Settings) -> Pace:
    if settings.mail.mode is Mode.CAPTURE:  # no relay that could be hurried
        return Pace()
    overall, to_one_domain = (
        timedelta(minutes=1) / a_minute if a_minute else timedelta(0)
        for a_minute in (settings.smtp.per_minute, settings.smtp.per_minute_to_one_domain)
    )
    return Pace(overall=overall, to_one_domain=to_one_domain)


@contextmanager
def pipeline(settings: Settings, *, writes: bool, at_once: bool = True) -> Iterator[Pipeline]:
    """A pipeline, wired. For writing, an embedded ledger is created or upgraded first.

    `at_once`: a person asks, so that a relay in trouble is tried at once. What was written is
    marked at the end, outside the ledger.
    """
    ledger = open_ledger(settings)
    statistics = open_statistics(settings)
    try:
        if writes:
            migrate.ensure_current(ledger)
        else:
            migrate.require_current(ledger)
        template = settings.path(settings.template.path)
        wired = Pipeline(
            ledger=ledger,
            statistics=statistics,
            archive=open_archive(settings),
            template=template,
            wording=template.parent,
            outbox=outbox(settings, at_once=at_once),
            people=settings.approval.people,
        )
        try:
            yield wired
        finally:
            if writes:
                home.keep(ledger, mark(settings), now=datetime.now(UTC))
    finally:
        # Of two on one SQLite file, only who may write clears -wal and -shm away, if it goes last.
        statistics.close()
        ledger.close()


@contextmanager
def converter(settings: Settings) -> "Iterator[Converter]":
    """A LibreOffice of one's own, as the settings say; closed at the end."""
    from pipeline.convert import Converter, find_office, find_sandbox

    with Converter(
        find_office(),
        timeout=settings.convert.timeout,
        memory=settings.convert.memory_mb * 1_000_000,
        sandbox=find_sandbox(settings.convert.sandbox),
    ) as one:
        yield one


@contextmanager
def preparer(settings: Settings, job: Job) -> Iterator[Preparer]:
    """One lane for preparing letters, with a LibreOffice of its own; closed at the end."""
    from pipeline.convert import Lane
    from pipeline.proof import Names
    from pipeline.template import compile_template

    archive = open_archive(settings)
    data = archive.get(job.template, job.template_sha256)
    with converter(settings) as office:
        yield Preparer(
            template=compile_template(data, fields=MERGE_FIELDS),
            converter=Lane(office, told=_lane_left) if settings.convert.lane == "auto" else office,
            archive=archive,
            names=Names(job.names),
            dated=job.dated,
        )


def _lane_left(_why: str) -> None:
    # A log holds no sentences, as they may quote a letter; the event alone sends a person looking.
    log.warning("lane.given_up")


def _relay(settings: Settings) -> Relay:
    smtp = settings.smtp
    password = settings.password()
    return Relay(
        host=smtp.host,
        port=smtp.port,
        security=smtp.security,
        username=smtp.username or None,
        password=password if smtp.username else None,
        token=access_tokens(settings) if smtp.username and password is None else None,
        ca_file=str(settings.path(smtp.ca_file)) if smtp.ca_file else None,
    )


@lru_cache(maxsize=8)
def access_tokens(settings: Settings) -> AccessTokens | None:
    """Access tokens for logins without a password; None where the settings name no source of any.

    The same settings get the same ones, so that all threads, and the relay and the mailbox, share a
    token. No secret is read before one is asked for.
    """
    oauth2 = settings.oauth2
    if oauth2.command:
        words = tuple(shlex.split(oauth2.command))
        return AccessTokens(Command(words=words, folder=settings.project))
    if not oauth2.token_url:
        return None
    refresh = None
    if oauth2.refresh_token_file:
        refresh = RefreshToken(
            settings.path(oauth2.refresh_token_file),
            lambda: settings.secret("oauth2.refresh_token_file", "refresh token") or "",
        )
    return AccessTokens(
        Endpoint(
            url=oauth2.token_url,
            client_id=oauth2.client_id,
            scope=oauth2.scope,
            secret=lambda: settings.secret("oauth2.client_secret_file", "client secret"),
            refresh=refresh,
        )
    )
