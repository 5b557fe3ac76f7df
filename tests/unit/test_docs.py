"""The documentation says what the code does."""

import runpy
from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"


def test_the_drawing_is_the_table() -> None:
    draw = runpy.run_path(str(DOCS / "draw.py"))
    page = (DOCS / "architecture.md").read_text(encoding="utf-8")
    assert draw["page_with"](draw["drawing"](), page) == page, (
        "the transition table has changed: .venv/bin/python docs/draw.py --write"
    )
    assert "claimed --> sending: the intent is committed" in page


def test_every_room_is_named_in_the_architecture() -> None:
    page = (DOCS / "architecture.md").read_text(encoding="utf-8")
    package = DOCS.parent / "pipeline"
    rooms = {path.stem for path in package.iterdir() if not path.name.startswith("__")}
    assert {room for room in rooms if room not in page} == set()
