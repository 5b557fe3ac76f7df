"""The commands for one letter."""

from dataclasses import asdict
from typing import Annotated

import typer

from pipeline import bootstrap
from pipeline.cli.finding import letter_of, run_of
from pipeline.cli.options import AsJson, Config, YearOption, settings_now
from pipeline.display.console import print_json
from pipeline.display.story import print_story
from pipeline.ledger import story


def show(
    authority: Annotated[str, typer.Argument(help="The authority's code, such as E07000243.")],
    year: YearOption = None,
    as_json: AsJson = False,
    config: Config = None,  # noqa: ARG001
) -> None:
    """The whole story of one letter.

    Its figures, file, messages, deliveries and events.
    """
    settings = settings_now()
    with bootstrap.pipeline(settings, writes=False) as pipeline:
        found = run_of(pipeline, year)
        letter = letter_of(pipeline, found, authority)
        told = story.story(pipeline.ledger, letter.id)
        facts = {
            "year": found.year,
            "authority": letter.authority_code,
            "name": letter.authority_name,
            "kind": letter.kind,
            "revision": letter.revision,
            "fault": letter.fault,
            "pdf": letter.pdf,
            "sha256": letter.pdf_sha256,
            "pages": letter.pages,
            "file": pipeline.archive.location(letter.pdf) if letter.pdf else None,
            "figures": letter.figures,
            "recipients": letter.recipients,
            **asdict(told),
        }
        if as_json:
            print_json(facts)
        else:
            print_story(facts)
