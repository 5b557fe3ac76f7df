"""Where files are kept: the archive, the Maildir of captured mail, and the ledger's mark."""

import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

import fsspec  # type: ignore[import-untyped]

from pipeline import bootstrap, home
from pipeline.archive import PROBE, PROBE_BYTES, Bucket
from pipeline.checks.databases import free, read_only, room, tidy, to_be_made
from pipeline.checks.found import Check, Looking, fault, note, ok, size, warning
from pipeline.checks.program import shown
from pipeline.delivery import Mode
from pipeline.home import moment
from pipeline.settings import Settings

_PROBE = b"letters check wrote this and would have deleted it again\n"


def archive(settings: Settings, named: int = 0) -> Looking[None]:
    """Whether the archive keeps a file, gives it back and lets it go.

    `named` is the number of letters that the ledger says it holds.
    """
    opened = bootstrap.open_archive(settings)  # says what is wrong with a URL that is none
    if opened.bucket is not None:
        yield from _bucket(opened.bucket.hurried(), named)
        return
    url = settings.archive.url
    if "://" in url and not url.startswith(("file://", "local://")):
        yield from _far(settings, url)
        return
    folder = settings.path(url) if "://" not in url else Path(fsspec.core.url_to_fs(url)[1])
    if named and not folder.exists():
        yield fault(
            "archive",
            f"There is no archive at {folder}, and the ledger names {_letters(named)} there.",
            "See that the disk is mounted; correct archive.url; or restore a backup.",
        )
        return
    if not folder.exists():
        yield from to_be_made(
            "archive", folder, f"There is none yet; the first run makes {folder}.", "archive.url"
        )
        return
    wrong = list(_folder_faults("archive", folder, "archive.url"))
    yield from wrong
    if not wrong:
        yield ok(
            "archive",
            f"{folder}: a file was written, read back and deleted; {size(free(folder))} free.",
        )
        yield from room("archive", folder)


def captured(settings: Settings) -> Looking[None]:
    """Whether mail can be captured."""
    maildir = settings.path(settings.mail.capture)
    if not maildir.exists():
        yield from to_be_made(
            "captured mail",
            maildir,
            f"There is none yet; the first run makes the Maildir {maildir}.",
            "mail.capture",
        )
        return
    # A message is written in tmp and moved to new; where there is none yet, it is made.
    folders = [maildir / name for name in ("tmp", "new") if (maildir / name).exists()] or [maildir]
    wrong = [
        found for each in folders for found in _folder_faults("captured mail", each, "mail.capture")
    ]
    yield from wrong
    if not wrong:
        yield ok("captured mail", f"{maildir}: a Maildir, may be written to.")
        yield from room("captured mail", maildir)


def mark(settings: Settings) -> Looking[None]:
    """Whether mail may leave this machine with this ledger, or whether it may be a copy."""
    file, check = bootstrap.mark(settings), "instance"
    with tidy(db := read_only(settings)):
        found = home.look(db, file)
        said = home.sentence(db, file, found)
    if not found.may_send:
        if settings.mail.mode is Mode.CAPTURE:
            yield note(check, f"{said}. While mail is captured that is no harm.", f"{home.FIX}.")
        else:
            yield fault(check, f"{said}. Nothing would be sent.", f"{home.FIX}.")
    elif not file.path.exists():
        yield from to_be_made(
            check,
            file.path,
            f"The ledger is new here; the next run makes its high-water mark {file}.",
            "database.mark",
        )
    elif not os.access(file.path, os.R_OK | os.W_OK):
        yield fault(
            check,
            f"The ledger's high-water mark {file} may not be written to, so nothing would be sent.",
            "Let whoever runs this write to it, or name another place in database.mark.",
        )
    elif found.mark is None or found.mark.ledger != found.ledger:
        yield ok(check, "The ledger is new here.")
    else:
        yield ok(check, f"The ledger is at home here, marked up to {moment(found.mark.at)}.")


def _folder_faults(check: str, folder: Path, setting: str) -> Iterator[Check]:
    """What writing a small file to a folder, reading it back and deleting it brings to light."""
    if not folder.is_dir():
        yield fault(
            check, f"{folder} is not a folder.", f"Name a folder in {setting}, or move it away."
        )
        return
    try:
        # A name that the archive's own half-written files have too, and Maildir readers pass over.
        descriptor, name = tempfile.mkstemp(prefix=".check-", suffix=".part", dir=folder)
        try:
            with os.fdopen(descriptor, "w+b") as file:
                file.write(_PROBE)
                file.flush()
                os.fsync(descriptor)
                file.seek(0)
                same = file.read() == _PROBE
        finally:
            Path(name).unlink()
    except OSError as error:
        yield fault(
            check,
            f"{folder} cannot be written to: {error.strerror or error}.",
            "Let whoever runs this write there, make room on its disk, or name another place in "
            f"{setting}.",
        )
        return
    if not same:
        yield fault(
            check,
            f"{folder} did not give back what was written to it.",
            f"Its disk is failing: name another place in {setting}.",
        )


def _bucket(bucket: Bucket, named: int) -> Looking[None]:
    """What putting the probe into a bucket, reading and listing it brings to light."""
    place = bucket.location("").rstrip("/")
    trial = bucket.trial(PROBE, PROBE_BYTES)
    if bucket.get(PROBE) != PROBE_BYTES:
        yield fault(
            "archive",
            f"{place} did not give back what was written to it as {PROBE}.",
            "See who has put something else there; if nobody has, name another bucket in "
            "archive.url.",
        )
        return
    if trial.unlisted:
        said, _, fix = trial.unlisted.partition(". ")
        yield warning(
            "archive",
            f"{said.rstrip('.')}. So letters verify cannot tell what lies there beyond what the "
            "ledger names.",
            fix or "Let these credentials list the bucket (s3:ListBucket).",
        )
    elif named and all(name == PROBE for name in bucket.names("")):
        yield fault(
            "archive",
            f"There is nothing in {place}, and the ledger names {_letters(named)} there.",
            "Correct archive.url, or restore a backup.",
        )
        return
    if not trial.guarded:
        yield warning(
            "archive",
            f"The server of {place} does not refuse to overwrite an object: If-None-Match means "
            "nothing to it. Each name holds a part of its file's hash, so the letters are safe "
            "from one another, but not from a mistake.",
            "Let the bucket keep older versions, or use a newer version of its server.",
        )
    refused = " a second of the same name was refused;" if trial.guarded else ""
    yield ok(
        "archive",
        f"{place}: an object was written and read back;{refused} {PROBE} stays there.",
    )


def _letters(number: int) -> str:
    return f"{number:,} {'letter' if number == 1 else 'letters'}"


def _far(settings: Settings, url: str) -> Looking[None]:
    files, root = fsspec.core.url_to_fs(url)
    place = f"{str(root).rstrip('/')}/.check-{secrets.token_hex(8)}"
    told = shown(settings, "archive.url", url)
    try:
        files.pipe_file(place, _PROBE)
        try:
            same = files.cat_file(place) == _PROBE
        finally:
            files.rm_file(place)
    except OSError as error:
        yield fault(
            "archive",
            f"{told} cannot be used: {error.strerror or error}.",
            "Check that it can be reached, that whoever runs this may write there, and that "
            "archive.url is right.",
        )
        return
    if same:
        yield ok("archive", f"{told}: an object was written, read back and deleted.")
    else:
        yield fault(
            "archive",
            f"{told} did not give back what was written to it.",
            "Name another place in archive.url.",
        )
