"""The command for a year's settings: to look at them, to start a year from another one's."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer

from pipeline import bootstrap
from pipeline import edition as editions
from pipeline.cli.options import AsJson, By, Config, EarlierYear, Year, person, settings_now
from pipeline.display.console import print_json
from pipeline.display.edition import (
    changed_facts,
    made_facts,
    print_changed,
    print_made,
    print_view,
    view_facts,
)
from pipeline.errors import Refused


def edition(
    year: Year,
    made_from: EarlierYear = None,
    settings_given: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="A setting's own value; may be given several times."
        ),
    ] = None,
    by: By = None,
    as_json: AsJson = False,
    config: Config = None,  # noqa: ARG001
) -> None:
    """A year's settings: to look at, to start a year, to change.

    Alone it shows the year's edition: dates, signatory, facts, template and wording, which facts
    are still another year's, and what a run that is open has otherwise. Changes nothing.

    With --from 2020 the edition of a new year is made from that of 2020. The letter's date moves to
    the same weekday nearest to its day in the new year, and the dates of publication, making and
    sending keep their distance from it; the period moves by a year. Signatory, roles in copy and
    facts are taken over; the facts are listed, as they have to be looked at. Averages, remarks and
    all other data are not taken over: they come with the new year's import. If 2020 has a folder of
    its own for template and wording, templates/2020, it is copied. Nothing is made anew that is
    there, and nothing of 2020 is changed.

    --set KEY=VALUE gives a setting its own value, with --from or later without it. KEY is
    letter_date, published_on, period_start, period_end, signatory, signatory_posts (a JSON list),
    copied_roles and enclosures (JSON lists), prepare_on, dispatch_at (2021-07-21T09:00, London
    time), facts (a JSON object), or one fact as in facts.delegates=190. An empty VALUE takes a fact
    away, or gives prepare_on, dispatch_at, copied_roles and enclosures back what is usual. A fact
    that was named so counts as looked at. A run that is open keeps what it was opened with: letters
    refresh YEAR takes it in.

    Where source.url names another database, nothing is written there: the edition is printed as a
    line of editions.csv, to be given to whoever keeps it.

    Ends with 0, with 2 where the edition is there already, the other year has none, or a value
    cannot be taken, with 69 where a database cannot be reached.

    Example: letters edition 2021 --from 2020 --set facts.delegates=190 --by "Ann Other"
    """
    given = _given(settings_given or [])
    settings = settings_now()
    now = datetime.now(UTC)
    own = not settings.source.url
    with bootstrap.pipeline(settings, writes=made_from is not None or bool(given)) as pipeline:
        if made_from is not None:
            made = editions.make(
                pipeline,
                year,
                made_from=made_from,
                given=given,
                writes=own,
                person=person(by),
                now=now,
            )
            if as_json:
                print_json(made_facts(made))
            else:
                print_made(made)
            return
        row = None
        if given:
            row = editions.change(
                pipeline, year, given=given, writes=own, person=person(by), now=now
            )
        seen = editions.view(pipeline, year, now=now) if row is None or own else None
    if row is not None:
        if as_json:
            print_json(changed_facts(year, given, row, seen))
        else:
            print_changed(year, given, row, seen)
    elif seen is not None:
        if as_json:
            print_json(view_facts(seen))
        else:
            print_view(seen)


def _given(typed: Sequence[str]) -> Mapping[str, str]:
    given: dict[str, str] = {}
    for one in typed:
        key, equals, value = one.partition("=")
        if not equals or not key.strip():
            raise Refused(f"--set {one}: write KEY=VALUE, as in facts.delegates=190.")
        if key.strip() in given:
            raise Refused(f"--set gives {key.strip()} twice; give it once.")
        given[key.strip()] = value
    return given
