"""This project as a contender: the run opened, prepared by the local engine, archived, recorded.

    python -m bench.ours ... [ledger=URL] [lane=plain|auto] [opened] [until=SHARE]

The statistics are read from their database, the letters frozen in a ledger (by default SQLite in
the folder), made in lanes, proved, archived in a folder and synced, and recorded, each in its own
transaction. With `until=0.9` the run is left when so much of it is made; called again on the same
folder it goes on, as the command does.
"""

import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from bench import contender
from bench.authorities import YEAR
from bench.contender import Asked
from pipeline import bootstrap, migrate, run, settings
from pipeline.engines.local import LocalEngine
from pipeline.ledger import letters, runs
from pipeline.ledger.letters import Faulted, FrozenLetter, Prepared
from pipeline.prepare import Job
from pipeline.run import Engine
from pipeline.settings import Settings
from pipeline.settings.sections import ConvertSettings


def has_lanes() -> bool:
    """Whether this version knows of a lane that does not load each letter."""
    return "lane" in ConvertSettings.model_fields


def environment(asked: Asked, told: Mapping[str, str]) -> dict[str, str]:
    """The settings of a site in the folder, as variables of the environment."""
    found = {
        "LETTERS_SOURCE__URL": asked.statistics,
        "LETTERS_DATABASE__URL": told.get("ledger") or f"sqlite:///{asked.folder}/ledger.db",
        "LETTERS_DATABASE__MARK": str(asked.folder / "mark"),
        "LETTERS_ARCHIVE__URL": str(asked.folder / "archive"),
        "LETTERS_MAIL__CAPTURE": str(asked.folder / "captured"),
        "LETTERS_CONVERT__WORKERS": str(asked.workers),
    }
    if has_lanes():
        found["LETTERS_CONVERT__LANE"] = told.get("lane", "auto")
    return found


def site(asked: Asked) -> Settings:
    """The settings of a site in the folder; what else is set in the environment is left out."""
    told = dict(one.split("=", 1) for one in asked.more if "=" in one)
    for name in [name for name in os.environ if name.startswith("LETTERS_")]:
        if name != "LETTERS_SOFFICE":
            del os.environ[name]
    os.environ.update(environment(asked, told))
    return settings.load()


def upgraded(asked: Asked) -> Settings:
    """The same, with the ledger's tables made."""
    wired = site(asked)
    with closing(bootstrap.open_ledger(wired)) as ledger:
        migrate.upgrade(ledger)
    return wired


@dataclass(frozen=True, slots=True)
class Told:
    """Progress for whoever measures: each letter that is prepared and recorded."""

    def begin(self, stage: str, total: int) -> None:
        """Nothing: what is measured is known."""

    def advance(self) -> None:
        """One more."""
        contender.tell_made()

    def end(self) -> None:
        """Nothing."""


@dataclass(frozen=True, slots=True)
class Silent:
    """Progress for nobody."""

    def begin(self, stage: str, total: int) -> None:
        """Nothing."""

    def advance(self) -> None:
        """Nothing."""

    def end(self) -> None:
        """Nothing."""


@dataclass(frozen=True, slots=True)
class Some:
    """An engine that is given the first letters only, as if it had been ended after them."""

    engine: Engine
    letters: int

    def each(self, job: Job, letters: Iterable[FrozenLetter]) -> Iterator[Prepared | Faulted]:
        """The results of the first letters."""
        return self.engine.each(job, islice(letters, self.letters))


def main() -> None:
    """Open the year's run if there is none, and prepare what is not prepared."""
    asked = contender.asked()
    wired = upgraded(asked)
    until = next((float(one[6:]) for one in asked.more if one.startswith("until=")), 1.0)
    with bootstrap.pipeline(wired, writes=True) as pipeline:
        begun = time.monotonic()
        found = runs.find_run(pipeline.ledger, YEAR)
        if found is None:
            found = run.open_run(pipeline, YEAR, person="bench", progress=Silent())
        waiting = letters.count_unprepared(pipeline.ledger, found.id)
        contender.tell_composed(time.monotonic() - begun, waiting)
        if "opened" in asked.more:
            return
        engine: Engine = LocalEngine(wired)
        if until < 1 or asked.letters < waiting:
            engine = Some(engine, min(asked.letters, round(waiting * until)))
        run.prepare(pipeline, engine, found, progress=Told())
        left = letters.count_unprepared(pipeline.ledger, found.id)
        if until == 1 and asked.letters >= waiting and left:
            sys.exit(f"{left} letters could not be made: {Path(asked.folder)}")


if __name__ == "__main__":
    main()
