"""An edition: its template, its copy for the next year, its phases; on both databases."""

import hashlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline import importer, readiness, run
from pipeline.archive import Archive
from pipeline.database import Database
from pipeline.delivery import Mode
from pipeline.dispatch import Outbox
from pipeline.errors import Misconfigured
from pipeline.ledger.messages import Sender
from pipeline.ledger.runs import Run
from pipeline.readiness import Check
from pipeline.run import Pipeline
from tests.acceptance.site import ROOT, part_of_the_sample
from tests.integration.test_ledger import NOW

CODES = ["E07000243", "E07000103"]  # Stevenage, Watford

Furnish = Callable[..., Pipeline]


class Silence:
    """Nobody watches."""

    def begin(self, stage: str, total: int) -> None: ...

    def advance(self) -> None: ...

    def end(self) -> None: ...


@pytest.fixture
def furnish(db: Database, db_url: str, tmp_path: Path) -> Iterator[Furnish]:
    """Wires two authorities of the sample, with templates of their own that a test may change."""
    statistics = Database(db_url, read_only=True)

    def furnished(change: Any = lambda _tables: None, **other: Any) -> Pipeline:
        importer.import_folder(db, part_of_the_sample(tmp_path / "data", CODES, change))
        templates = tmp_path / "templates"
        templates.mkdir()
        for name in ("letter.docx", "message.txt", "message.html"):
            shutil.copy(ROOT / "templates" / name, templates)
        wired = Pipeline(
            ledger=db,
            statistics=statistics,
            archive=Archive(str(tmp_path / "archive")),
            template=templates / "letter.docx",
            wording=templates,
            outbox=Outbox(
                sender=Sender(address="letters@ombudsman.example", mode=Mode.CAPTURE),
                relay=None,
                maildir=tmp_path / "captured",
            ),
            people=0,
        )
        return replace(wired, **other)

    yield furnished
    statistics.close()


@pytest.fixture
def pipeline(furnish: Furnish) -> Pipeline:
    return furnish()


def opened(pipeline: Pipeline, year: int = 2020) -> Run:
    return run.open_run(pipeline, year, person="tester", progress=Silence())


def own_folder(pipeline: Pipeline, year: int = 2020) -> Path:
    """The configured template and wording, as the year's own."""
    folder = pipeline.template.parent / str(year)
    folder.mkdir()
    for name in ("letter.docx", "message.txt", "message.html"):
        shutil.copy(pipeline.template.parent / name, folder)
    return folder


def test_a_run_is_opened_with_the_years_own_template_and_words(pipeline: Pipeline) -> None:
    folder = own_folder(pipeline)
    text = (folder / "message.txt").read_text("utf-8")
    (folder / "message.txt").write_text(f"{text}\nWords of 2020.\n", "utf-8")
    pipeline.template.write_bytes(b"no template at all")
    found = opened(pipeline)
    assert (
        found.template_sha256 == hashlib.sha256((folder / "letter.docx").read_bytes()).hexdigest()
    )
    assert found.wording["text"].endswith("Words of 2020.\n")


def test_a_run_keeps_its_template_whatever_becomes_of_the_file(pipeline: Pipeline) -> None:
    before = pipeline.template.read_bytes()
    found = opened(pipeline)
    pipeline.template.write_bytes(b"something else")
    kept = pipeline.archive.get(run.template_name(found.template_sha256), found.template_sha256)
    assert kept == before


def test_half_a_folder_opens_no_run_and_is_found_by_the_check(pipeline: Pipeline) -> None:
    folder = own_folder(pipeline)
    (folder / "message.html").unlink()
    with pytest.raises(Misconfigured, match=r"lacks message\.html"):
        opened(pipeline)
    found = [
        one for one in readiness.findings(pipeline, 2020, now=NOW) if one.check is Check.TEMPLATE
    ]
    assert ["lacks message.html" in one.found for one in found] == [True]
