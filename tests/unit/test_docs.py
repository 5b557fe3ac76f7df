"""The documentation says what the code does."""

import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from pipeline.cli.app import app

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"
OPERATING = (DOCS / "operating.md").read_text(encoding="utf-8")
README = (DOCS.parent / "README.md").read_text(encoding="utf-8")


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


def _commands(group: Any, before: str = "letters") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        full = f"{before} {name}"
        if hasattr(command, "commands"):
            yield from _commands(command, full)
        else:
            yield full, command


LISTED = dict(_commands(typer.main.get_command(app)))
COMMANDS = {name: listed.loaded() for name, listed in LISTED.items()}


def _section(command: str) -> str:
    found = re.search(
        rf"^### {re.escape(command)}\n(.*?)(?=^###? |\Z)", OPERATING, re.MULTILINE | re.DOTALL
    )
    assert found, f"docs/operating.md has no section “### {command}”"
    return found[1]


@pytest.mark.parametrize("command", COMMANDS)
def test_operating_covers_every_command_and_option(command: str) -> None:
    section = _section(command)
    assert f"    {command}" in section, "an example"
    everywhere = {"--help", "--config"}  # said once, for all commands
    named = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", section))
    options = {
        name
        for parameter in COMMANDS[command].params
        for name in parameter.opts
        if name.startswith("-")
    }
    assert options - everywhere - named == set(), "options that the section does not name"
    assert named - options == set(), "options that the command does not have"


def test_operating_knows_no_command_that_is_not_there() -> None:
    sections = set(re.findall(r"^### (letters .*)$", OPERATING, re.MULTILINE))
    assert sections == set(COMMANDS)


@pytest.mark.parametrize(("page", "text"), [("operating.md", OPERATING), ("README.md", README)])
def test_every_command_that_is_told_exists(page: str, text: str) -> None:
    told = set(re.findall(r"(?:`|/|    )letters ([a-z]+)\b", text))
    known = {command.split()[1] for command in COMMANDS}
    assert told - known == set(), page


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_what_it_is_for_in_its_first_line(command: str) -> None:
    first, *rest = (COMMANDS[command].help or "").splitlines()
    assert first == LISTED[command].help, "what --help lists is what the command says of itself"
    assert first.endswith(".")
    assert len(first) <= 68, "longer is cut in the list of commands"
    assert "".join(rest).strip() or command == "letters db upgrade", "and then more"
