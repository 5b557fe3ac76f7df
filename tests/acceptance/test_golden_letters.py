"""Golden letters: the nasty ones, word for word, as text that can be reviewed in a diff.

A golden file is what the stamped Word document says, one paragraph a line, below the envelope it
goes out in. The PDF must say the same, in the same order. When a change is meant, write them anew
and read the diff:

    .venv/bin/pytest tests/acceptance/test_golden_letters.py --write-golden
"""

import hashlib
import io
from collections.abc import Iterator
from typing import Any

import docx
import pytest

from pipeline.database import Database
from pipeline.ledger import runs, story
from pipeline.letter import MERGE_FIELDS
from pipeline.template import CompiledTemplate, compile_template
from tests.acceptance.site import ROOT, Site
from tests.acceptance.test_annual_run import LETTERHEAD, pages, words

GOLDEN = ROOT / "tests" / "data" / "golden"

NASTY = {
    "E06000053": "nothing at all to divide by",
    "E06000017": "investigated, none upheld, nothing due",
    "E26000001": "an authority, not a council; no peers",
    "E07000005": "abolished, written to through its successor",
    "E06000022": "two chief executives",
    "E07000235": "two chief executives at one address",
    "E07000009": "a vacant post",
    "E07000008": "no title",
    "E09000001": "a knight, Town Clerk and Chief Executive, City",
    "E06000052": "a dame",
    "E06000019": "an interim",
    "E07000031": "a surname Null",
    "E07000146": "an apostrophe and an ampersand",
    "E09000013": "an ampersand in the name",
    "E06000058": "a long name, and remarks",
    "E06000023": "combining accents",
    "E08000025": "99% that is nearly 100%",
    "E09000033": "City of",
}


@pytest.fixture(scope="module")
def template() -> CompiledTemplate:
    return compile_template((ROOT / "templates" / "letter.docx").read_bytes(), fields=MERGE_FIELDS)


@pytest.fixture(scope="module")
def ledger(finished: Site) -> Iterator[Database]:
    database = Database(finished.environment["LETTERS_DATABASE__URL"], read_only=True)
    yield database
    database.close()


def paragraphs(data: bytes) -> list[str]:
    return [one.text for one in docx.Document(io.BytesIO(data)).paragraphs if one.text.strip()]


def fields_of(ledger: Database, code: str) -> tuple[Any, Any]:
    run = runs.find_run(ledger, 2020)
    assert run is not None
    letter = story.find_letter(ledger, run, code)
    assert letter is not None
    return letter.fields, letter


@pytest.mark.parametrize("code", NASTY)
def test_golden(
    code: str,
    finished: Site,
    ledger: Database,
    template: CompiledTemplate,
    request: pytest.FixtureRequest,
) -> None:
    fields, letter = fields_of(ledger, code)
    said = paragraphs(template.stamp(fields))
    envelope = [
        f"{one['kind'].title()}: {one['name']} <{one['address']}> ({', '.join(one['roles'])})"
        for one in letter.recipients
    ]
    written = "\n".join([f"# {NASTY[code]}", *envelope, "", *said]) + "\n"
    golden = GOLDEN / f"{code}.txt"
    if request.config.getoption("--write-golden"):
        golden.write_text(written, encoding="utf-8")
    assert written == golden.read_text(encoding="utf-8")

    printed = "\n".join(pages((finished.archive / letter.pdf).read_bytes())).strip()
    assert words(printed.removeprefix(LETTERHEAD)) == words("\n".join(said))


def test_every_golden_file_has_its_test() -> None:
    assert {path.stem for path in GOLDEN.glob("*.txt")} == set(NASTY)


def test_a_letter_can_be_made_again_from_what_is_frozen(
    ledger: Database, template: CompiledTemplate
) -> None:
    """The stamped Word document is not kept: its hash is, and what it is made from."""
    for code in NASTY:
        fields, letter = fields_of(ledger, code)
        assert hashlib.sha256(template.stamp(fields)).hexdigest() == letter.docx_sha256
