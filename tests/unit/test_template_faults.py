"""Every fault of a template at once: on small documents, and on the shipped one spoiled."""

import io
import re
import zipfile
from collections.abc import Callable

import pytest

from pipeline.errors import Misconfigured
from pipeline.letter import MERGE_FIELDS
from pipeline.template import compile_template
from pipeline.template.faults import Looked, look
from tests.acceptance.site import ROOT

SHIPPED = (ROOT / "templates" / "letter.docx").read_bytes()


def spoiled(change: Callable[[str], str], **more: str) -> bytes:
    """The shipped template with its body changed, and with these parts besides."""
    written = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(SHIPPED)) as package,
        zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as other,
    ):
        for name in package.namelist():
            data = package.read(name).decode("utf-8", "surrogateescape")
            if name == "word/document.xml":
                before = data
                data = change(data)
                assert data != before, "nothing was spoiled"
            if name == "[Content_Types].xml" and more:
                data = data.replace(
                    "</Types>",
                    '<Override PartName="/word/comments.xml" ContentType="application/vnd.'
                    'openxmlformats-officedocument.wordprocessingml.comments+xml"/></Types>',
                )
            other.writestr(name, data.encode("utf-8", "surrogateescape"))
        for name, text in more.items():
            other.writestr(f"word/{name}.xml", text)
    return written.getvalue()


def seen(data: bytes) -> Looked:
    return look(data, fields=MERGE_FIELDS)


def blocking(found: Looked) -> list[str]:
    return [one.said for one in found.faults if one.blocking]


def test_the_shipped_template_has_no_fault() -> None:
    found = seen(SHIPPED)
    assert found.faults == ()
    assert found.compiled is not None
    assert "compliance.part" in found.unused


def test_all_faults_are_said_in_one_go_each_with_its_place() -> None:
    def change(text: str) -> str:
        for before, after in (
            ("Dear {{ salutation }}", "Dear {{ salutaton }}"),
            ("Annual Review letter {{ letter_year }}", "Annual Review letter {{ letter_year"),
            ("year ending {{ period_end }}", "year ending {{ period_end | upper }}"),
            ('name="Ring upheld"', 'name="Ring uphold"'),
            ("{{ published_on }}", "{{ publishd_on }}"),
        ):
            assert before in text
            text = text.replace(before, after, 1)
        return re.sub(r' w:tooltip="[^"]*"', "", text, count=1)

    found = seen(spoiled(change))
    said = blocking(found)
    assert found.compiled is None
    for expected in (
        "at “Annual Review letter {{ letter_year”: the tag opened with {{ is not closed",
        "there is no field salutaton; did you mean salutation?",
        "this (filter) is not permitted",
        "under the heading “Complaints upheld” is bound to no figure; did you mean upheld?",
        "there is no field publishd_on; did you mean published_on?",
        "the link has no ScreenTip",
    ):
        assert [expected in one for one in said].count(True) == 1, (expected, said)
    assert len(said) == 6
    assert all(one.startswith(("In the body", "The template's drawing")) for one in said)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("{%p if succession %}", "{%p if succession %} and more", "must stand in a paragraph"),
        ("{{ noun }}", "{{ remarks }}", "remarks is a list and cannot be printed"),
        ("<w:body>", '<w:body><w:p><w:ins w:id="1"><w:r><w:t>New words</w:t></w:r></w:ins></w:p>',
         "tracked changes in the body"),
        ("<w:body>", '<w:body><w:p><w:r><w:instrText> DATE </w:instrText></w:r></w:p>',
         "the Word field “DATE”"),
        ('name="Ring remedy"', 'name="Something"', "no drawing named “Ring remedy”"),
        (' descr="', ' title="', "has no alternative text"),
        ("{{ period_end_short }}", "31/03/20", "do not print {{ period_end_short }}"),
    ],
)  # fmt: skip
def test_what_a_run_would_refuse_or_no_proof_would_pass_is_blocking(
    before: str, after: str, expected: str
) -> None:
    said = blocking(seen(spoiled(lambda text: text.replace(before, after))))
    assert any(expected in one for one in said), said


@pytest.mark.parametrize("at", range(0, 60, 3))
def test_there_is_something_blocking_whenever_it_cannot_be_used(at: int) -> None:
    """Take one brace away, wherever it is: what is sound compiles, and nothing else does."""
    places = [found.start() for found in re.finditer(r"\{\{|\}\}|%\}|\{%", SHIPPED_BODY)]
    place = places[at * len(places) // 60]
    data = spoiled(lambda text: text[:place] + text[place + 1 :])
    found = seen(data)
    try:
        compile_template(data, fields=MERGE_FIELDS)
    except Misconfigured:
        assert blocking(found)
    else:
        assert found.compiled is not None


with zipfile.ZipFile(io.BytesIO(SHIPPED)) as _package:
    SHIPPED_BODY = _package.read("word/document.xml").decode()


def test_what_does_no_harm_is_advisory() -> None:
    comments = (
        '<w:comments xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main">'
        '<w:comment w:id="0" w:author="Ann"><w:p><w:r><w:t>Is this right?</w:t></w:r></w:p>'
        "</w:comment></w:comments>"
    )
    data = spoiled(
        lambda text: text.replace("{%p if succession %}", "{%p if noun == “Council” %}"),
        comments=comments,
    )
    found = seen(data)
    assert blocking(found) == []
    assert found.compiled is not None
    said = " ".join(one.said for one in found.faults)
    assert "A comment by Ann is left in: “Is this right?”" in said
    assert "has curly quotes" in said


def test_what_is_no_document_is_refused_at_once() -> None:
    for data in (b"", b"%PDF-1.7", b"PK\x03\x04", b"{\\rtf1}"):
        with pytest.raises(Misconfigured):
            seen(data)
