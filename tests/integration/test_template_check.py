"""A template's faults, as LibreOffice prints them; its versions, as they are kept."""

import io
import zipfile
from pathlib import Path

import pikepdf
import pytest

from pipeline import run
from pipeline.cli.template import kept
from pipeline.convert import Converter, find_office
from pipeline.errors import Refused
from pipeline.ledger import holds
from pipeline.letter import MERGE_FIELDS
from pipeline.proof import LANGUAGE, pages_of
from pipeline.run import Pipeline
from pipeline.template.faults import look
from pipeline.template.flaw import Kind
from tests.acceptance.test_bad_templates import docx
from tests.integration.test_edition import furnish, opened, pipeline
from tests.integration.test_ledger import NOW
from tests.unit.test_template_faults import (
    CASES_OF_ONE,
    below,
    link,
    paragraph,
    styled,
)

__all__ = ["furnish", "pipeline"]


def test_what_is_said_to_fail_the_proof_is_what_libreoffice_makes_of_it() -> None:
    vml = next(one for one in CASES_OF_ONE if "Logo 2" in one.what)
    picture = str(vml.changes["word/document.xml"])
    begins = picture.index("<w:p><w:r><w:t>Logo</w:t>")
    drawing = picture[begins : picture.index("</w:p>", begins) + len("</w:p>")]
    spoiled = docx(
        {
            **below(
                link("this page", 'r:id="rIdMap"'),
                '<w:bookmarkStart w:id="9" w:name="there"/><w:bookmarkEnd w:id="9"/>',
                link("that place", 'w:anchor="there"'),
                link("the other place", 'w:anchor="gone"'),
                paragraph("A tick \uf0fc here"),
                '<w:p><w:r><w:sym w:font="Wingdings" w:char="F0FE"/></w:r></w:p>',
                drawing,
            ),
            **styled('w:lang w:val="en-GB"', 'w:lang w:val="en-US"'),
        }
    )
    said = [one.kind for one in look(spoiled, fields=MERGE_FIELDS).faults if one.blocking]
    assert sorted(said) == sorted(
        [Kind.SCREENTIP] * 2 + [Kind.CHARACTER] * 2 + [Kind.ALTERNATIVE_TEXT, Kind.LANGUAGE]
    )
    with Converter(find_office(), timeout=120) as converter:
        pdf = converter.convert(spoiled)
    text = "".join(pages_of(pdf))
    assert [one for one in text if one > "\ue000"] == ["\uf0fc", "\uf0fe"]
    with pikepdf.open(io.BytesIO(pdf)) as document:
        assert str(document.Root.Lang) != LANGUAGE
        told = [
            "/Contents" in annotation
            for page in document.pages
            for annotation in page.obj.get("/Annots", [])
        ]
        figures = [
            "/Alt" in one
            for one in document.objects
            if isinstance(one, pikepdf.Dictionary) and one.get("/S") == "/Figure"
        ]
    assert told.count(False) == 2
    assert figures.count(False) == 1


def test_each_run_has_the_version_it_was_opened_with(pipeline: Pipeline, tmp_path: Path) -> None:
    assert kept(pipeline, None, None) == []
    first = opened(pipeline)
    before = pipeline.template.read_bytes()
    (one,) = kept(pipeline, 2020, tmp_path / "saved" / "here")
    assert (one.pinned.run, one.kept, one.current) == (first.id, True, True)
    assert one.saved is not None
    assert one.saved.read_bytes() == before
    with zipfile.ZipFile(one.saved) as package:
        assert "word/document.xml" in package.namelist()

    holds.cancel(pipeline.ledger, first, because="x", person="tester", now=NOW)
    pipeline.template.write_bytes(docx(below(paragraph("More words."))))
    second = opened(pipeline)
    newer, older = kept(pipeline, None, tmp_path / "saved" / "here")
    assert (newer.pinned.run, newer.kept, newer.current) == (second.id, True, True)
    assert (older.pinned.run, older.kept, older.current) == (first.id, True, False)
    assert older.pinned.cancelled_at is not None
    assert newer.pinned.sha256 != older.pinned.sha256
    assert newer.saved is not None
    assert newer.saved.read_bytes() == pipeline.template.read_bytes()
    assert kept(pipeline, 2019, None) == []

    Path(pipeline.archive.location(run.template_name(first.template_sha256))).unlink()
    pipeline.template.write_bytes(before)
    newer, older = kept(pipeline, 2020, None)
    assert (newer.kept, newer.current) == (True, False)
    assert (older.kept, older.current) == (False, True)
    pipeline.template.unlink()
    assert not any(one.current for one in kept(pipeline, 2020, None))

    theirs = tmp_path / f"letter-2020-{second.template_sha256[:12]}.docx"
    theirs.write_bytes(b"theirs")
    with pytest.raises(Refused, match="another file"):
        kept(pipeline, 2020, tmp_path)
    assert theirs.read_bytes() == b"theirs"
    with pytest.raises(Refused, match="is not a folder; name another one with --save"):
        kept(pipeline, 2020, theirs)
