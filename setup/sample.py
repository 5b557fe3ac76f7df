"""Say whether the shipped sample may be brought into this project's database.

Made-up figures must never land among real ones, and a first look must never send mail. Prints

- `fresh`: nothing is there yet, or bringing the sample in was begun here and not ended;
- `there`: there is a database already that holds something, so nothing is brought in;
- `elsewhere`: the settings name another database, or mail that leaves the machine.
"""

import sys
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa

from pipeline import schema
from pipeline.checks.databases import read_only, tidy
from pipeline.delivery import Mode
from pipeline.errors import LettersError, Misconfigured
from pipeline.settings import Settings, load

BEGUN = Path("var/sample-begun")
USUAL = Path("var/letters.db")
"""The sample's database; whoever names another means it for statistics of their own."""


def state(settings: Settings) -> str:
    """One of the three words, from the settings and what lies on disk."""
    kind, _, file = settings.database.url.partition(":///")
    if kind != "sqlite" or settings.source.url or settings.mail.mode is not Mode.CAPTURE:
        return "elsewhere"
    path = settings.path(file.partition("?")[0])
    if path != settings.project / USUAL:
        return "elsewhere"
    begun = (settings.project / BEGUN).exists()
    return "fresh" if begun or not path.exists() or _is_empty(settings) else "there"


def _is_empty(settings: Settings) -> bool:
    """Whether the ledger has this program's tables and nothing in them, statistics or runs.

    A run that was refused leaves such a one behind. What cannot be read is taken for full.
    """
    try:
        with closing(read_only(settings)) as db, tidy(db), db.read() as connection:
            return not any(
                connection.scalar(sa.select(sa.exists(sa.select(sa.literal(1)).select_from(table))))
                for table in (*schema.STATISTICS, schema.runs)
            )
    except (LettersError, sa.exc.SQLAlchemyError):
        return False


if __name__ == "__main__":
    try:
        sys.stdout.write(state(load()) + "\n")
    except Misconfigured as fault:
        sys.exit(str(fault))
