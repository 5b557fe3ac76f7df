"""The command that looks at everything before the day."""

from typing import Annotated

import typer

from pipeline import checks
from pipeline.checks import Kind
from pipeline.cli.options import AsJson, Config, settings_now
from pipeline.display import checks as display


def check(
    quick: Annotated[
        bool, typer.Option("--quick", help="Leave out the letter that is made on trial.")
    ] = False,
    as_json: AsJson = False,
    config: Config = None,  # noqa: ARG001
) -> None:
    """Look at everything that a run leans on, and say what to mend.

    Nothing is sent, nothing is made that is not there, and nothing is changed. One letter is made
    on trial, in memory. Ends with 0 if all is well, with 1 if there is a warning or a fault.
    """
    settings = settings_now()
    looking = checks.look(settings, quick=quick)
    if as_json:
        found = list(looking)
        display.as_json(found)
    else:
        found = display.print_checks(looking)
        display.print_verdict(settings, found, quick=quick)
    if any(one.state in {Kind.WARNING, Kind.FAULT} for one in found):
        raise typer.Exit(1)
