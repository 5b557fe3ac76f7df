"""The two consoles, and what every page on them has in common."""

import json
import sys
from typing import Any
from zoneinfo import ZoneInfo

from rich.console import Console

from pipeline.delivery import NEEDS_A_PERSON, State


class _Output(Console):
    """A console that says so when nobody reads any more, instead of ending the program."""

    def on_broken_pipe(self) -> None:
        """Leave it to the command line, which knows what that means for the exit code."""
        raise BrokenPipeError


out = _Output(highlight=False, soft_wrap=True)
err = _Output(stderr=True, highlight=False, soft_wrap=True)

LONDON = ZoneInfo("Europe/London")
"""The time of all people this is written for."""


def print_json(value: Any) -> None:
    """JSON, and nothing else, on standard output."""
    plain = (sys.stdout.encoding or "ascii").replace("-", "").casefold() != "utf8"
    sys.stdout.write(json.dumps(value, ensure_ascii=plain, indent=2) + "\n")


def style_of(state: State) -> str:
    """The colour of a delivery's state: red needs a person, green is well, yellow is under way."""
    if state in NEEDS_A_PERSON:
        return "bold red"
    return "green" if state in {State.ACCEPTED, State.DELIVERED} else "yellow"


def counted(number: int, one: str, many: str | None = None) -> str:
    """1 letter, 2 letters, 1,234 deliveries."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
