"""Whether this machine is the ledger's home: the ledger beside the mark that is kept outside it.

A copied or restored ledger does not know what has been sent since, so nothing is sent with it until
a person has confirmed it. In capture mode nothing leaves the machine, and nobody is asked.
"""

import contextlib
import socket
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import sqlalchemy as sa

from pipeline.database import Database
from pipeline.delivery import OPEN, Mode
from pipeline.errors import LettersError, Misconfigured
from pipeline.highwater import Found, Held, Mark, MarkFile
from pipeline.ledger import holds, instance, runs, story
from pipeline.ledger.instance import Entry
from pipeline.ledger.runs import Run
from pipeline.london import LONDON

HOLDS_FOR = timedelta(days=60)
"""How long after a confirmation a year that is opened is held, too: as late as a start may be."""


class Standing(StrEnum):
    """What ledger and mark say together.

    `home`: they agree; `fresh`: there is no mark, and nothing to be marked yet. All others are no
    home: `unknown`: no mark, though the ledger has been in use; `another`: the mark is of another
    ledger, that has sent; `copied`: the mark was itself copied or put back; `older`: the ledger
    lacks the entry that the mark names; `damaged`: the mark cannot be read.
    """

    HOME = "home"
    FRESH = "fresh"
    UNKNOWN = "unknown"
    ANOTHER = "another"
    COPIED = "copied"
    OLDER = "older"
    DAMAGED = "damaged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """The ledger by its name, its newest entry, and what the mark says.

    `known_until`: of a ledger that lacks what the mark names, when its last entry before that was
    made.
    """

    standing: Standing
    ledger: str
    newest: Entry | None
    found: Found | None
    known_until: datetime | None = None

    @property
    def may_send(self) -> bool:
        """Whether mail may leave the machine with this ledger."""
        return self.standing in {Standing.HOME, Standing.FRESH}

    @property
    def mark(self) -> Mark | None:
        """The mark, if there is one that can be read."""
        return None if self.found is None else self.found.mark


def look(db: Database, file: MarkFile) -> Home:
    """How ledger and mark stand together; changes nothing.

    Raises Unavailable or Misconfigured where one of them cannot be read.
    """
    return _compared(db, file.read())


def refuse_elsewhere(db: Database, file: MarkFile) -> None:
    """Raise Misconfigured unless the ledger is at home here, or new; changes nothing."""
    _refuse(db, file, look(db, file))


def require(db: Database, file: MarkFile, *, now: datetime) -> None:
    """Before anything is sent: raise Misconfigured unless the ledger is at home here.

    A ledger of which nothing is known anywhere is taken up. Raises Unavailable for a mark that
    cannot be written.
    """
    refuse_elsewhere(db, file)
    with file.held(make=True) as held:
        home = _compared(db, held.found)  # nobody else changes it now
        _refuse(db, file, home)
        _take_up(db, home, held, sends=True, now=now)


def advance(file: MarkFile, ledger: str, entry: Entry) -> None:
    """Move the mark to an entry of the ledger of that name: after an intent, before its dot.

    Only forwards, and not yet so that it would outlive a power cut; `keep` does that. Raises
    Misconfigured if the mark is not this ledger's any more.
    """
    with file.held() as held:
        mark = None if held.found is None else held.found.mark
        if mark is None or mark.ledger != ledger:
            raise Misconfigured(
                f"The ledger's high-water mark {file} was changed while letters were being sent, "
                "so no more are sent; look at it: letters check"
            )
        if entry.event > mark.event:
            held.write(_mark(ledger, entry, sends=True, now=entry.at), durable=False)


def keep(db: Database, file: MarkFile, *, now: datetime) -> None:
    """At the end of what has written to the ledger: the mark at its newest entry, to stay.

    A mark that does not agree with the ledger is left as it is. Nothing is raised: what stands in
    the way is said before anything is sent.
    """
    with contextlib.suppress(LettersError, sa.exc.DBAPIError):
        home = look(db, file)
        marked = 0 if home.mark is None else home.mark.event
        newest = 0 if home.newest is None else home.newest.event
        taken = home.mark is not None and home.mark.ledger == home.ledger
        if not home.may_send or (home.mark is not None and not taken) or marked == newest > 0:
            return
        with file.held(make=True) as held:
            again = _compared(db, held.found)
            if again.may_send and (again.mark is None or again.mark.ledger == again.ledger):
                _take_up(db, again, held, sends=False, now=now)


def confirm(
    db: Database, file: MarkFile, *, note: str, person: str, hold: bool, now: datetime
) -> Sequence[int]:
    """Make this machine the ledger's home by a person's word; the years that this has paused.

    With `hold`, every year of which anything might still go out is paused first, and so will each
    be that is opened within HOLDS_FOR: what went out since the backup was made looks unsent.
    """
    home = look(db, file)
    paused = _hold_all(db, person=person, now=now) if hold else []
    with file.held(make=True) as held:
        data = {
            "host": socket.gethostname(),
            "note": note,
            "found": home.standing.value,
            "held": hold,
            "mark": _facts(home.mark),
        }
        instance.confirm(db, data, person=person, now=now)
        _, entry = instance.newest(db)
        held.write(_mark(home.ledger, entry, sends=True, now=now), durable=True)
    return paused


def hold(db: Database, run: Run, *, now: datetime) -> bool:
    """Pause a year that was opened soon after a confirmation, once; whether that was done.

    The ledger that was lost may have opened and sent the same year.
    """
    confirmed = instance.last_held(db)
    if (
        confirmed is None
        or not confirmed.at <= run.opened_at <= confirmed.at + HOLDS_FOR
        or instance.was_paused(db, run.year, since=confirmed.at)
    ):
        return False
    return holds.pause(
        db, run, because=_because(confirmed.at), person=confirmed.person, now=max(now, confirmed.at)
    )


def to_hold(db: Database) -> list[int]:
    """The years that are not paused and of which anything might still go to an authority."""
    found = []
    for year in runs.years(db):
        run = runs.find_run(db, year)
        if run is None or run.paused_at is not None:
            continue
        summary = story.summary(db, run, Mode.LIVE)
        if (
            summary.unplanned
            or summary.letters["unprepared"]
            or any(summary.deliveries[state.value] for state in OPEN)
        ):
            found.append(year)
    return found


def sentence(db: Database, file: MarkFile, home: Home) -> str:
    """What is the matter with a ledger that may not send, and what it means; no fix."""
    host = f" on {home.found.host}" if home.found is not None and home.found.host else ""
    match home.standing:
        case Standing.HOME | Standing.FRESH:
            return f"The ledger {db} is at home on this machine."
        case Standing.UNKNOWN:
            return (
                f"The ledger {db} has been in use, and this machine knows nothing of it: there is "
                f"no high-water mark of it at {file}. It may be a copy, which does not know what "
                "has been sent with the other"
            )
        case Standing.ANOTHER:
            return (
                f"The high-water mark {file} is of another ledger than {db}, which does not know "
                "what has been sent with that one"
            )
        case Standing.COPIED:
            return (
                f"The high-water mark {file} was not written to this file: it was copied{host}, "
                f"or put back from a backup, and so was perhaps the ledger {db}, which then does "
                "not know what has been sent since"
            )
        case Standing.OLDER:
            assert home.mark is not None  # noqa: S101 - it names what is lacking
            until = home.known_until
            known = "nothing before that" if until is None else f"what came before {moment(until)}"
            return (
                f"The ledger {db} does not hold what was recorded with it on "
                f"{moment(home.mark.at)}; it holds {known}. It was put back from a backup, and "
                "what was sent in between would be sent again"
            )
        case Standing.DAMAGED:
            return (
                f"The high-water mark {file} is damaged, so it cannot be known whether the ledger "
                f"{db} holds all that has been sent with it"
            )


FIX = (
    "Put the newest ledger there is in its place; if this is the newest, find out what has gone "
    "(docs/operating.md, Backups), then: letters db confirm --note TEXT"
)
"""What to do about a ledger that is not at home."""


def moment(at: datetime) -> str:
    """A time as people say it, in London, to the second."""
    return f"{at.astimezone(LONDON):%-d %B %Y, %H:%M:%S}"


def _refuse(db: Database, file: MarkFile, home: Home) -> None:
    if not home.may_send:
        raise Misconfigured(f"{sentence(db, file, home)}. Nothing is sent. {FIX}")


def _compared(db: Database, found: Found | None) -> Home:
    name, newest = instance.newest(db)

    def stands(standing: Standing, known_until: datetime | None = None) -> Home:
        return Home(
            standing=standing, ledger=name, newest=newest, found=found, known_until=known_until
        )

    mark = None if found is None else found.mark
    if found is not None and mark is None:
        return stands(Standing.DAMAGED)
    if found is None or mark is None or mark.ledger != name:
        if mark is not None and mark.sends:
            return stands(Standing.ANOTHER)
        return stands(Standing.UNKNOWN if instance.is_taken_up(db) else Standing.FRESH)
    if mark.event:
        entry = instance.entry(db, mark.event)
        marked = _mark(name, entry, sends=mark.sends, now=mark.at)
        if marked != mark:
            return stands(Standing.OLDER, instance.known_until(db, mark.at))
    return stands(Standing.HOME if found.is_original else Standing.COPIED)


def _take_up(db: Database, home: Home, held: Held, *, sends: bool, now: datetime) -> None:
    """Write the mark anew, further on; and at the first use, note in the ledger where that was.

    The mark stands before the note: a crash in between leaves both for the next time.
    """
    mine = home.mark is not None and home.mark.ledger == home.ledger
    sends = sends or (home.mark is not None and mine and home.mark.sends)
    if home.mark is None or not mine or not home.mark.event:
        held.write(_mark(home.ledger, None, sends=sends, now=now), durable=True)
        if not instance.is_taken_up(db):
            instance.confirm(db, {"host": socket.gethostname()}, person=None, now=now)
    _, entry = instance.newest(db)
    held.write(_mark(home.ledger, entry, sends=sends, now=now), durable=True)


def _mark(name: str, entry: Entry | None, *, sends: bool, now: datetime) -> Mark:
    if entry is None:
        return Mark(ledger=name, sends=sends, event=0, at=now)
    return Mark(ledger=name, sends=sends, **asdict(entry))


def _facts(mark: Mark | None) -> dict[str, object] | None:
    return None if mark is None else {**asdict(mark), "at": mark.at.isoformat()}


def _hold_all(db: Database, *, person: str, now: datetime) -> list[int]:
    because = _because(now)
    paused = []
    for year in to_hold(db):
        run = runs.find_run(db, year)
        if run is not None and holds.pause(db, run, because=because, person=person, now=now):
            paused.append(year)
    return paused


def _because(at: datetime) -> str:
    return (
        f"the ledger was confirmed as a copy or a backup on {moment(at)}; before it goes on, find "
        "out what had gone (docs/operating.md, Backups)"
    )
