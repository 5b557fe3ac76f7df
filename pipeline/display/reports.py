"""What came back, and what came of it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pipeline.archive import Archive
from pipeline.delivery import Mode, State
from pipeline.display.console import counted, out, say, style_of
from pipeline.evidence import Reading, Unsettled
from pipeline.ledger.reports import CameBack, Moved, Waiting
from pipeline.log import status_in
from pipeline.london import LONDON
from pipeline.report import Reason
from pipeline.schema import Returned

SHOWN = 20
"""How many of each are shown before the rest is only counted."""

_KINDS = {
    Returned.REPORT: ("report", "reports"),
    Returned.AUTO_REPLY: ("automatic answer", "automatic answers"),
    Returned.UNMATCHED: ("report that fits no letter", "reports that fit no letter"),
    Returned.FORGED: ("mail to an address made up", "mails to addresses made up"),
    Returned.UNREADABLE: ("mail that cannot be read", "mails that cannot be read"),
    Returned.OTHER: ("mail that is no report", "mails that are no reports"),
}


def print_reading(
    reading: Reading, waiting: Sequence[Waiting], counts: Mapping[Returned, int], archive: Archive
) -> None:
    """What was read, what it moved, what is left in doubt, and what waits for a person."""
    _print_heading(reading)
    for one in reading.moved[:SHOWN]:
        _print_moved(one)
    _print_more(len(reading.moved))
    if reading.unsettled:
        out.print()
        doubts = counted(len(reading.unsettled), "delivery is", "deliveries are")
        say(out, f"{doubts} still in doubt. letters resolve AUTHORITY settles one by your word.")
        for left in reading.unsettled[:SHOWN]:
            _print_unsettled(left)
        _print_more(len(reading.unsettled))
    if counts:
        out.print()
        _print_waiting(waiting, sum(counts.values()), archive)
    elif not (reading.moved or reading.unsettled or reading.troubles):
        say(out, "Nothing has changed, and nothing needs a person.", style="green")


def _print_heading(reading: Reading) -> None:
    if reading.mailbox is not None:
        new = sum(reading.new.values())
        of_them = ", ".join(
            counted(number, *_KINDS[kind]) for kind, number in reading.new.items() if number
        )
        say(
            out,
            f"{counted(reading.mails, 'mail')} read in {reading.mailbox}, {new:,} new"
            f"{f': {of_them}' if of_them else ''}.",
        )
    said = ", ".join(f"{number:,} {kind.value}" for kind, number in reading.noted.items() if number)
    if said:
        say(out, f"Reported anew: {said}.")
    if reading.log is not None:
        say(out, f"The relay's log {reading.log} was asked about what it can tell.")


def _print_moved(one: Moved) -> None:
    say(out, f"{_whose(one)}, letter of {one.year}{_rehearsed(one.mode)}", style="bold")
    moved = f"{one.source.value} to {one.target.value}".replace("_", " ")
    say(out, f"{one.recipient}: {moved}", indent=2, style=style_of(one.target))
    say(out, _line(one.because), indent=4)


def _print_unsettled(one: Unsettled) -> None:
    say(out, f"{_whose(one.sent)}, letter of {one.sent.year}{_rehearsed(one.sent.mode)}", indent=2)
    say(out, f"{one.sent.recipient}: {_line(one.reason)}", indent=4)


def print_came_back(came_back: Sequence[CameBack]) -> None:
    """The letters that did not arrive, by why."""
    if not came_back:
        return
    letters = counted(len(came_back), "letter has come back", "letters have come back")
    say(out, f"{letters}:", style="bold yellow")
    for reason in Reason:
        alike = [one for one in came_back if one.reason is reason]
        if alike:
            say(out, f"{reason.value}: {len(alike):,}", indent=2, style="bold")
        for one in alike[:SHOWN]:
            when = f", {_moment(one.at)}" if one.at is not None else ""
            say(
                out,
                f"{_whose(one.sent)}, letter of {one.sent.year}{_rehearsed(one.sent.mode)}: "
                f"{one.sent.recipient}{when}",
                indent=4,
            )
        if len(alike) > SHOWN:
            say(out, f"and {len(alike) - SHOWN:,} more; --json lists them all", indent=4)
    say(
        out,
        "letters show AUTHORITY tells the other server's words; letters resend AUTHORITY --to "
        "ADDRESS --reason TEXT sends another copy.",
    )
    out.print()


def print_waiting(waiting: Sequence[Waiting], archive: Archive) -> None:
    """All that a person has to look at."""
    if not waiting:
        say(out, "No returned mail waits for a person.", style="green")
        return
    _print_waiting(waiting, len(waiting), archive)


def _print_waiting(waiting: Sequence[Waiting], total: int, archive: Archive) -> None:
    mails = counted(total, "returned mail waits", "returned mails wait")
    say(out, f"{mails} for a person:", style="bold yellow")
    for one in waiting:
        kind, day = _KINDS[one.kind][0], _moment(one.read_at)
        say(out, f"{one.id:>4}  {kind}, read {day}", indent=2, style="bold")
        if one.sender or one.subject:
            say(out, f"from {one.sender or 'nobody'}: {one.subject or 'no subject'}", indent=8)
        if one.reason:
            say(out, _line(one.reason), indent=8)
        if one.kept:
            say(out, archive.location(one.kept), indent=8)
    if total > len(waiting):
        say(out, f"and {total - len(waiting):,} more: letters reports --list", indent=2)
    say(
        out,
        "Look at each in a mail program, and put that on record: letters reports --seen NUMBER "
        "--note TEXT. Several at once: --seen 12,14-20",
    )


def print_seen(seen: Sequence[Waiting], person: str, left: int) -> None:
    """That somebody has looked at mails."""
    which = ", ".join(str(one.id) for one in seen)
    mails = f"The returned mail {which} was" if len(seen) == 1 else f"{len(seen):,} returned mails"
    told = (
        f"{mails} looked at by {person}."
        if len(seen) == 1
        else (f"{mails} were looked at by {person}: {which}.")
    )
    say(out, told, style="bold")
    more = counted(left, "returned mail waits", "returned mails wait")
    say(out, f"{more} for a person." if left else "No other waits for a person.")


def changes(reading: Reading) -> list[tuple[str, bool]]:
    """What a reading has changed, as sentences for a system's log, and whether one is urgent.

    A log outlives what is forgotten: nobody's address is in them, and no word of a mail server.
    """
    bounced = [one for one in reading.moved if one.target is State.BOUNCED]
    told = [
        (
            f"Came back: the letter of {one.year} to {_whose(one)}{_rehearsed(one.mode)}"
            f"{_code(one)}. What was said: letters show {one.authority} --year {one.year}",
            True,
        )
        for one in bounced[:SHOWN]
    ]
    if len(bounced) > SHOWN:
        told.append((f"{len(bounced) - SHOWN:,} more came back: letters status YEAR", True))
    settled = [one for one in reading.moved if one.source is State.IN_DOUBT]
    if settled:
        doubts = counted(len(settled), "delivery was", "deliveries were")
        told.append(
            (f"By reports and the relay's log, {doubts} settled that had been in doubt.", False)
        )
    if reading.for_a_person:
        mails = counted(reading.for_a_person, "returned mail waits", "returned mails wait")
        told.append((f"{mails} for a person: letters reports --list", True))
    return told


def reading_facts(reading: Reading, waiting: Sequence[Waiting], archive: Archive) -> dict[str, Any]:
    """The same for scripts: plain values."""
    return {
        **summary_facts(reading),
        "moved": [_moved_facts(one) for one in reading.moved],
        "in_doubt": [
            {
                "delivery": one.sent.delivery_id,
                "year": one.sent.year,
                "authority": one.sent.authority,
                "recipient": one.sent.recipient,
                "mode": one.sent.mode.value,
                "reason": one.reason,
            }
            for one in reading.unsettled
        ],
        "waiting": [mail_facts(one, archive) for one in waiting],
    }


def summary_facts(reading: Reading) -> dict[str, Any]:
    """A reading in numbers."""
    return {
        "mailbox": reading.mailbox,
        "relay_log": reading.log,
        "read": reading.mails,
        "new": {kind.value: reading.new[kind] for kind in Returned},
        "reported": {kind.value: number for kind, number in reading.noted.items() if number},
        "troubles": [str(one) for one in reading.troubles],
    }


def mail_facts(one: Waiting, archive: Archive) -> dict[str, Any]:
    """One mail that waits, or has waited, for a person."""
    return {
        "number": one.id,
        "kind": one.kind.value,
        "read_at": _iso(one.read_at),
        "mailbox": one.place,
        "from": one.sender,
        "subject": one.subject,
        "date": _iso(one.dated),
        "size": one.size,
        "reason": one.reason,
        "file": archive.location(one.kept) if one.kept else None,
        "sha256": one.sha256,
        "seen_at": _iso(one.seen_at),
        "seen_by": one.seen_by,
        "note": one.seen_note,
    }


def _moved_facts(one: Moved) -> dict[str, Any]:
    return {
        "delivery": one.delivery_id,
        "year": one.year,
        "authority": one.authority,
        "name": one.name,
        "recipient": one.recipient,
        "mode": one.mode.value,
        "from": one.source.value,
        "to": one.target.value,
        "because": one.because,
    }


def came_back_facts(one: CameBack) -> dict[str, Any]:
    """One letter that did not arrive."""
    return {
        "delivery": one.sent.delivery_id,
        "year": one.sent.year,
        "authority": one.sent.authority,
        "name": one.sent.name,
        "recipient": one.sent.recipient,
        "mode": one.sent.mode.value,
        "at": _iso(one.at),
        "reason": one.reason.name.lower(),
        "status": one.status,
        "said": one.said,
    }


def _moment(at: datetime) -> str:
    local = at.astimezone(LONDON)
    return f"{local.day} {local:%B %Y, %H:%M}"


def _whose(one: Any) -> str:
    return f"{one.name} ({one.authority})"


def _code(one: Moved) -> str:
    status = status_in(one.because)
    return f" ({status})" if status else ""


def _rehearsed(mode: Mode) -> str:
    return "" if mode is Mode.LIVE else f", a rehearsal ({mode.value})"


def _print_more(number: int) -> None:
    if number > SHOWN:
        say(out, f"and {number - SHOWN:,} more; --json lists them all", indent=2)


def _line(said: str) -> str:
    return " ".join(said.split())


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat(timespec="seconds")
