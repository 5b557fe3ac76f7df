"""Facts that an edition has from the year it was made from, and that nobody has looked at since."""

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline import source
from pipeline.errors import Refused
from pipeline.ledger import editions
from pipeline.run import Pipeline


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """The names of such facts, and the year that they are of."""

    year: int
    facts: list[str]


def carried(pipeline: Pipeline, year: int, facts: Mapping[str, int | str]) -> Carried | None:
    """Which of the edition's facts are still the other year's; None if it was not made from one.

    A fact that somebody has named since, with `letters edition YEAR --set`, has been looked at, and
    one that has another value has been changed.
    """
    made = editions.making(pipeline.ledger, year)
    if made is None:
        return None
    try:
        before = source.stored_edition(pipeline.statistics, made.made_from).facts
    except Refused:
        return None  # it is not there any more, and nothing can be told
    return Carried(
        year=made.made_from,
        facts=[
            name
            for name, value in facts.items()
            if f"facts.{name}" not in made.named
            and "facts" not in made.named
            and before.get(name) == value
        ],
    )
