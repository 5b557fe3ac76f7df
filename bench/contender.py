"""What every contender has in common: what it is asked, and how it says what it has done.

A contender is a program. It composes the letters of a statistics database, makes so many of them
with so many workers, and prints, each on a line: `composed SECONDS COUNT` once; `made` for each
letter, when its PDF lies in its folder. Whoever started it notes when a line arrives.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.authorities import YEAR
from pipeline import source
from pipeline.database import Database
from pipeline.letter import Letter, compose

ROOT = Path(__file__).resolve().parent.parent
TEMPLATE = ROOT / "templates" / "letter.docx"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a contender is to do; `installed` is where the peers are, `more` its own words."""

    statistics: str
    folder: Path
    letters: int
    workers: int
    installed: Path
    more: Sequence[str]

    def words(self) -> list[str]:
        """The same, as a command line."""
        return [
            *("--statistics", self.statistics),
            *("--folder", str(self.folder)),
            *("--letters", str(self.letters)),
            *("--workers", str(self.workers)),
            *("--installed", str(self.installed)),
            *self.more,
        ]


def asked() -> Asked:
    """Read the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--statistics", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--letters", type=int, required=True)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--installed", type=Path, required=True)
    parser.add_argument("more", nargs="*")
    found = parser.parse_args()
    found.folder.mkdir(parents=True, exist_ok=True)
    return Asked(**vars(found))


def composed(statistics: str) -> list[Letter]:
    """All letters of the statistics, in the order of their codes; those with a fault left out."""
    db = Database(statistics, read_only=True)
    try:
        with source.pull(db, YEAR) as pulled:
            letters = [compose(one, pulled.edition, pulled.averages) for one in pulled.records]
    finally:
        db.close()
    return [letter for letter in letters if letter.fault is None]


def tell_composed(seconds: float, count: int) -> None:
    """Say that all letters are composed, and how long that took."""
    print(f"composed {seconds:.6f} {count}", flush=True)


def tell_made() -> None:
    """Say that one letter's PDF is there."""
    print("made", flush=True)
