"""An error that nothing explains ends as a sentence; the rest is kept for whoever mends it."""

import re
from pathlib import Path

import pytest

from pipeline.cli import unforeseen


def fault() -> Exception:
    try:
        raise KeyError("no such thing")
    except KeyError as error:
        return error


def test_it_is_told_in_a_sentence_and_kept_in_a_private_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    told = unforeseen.told(fault())
    assert "KeyError at test_unforeseen.py, line" in told
    assert "Traceback" not in told
    [kept] = tmp_path.iterdir()
    assert str(kept) in told
    assert "Traceback" in kept.read_text(encoding="utf-8")
    assert kept.stat().st_mode & 0o077 == 0


def test_it_is_told_where_nothing_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    told = unforeseen.told(fault())
    assert re.search(r"kept\. Give that to whoever", told)
