"""The command for what needs a person."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from pipeline import alerts as look
from pipeline import bootstrap
from pipeline.cli.options import AsJson, Config, settings_now
from pipeline.display import alerts as page
from pipeline.display.console import print_json
from pipeline.ledger import alerts as ledger


def alerts(
    all_: Annotated[
        bool, typer.Option("--all", help="Also those of other modes, and those that are over.")
    ] = False,
    as_json: AsJson = False,
    config: Config = None,  # noqa: ARG001
) -> None:
    """What needs a person now, the worst first, and what to do.

    A start that was missed or does not move, a relay in trouble, statistics that cannot be read,
    letters that are due and held back or lack approval (from a day before they are sent),
    deliveries in doubt, refused or come back, letters that cannot be made, returned mail to look
    at. It is looked up at this moment, in the mode that is set; since when, and whether anybody was
    mailed, is what letters serve and letters tick have put on record.

    They tell whoever alerts.to names by mail, once for each cause, and once more when it is over.
    Of an alert that comes and goes, no more than one is mailed within alerts.quiet_minutes. A mail
    that cannot be sent is tried again at the next look. With an empty alerts.to nobody is mailed.

    Nothing is to be acknowledged here: an alert is over when its cause is.

    Ends with 1 while something needs a person in the mode that is set, with 0 otherwise, and with
    69 when the ledger cannot be read.

    Example: letters alerts --all
    """
    settings = settings_now()
    with bootstrap.pipeline(settings, writes=False) as pipeline:
        mode = pipeline.outbox.mode
        causes = look.causes(pipeline, datetime.now(UTC))
        standing = ledger.standing(pipeline.ledger)
        over = ledger.over(pipeline.ledger) if all_ else []
    here = {one.cause: one for one in standing if one.mode is mode}
    others = [one for one in standing if one.mode is not mode]
    found = [page.Open(cause=one, alert=here.get(one.key)) for one in causes]
    if as_json:
        told = {"mode": mode.value, "open": page.facts(found, mode)}
        if all_:
            told["open_in_other_modes"] = page.recorded_facts(others)
            told["over"] = page.recorded_facts(over)
        print_json(told)
    else:
        telling = bootstrap.telling(settings)
        page.print_alerts(found, 0 if all_ else len(others), mode, telling)
        if all_:
            page.print_history(others, over)
    raise typer.Exit(1 if found else 0)
