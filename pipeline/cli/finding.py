"""From what a person typed to the run and the letter that are meant."""

import difflib
from typing import Any

from pipeline import run
from pipeline.errors import Refused
from pipeline.ledger import runs, story
from pipeline.ledger.runs import Run


def run_of(pipeline: run.Pipeline, year: int | None) -> Run:
    """The year's live run; without a year, the only one there is. Raises Refused."""
    if year is None:
        known = runs.years(pipeline.ledger)
        if len(known) != 1:
            listed = ", ".join(map(str, known)) or "none"
            raise Refused(f"Which year? Name it with --year (on record: {listed}).")
        year = known[0]
    found = runs.find_run(pipeline.ledger, year)
    if found is None:
        listed = ", ".join(map(str, runs.years(pipeline.ledger))) or "none"
        raise Refused(f"No run of {year} is on record (there is: {listed}); letters run {year}")
    return found


def letter_of(pipeline: run.Pipeline, found: Run, authority: str) -> Any:
    """The letter of the run that is meant, as its row. Raises Refused, with what is near."""
    letter = story.find_letter(pipeline.ledger, found, authority.strip())
    if letter is not None:
        return letter
    names = story.near_names(pipeline.ledger, found)
    wanted = authority.strip().casefold()
    near = [code for code, name in names.items() if wanted in name.casefold()]
    near += [
        code
        for code, name in names.items()
        if name in difflib.get_close_matches(authority, names.values(), n=3)
    ]
    near += difflib.get_close_matches(authority.upper(), names, n=3)
    hint = "; ".join(f"{code} {names[code]}" for code in dict.fromkeys(near[:5]))
    raise Refused(
        f"The {found.year} run has no letter for the code {authority}."
        + (f" Did you mean {hint}?" if hint else "")
    )
