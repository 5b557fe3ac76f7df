"""What the commands look like on a terminal: wrapped between words, and steered by nobody."""

import csv
import io
import re
from pathlib import Path

import pytest
import sqlalchemy as sa

from pipeline import schema
from pipeline.database import Database
from tests.acceptance.site import Site, part_of_the_sample
from tests.acceptance.terminal import Terminal

STEVENAGE, WATFORD = "E07000243", "E07000103"
CLEARS = "250 \x1b[2J\x9b2Jgone"


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A site whose names and replies hold what clears a terminal."""
    folder = tmp_path_factory.mktemp("screen")
    site = Site(folder)
    site.letters("import", str(part_of_the_sample(folder / "data", [STEVENAGE, WATFORD])))
    site.letters("run", "2020")
    ledger = Database(site.environment["LETTERS_DATABASE__URL"])
    with ledger.write() as connection:
        connection.execute(sa.update(schema.attempts).values(reply=CLEARS))
        connection.execute(sa.update(schema.letters).values(authority_name=CLEARS))
    ledger.close()
    return site


def test_what_others_wrote_cannot_clear_the_screen(sent: Site) -> None:
    with Terminal(sent, "show", STEVENAGE, "--year", "2020") as terminal:
        shown = terminal.end(0)
    assert "\ufffd[2J\ufffd2Jgone" in shown
    assert "\x1b[2J" not in shown
    assert "\x9b" not in shown
    text = sent.letters("export", "2020").stdout
    assert not {"\x1b", "\x9b"} & set(text)
    cells = {
        one[column] for one in csv.DictReader(io.StringIO(text)) for column in ("name", "reply")
    }
    assert cells == {"250 \ufffd[2J\ufffd2Jgone"}


def test_no_bar_is_drawn_into_an_export(sent: Site) -> None:
    with Terminal(sent, "export", "2020", pipe=True) as terminal:
        assert terminal.end(0) == ""
        assert terminal.piped.count(b"\n") == 5


@pytest.mark.parametrize("columns", [80, 40])
@pytest.mark.parametrize(("arguments", "code"), [(("status", "2020"), 0), (("send", "2031"), 2)])
def test_sentences_wrap_between_words(
    sent: Site, arguments: tuple[str, ...], code: int, columns: int
) -> None:
    plain = sent.letters(*arguments, expect=code)
    with Terminal(sent, *arguments, columns=columns) as terminal:
        shown = terminal.end(code)
        short = {word for word in (plain.stdout + plain.stderr).split() if len(word) <= 20}
        assert short <= set(terminal.words.split()), "only a long path is broken"
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in shown.splitlines()]
    assert max(map(len, lines)) <= columns
    assert max(map(len, (plain.stdout + plain.stderr).splitlines())) > 40, "one line elsewhere"


@pytest.mark.parametrize("columns", [80, 40])
def test_what_an_import_changed_can_be_read(sent: Site, tmp_path: Path, columns: int) -> None:
    here = Site(tmp_path)
    with Terminal(here, "import", str(sent.folder / "data"), columns=columns) as terminal:
        shown = terminal.end(0)
        assert "compliance" in shown
        heading = "replaced unchanged removed" if columns == 80 else "authorities: 2 added"
        assert heading in terminal.words
        assert "…" not in re.sub(r"\r.*?\x1b", "", shown)
