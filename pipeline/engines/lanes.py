"""What a Dask worker does: it keeps a lane for each of its threads, and makes letters in it.

A lane is opened with the worker's own settings (its own LETTERS_HOME and environment), so no
password of any kind ever travels: what comes with the work is the job, and the letter.

Nothing here raises: Dask would write what was to be done, with names and addresses, into its logs.
What goes wrong is an answer.
"""

import hashlib
import threading
import traceback
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipeline import bootstrap, log
from pipeline.archive import Archive
from pipeline.cluster import Kit, program_version
from pipeline.errors import LettersError, Misconfigured, Unavailable
from pipeline.ledger.letters import Faulted, FrozenLetter, Prepared
from pipeline.prepare import Job, Preparer
from pipeline.settings import load


@dataclass(frozen=True, slots=True, kw_only=True)
class Makings:
    """What a lane makes letters with; `trial` is the SHA-256 of the file it made of one of them.

    Two lanes that make other files of the same letter (of another LibreOffice, other fonts) must
    not both make letters of a run. Empty where the trial letter is at fault.
    """

    kit: Kit
    trial: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What came of a letter, and with what; without a letter, only with what it would be made."""

    worker: str
    makings: Makings
    result: Prepared | Faulted | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """Why a worker cannot make letters; `lasting` if a person has to mend something first."""

    worker: str
    said: str
    lasting: bool


@dataclass(frozen=True, slots=True)
class Sealed:
    """A letter on its way, of which neither a log nor the dashboard shows more than its number."""

    letter: FrozenLetter = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Assignment:
    """A job that a cluster has; `trial` is the letter that every lane makes first, for nobody.

    `key` is its own, and nobody else's.
    """

    key: str
    job: Job
    trial: FrozenLetter


@dataclass(slots=True, kw_only=True)
class _Lane:
    assignment: Assignment
    preparer: Preparer
    makings: Makings
    opened: ExitStack
    busy: bool = False


_guard = threading.RLock()
_assignments: dict[str, Assignment] = {}
_known_as: dict[str, str] = {}
_lanes: dict[int, _Lane] = {}
"""By thread: LibreOffice is spoken to by one at a time."""


def take_up(assignment: Assignment, worker: str) -> None:
    """From now on letters of this assignment may be made in this process, known as `worker`."""
    with _guard:
        _assignments[assignment.key] = assignment
        _known_as[assignment.key] = worker


def lay_down(key: str) -> None:
    """No more letters of this assignment: the lanes that were opened for it are closed."""
    with _guard:
        _assignments.pop(key, None)
        idle = [
            thread
            for thread, lane in _lanes.items()
            if lane.assignment.key == key and not lane.busy
        ]
        ended = [_lanes.pop(thread) for thread in idle]
    for lane in ended:
        lane.opened.close()


def make(key: str, sealed: Sealed | None) -> Made | Stopped:
    """Make a letter of an assignment, or only open the lane for it."""
    try:
        lane = _lane(key)
        try:
            result = lane.preparer.prepare(sealed.letter) if sealed is not None else None
        finally:
            _rest(lane)
        return Made(worker=_known_as[key], makings=lane.makings, result=result)
    except LettersError as error:
        said, lasting = str(error), isinstance(error, Misconfigured)
    except Exception as error:  # noqa: BLE001 - Dask would log the letter with it
        place = traceback.extract_tb(error.__traceback__)[-1]
        said = (
            f"A fault of the program itself: {type(error).__name__} in "
            f"{Path(place.filename).name}, line {place.lineno}."
        )
        lasting = False
    return Stopped(worker=_known_as.get(key, "?"), said=said, lasting=lasting)


def _lane(key: str) -> _Lane:
    """This thread's lane, opened if it has none for this assignment; from now on busy."""
    thread = threading.get_ident()
    with _guard:
        assignment = _assignments.get(key)
        if assignment is None:
            raise Unavailable("The worker was told nothing of the letters that it is to make.")
        old = _lanes.get(thread)
        if old is not None and old.assignment is assignment:
            old.busy = True
            return old
        _lanes.pop(thread, None)
    if old is not None:
        old.opened.close()
    lane = _opened(assignment)
    with _guard:
        _lanes[thread] = lane
    return lane


def _rest(lane: _Lane) -> None:
    """The lane is idle; closed if it is not wanted any more."""
    with _guard:
        lane.busy = False
        if _assignments.get(lane.assignment.key) is lane.assignment:
            return
        _lanes.pop(threading.get_ident(), None)
    lane.opened.close()


def _opened(assignment: Assignment) -> _Lane:
    from pipeline.convert import find_office

    settings = load()
    wanted = settings.log
    file = settings.path(wanted.file) if wanted.file else None
    log.begin(
        log.Log(level=log.Level(wanted.level), form=log.Form(wanted.format), file=file)
        if file
        else None
    )
    kit = Kit(program=program_version(), libreoffice=find_office().version)
    opened = ExitStack()
    try:
        preparer = opened.enter_context(bootstrap.preparer(settings, assignment.job))
        trial = _tried(preparer, assignment.trial)
    except BaseException:
        opened.close()
        raise
    return _Lane(
        assignment=assignment,
        preparer=preparer,
        makings=Makings(kit=kit, trial=trial),
        opened=opened,
        busy=True,
    )


def _tried(preparer: Preparer, letter: FrozenLetter) -> str:
    """The SHA-256 of the file that the lane makes of a letter, which is kept nowhere."""
    elsewhere = Archive(f"memory://letters-trial-{threading.get_ident()}")
    on_trial = replace(preparer, archive=elsewhere).prepare(replace(letter, id=0))
    if isinstance(on_trial, Faulted):
        return ""
    return hashlib.sha256(f"{on_trial.docx_sha256} {on_trial.pdf_sha256}".encode()).hexdigest()
