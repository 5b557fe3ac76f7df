"""Draw the states of a delivery, as Mermaid, from the table in the code.

.venv/bin/python docs/draw.py            prints the drawing
.venv/bin/python docs/draw.py --write    puts it into docs/architecture.md
"""

import sys
from pathlib import Path

from pipeline.delivery import TRANSITIONS

PAGE = Path(__file__).with_name("architecture.md")
START, END = "<!-- states: made by docs/draw.py -->\n", "<!-- end of states -->"


def drawing() -> str:
    """The transition table as a Mermaid state diagram, in a fenced block."""
    moves = "".join(
        f"    {move.source.value} --> {move.target.value}: {move.because.replace(':', ',')}\n"
        for move in TRANSITIONS
    )
    return f"```mermaid\nstateDiagram-v2\n    [*] --> queued\n{moves}```\n"


def page_with(new: str, page: str) -> str:
    """The page with its drawing replaced by `new`."""
    before, _, rest = page.partition(START)
    _, _, after = rest.partition(END)
    return before + START + new + END + after


if __name__ == "__main__":
    if "--write" in sys.argv:
        PAGE.write_text(page_with(drawing(), PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        sys.stdout.write(drawing())
