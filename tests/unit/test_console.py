"""What others have written goes to a terminal as text, and steers nothing."""

import json

import pytest
from rich.table import Table

from pipeline.display.console import err, harmless, out, print_json

CLEARS = "lost \x1b[2J\x9b2J\a\x7f\rover"
SHOWN = "lost \ufffd[2J\ufffd2J\ufffd\ufffd\ufffdover"


def test_control_characters_are_replaced_and_line_breaks_kept() -> None:
    assert harmless(CLEARS) == SHOWN
    assert harmless("é ✓\tone\r\ntwo\n") == "é ✓\tone\r\ntwo\n"


def test_nothing_printed_steers_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = Table(CLEARS)
    table.add_row(CLEARS)
    for console in (out, err):
        monkeypatch.setattr(console, "_force_terminal", True)
        console.print(CLEARS, markup=False, style="bold")
        console.print(table)
    for text in capsys.readouterr():
        assert text.count("\ufffd[2J\ufffd2J") == 3
        assert not set(text) & {"\x9b", "\a", "\x7f", "\r"}
        assert "\x1b[2J" not in text


def test_words_are_left_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    out.print("to :cat: Council", markup=False)
    assert capsys.readouterr().out == "to :cat: Council\n"


def test_json_has_them_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"reason": CLEARS})
    text = capsys.readouterr().out
    assert not set(text) & {"\x9b", "\x7f", "\x1b"}
    assert json.loads(text) == {"reason": CLEARS}
