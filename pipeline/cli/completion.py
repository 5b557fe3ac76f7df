"""What the shell offers after Tab: authorities, years, kinds and states.

Read from the ledger and never written, and silent about everything that is not as it should be: a
shell that is asked for a completion is no place for an error.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from pipeline.letter import KINDS
from pipeline.register import short_name

if TYPE_CHECKING:
    from pipeline.database import Database

_PATIENCE_S = "2"  # nobody waits longer for a Tab


def authorities(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Codes, and names in short, that begin as what was typed; each with the full name.

    A name is offered in the short form that needs no quotes (kings-lynn-and-west-norfolk), and goes
    on from what was typed in the capitals that it was typed in.
    """
    typed = incomplete.casefold().replace("'", "")
    found: dict[str, str] = {}
    try:
        from pipeline.ledger import runs, story

        with _ledger(ctx) as db:
            year = _chosen(ctx, "year")
            for each in [int(year)] if year else reversed(runs.years(db)):
                run = runs.find_run(db, each)
                found = {**(story.near_names(db, run) if run else {}), **found}
    except Exception:  # noqa: BLE001 - see above
        return []
    codes = [(code, name) for code, name in found.items() if code.casefold().startswith(typed)]
    offered = [] if typed else sorted(codes)
    if typed:
        short = sorted((short_name(name), code, name) for code, name in found.items())
        offered = [
            *((incomplete + code[len(incomplete) :], name) for code, name in sorted(codes)),
            *(
                (incomplete + brief[len(typed) :], f"{name} ({code})")
                for brief, code, name in short
                if brief.startswith(typed)
            ),
        ]
    return offered


def years(ctx: typer.Context, incomplete: str) -> list[str]:
    """The years that have a run, the newest first."""
    try:
        from pipeline.ledger import runs

        with _ledger(ctx) as db:
            found = runs.years(db)
    except Exception:  # noqa: BLE001 - see above
        return []
    return [str(year) for year in reversed(found) if str(year).startswith(incomplete)]


def kinds(incomplete: str) -> list[str]:
    """The kinds of authority."""
    return [kind for kind in KINDS if kind.startswith(incomplete)]


def states(incomplete: str) -> list[str]:
    """How a letter can stand."""
    from pipeline.ledger.choice import STATES

    return [state for state in STATES if state.startswith(incomplete)]


@contextmanager
def _ledger(ctx: typer.Context) -> Iterator["Database"]:
    """The ledger, to be read; raises whatever is the matter with it."""
    from pipeline.database import Database, absolute_url
    from pipeline.settings import load

    config = _chosen(ctx, "config")
    settings = load(Path(config) if config else None)
    os.environ.setdefault("PGCONNECT_TIMEOUT", _PATIENCE_S)
    db = Database(absolute_url(settings.database.url, settings.project), read_only=True)
    try:
        yield db
    finally:
        db.close()


def _chosen(ctx: typer.Context, name: str) -> Any:
    """What the command line has for an option so far, before the command or after it."""
    here: Any = ctx
    while here is not None:
        if here.params.get(name):
            return here.params[name]
        here = here.parent
    return None
