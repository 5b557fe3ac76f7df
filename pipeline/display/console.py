"""The two consoles, and what every page on them has in common."""

import json
import re
import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.padding import Padding
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from pipeline import london
from pipeline.delivery import NEEDS_A_PERSON, State

# C0 but tab and line break, delete, and C1: what a terminal obeys instead of showing it.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]|\r(?!\n)")


def harmless(text: str) -> str:
    """The text with a replacement character for each that a terminal would obey."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def harmless_json(text: str) -> str:
    """JSON with the control characters escaped that it may hold as they are."""
    return re.sub(r"[\x7f-\x9f]", lambda found: f"\\u{ord(found[0]):04x}", text)


class _Output(Console):
    """A console for words that others have written: a name, a reason, a relay's reply.

    Whatever comes out of them cannot steer the terminal. Sentences wrap between words on a terminal
    and stay on one line elsewhere.
    """

    def __init__(self, *, stderr: bool = False) -> None:
        stream = sys.stderr if stderr else sys.stdout  # None if it was closed before the start
        super().__init__(
            stderr=stderr,
            highlight=False,
            emoji=False,
            soft_wrap=stream is None or not stream.isatty(),
        )

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """As Rich does it, with its own styles and the text of others made harmless."""
        for one in super().render(renderable, options):
            yield one if one.control else Segment(harmless(one.text), one.style)

    def on_broken_pipe(self) -> None:
        """Leave it to the command line, which knows what that means for the exit code."""
        raise BrokenPipeError


out = _Output()
err = _Output(stderr=True)

LONDON = london.LONDON
"""The time of all people this is written for."""


def say(console: Console, text: str | Text, *, indent: int = 0, style: str = "") -> None:
    """One line: wrapped between words on a terminal however narrow, and left whole elsewhere."""
    line = text if isinstance(text, Text) else Text(text)
    line.style = line.style or style
    if console.is_terminal:
        console.print(Padding(line, (0, 0, 0, indent)), soft_wrap=False)
    else:
        console.print(Text(" " * indent).append(line))


def row(
    console: Console,
    heading: str,
    text: str | Text,
    *,
    width: int,
    indent: int = 2,
    style: str = "",
) -> None:
    """A heading of so many columns and what is said of it, wrapped beside it on a terminal."""
    line = text if isinstance(text, Text) else Text(text, style=style)
    if not console.is_terminal:
        console.print(Text(" " * indent + f"{heading:{width}} ").append(line))
        return
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(width=width)
    table.add_column(overflow="fold")
    table.add_row(Text(heading), line)
    console.print(Padding(table, (0, 0, 0, indent)), soft_wrap=False)


def print_json(value: Any) -> None:
    """JSON, and nothing else, on standard output."""
    plain = (sys.stdout.encoding or "ascii").replace("-", "").casefold() != "utf8"
    sys.stdout.write(harmless_json(json.dumps(value, ensure_ascii=plain, indent=2)) + "\n")


def style_of(state: State) -> str:
    """The colour of a delivery's state: red needs a person, green is well, yellow is under way."""
    if state in NEEDS_A_PERSON:
        return "bold red"
    return "green" if state in {State.ACCEPTED, State.DELIVERED} else "yellow"


def counted(number: int, one: str, many: str | None = None) -> str:
    """1 letter, 2 letters, 1,234 deliveries."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
