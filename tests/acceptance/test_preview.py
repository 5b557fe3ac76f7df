"""What a template makes of letters, seen before a run: preview and diff."""

import io
import zipfile
from pathlib import Path

import pypdfium2  # type: ignore[import-untyped]
import pytest

from tests.acceptance.conftest import STEVENAGE, WATFORD
from tests.acceptance.site import ROOT, Site

SHIPPED = ROOT / "templates" / "letter.docx"


def changed(place: Path, *pairs: tuple[str, str]) -> Path:
    written = io.BytesIO()
    with (
        zipfile.ZipFile(SHIPPED) as package,
        zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as other,
    ):
        for name in package.namelist():
            data = package.read(name)
            if name == "word/document.xml":
                text = data.decode()
                for before, after in pairs:
                    assert before in text
                    text = text.replace(before, after)
                data = text.encode()
            other.writestr(name, data)
    place.write_bytes(written.getvalue())
    return place


@pytest.fixture
def new(tmp_path: Path) -> Path:
    return changed(
        tmp_path / "new.docx",
        ("now, more than ever, I believe", "now more than ever I think"),
        ("No recommendations were due", "No recommendation was due"),
    )


def text_of(file: Path) -> str:
    with pypdfium2.PdfDocument(file) as document:
        return " ".join(page.get_textpage().get_text_bounded() for page in document)


def test_letters_that_a_template_may_not_fit_are_made_of_real_and_invented_data(
    prepared: Site, new: Path, tmp_path: Path
) -> None:
    place = tmp_path / "preview"
    ledger = (prepared.folder / "letters.db").read_bytes()
    made = prepared.json("template", "preview", str(new), "--worst-cases", "--to", str(place))
    by_why = {one["why"]: one for one in made["letters"]}
    assert all(one["fault"] is None for one in made["letters"])
    whole = "; ".join(by_why)
    for expected in (
        "the longest name",
        "nothing to divide by",
        "no similar authorities",
        "hold jointly",
        "a vacant post",
        "the most remarks",
        "an abolished authority",
        "all of it at once",
    ):
        assert expected in whole
    vacant = by_why["a vacant post"]
    assert vacant["invented"]
    text = text_of(place / vacant["pdf"])
    assert "Dear Chief Executive" in text
    assert "now more than ever I think" in " ".join(text.split())
    assert (prepared.folder / "letters.db").read_bytes() == ledger, "nothing is put on record"
    one = prepared.json(
        "template", "preview", "--authority", STEVENAGE, "--to", str(tmp_path / "one")
    )
    [letter] = one["letters"]
    assert (letter["authority"], letter["invented"]) == (STEVENAGE, False)
    assert "now, more than ever, I believe" in " ".join(
        text_of(tmp_path / "one" / letter["pdf"]).split()
    )
    gone = prepared.letters(
        "template", "preview", "--authority", "E0", "--to", str(place), expect=2
    ).stderr
    assert "There is no letter of 2020 for E0" in gone


def test_a_letter_that_fails_its_proof_can_be_looked_at(prepared: Site, tmp_path: Path) -> None:
    hiding = changed(
        tmp_path / "hiding.docx",
        (
            '<w:r><w:t xml:space="preserve">Dear {{',
            '<w:r><w:rPr><w:vanish/></w:rPr><w:t xml:space="preserve">Dear {{',
        ),
    )
    asked = ("template", "preview", str(hiding), "--authority", STEVENAGE, "--to", str(tmp_path))
    [letter] = prepared.json(*asked, expect=1)["letters"]
    assert (letter["pdf"], letter["failed"]) == (None, f"FAILED-{STEVENAGE}.pdf")
    seen = text_of(tmp_path / letter["failed"])
    assert "Stevenage Borough Council" in seen
    assert "Dear" not in seen
    told = " ".join(prepared.letters(*asked, expect=1).stdout.split())
    assert "It fails its proof" in told
    assert "Its pages all the same:" in told


def test_what_two_templates_say_otherwise_is_told_once_with_the_letters_that_show_it(
    prepared: Site, new: Path, tmp_path: Path
) -> None:
    place = tmp_path / "diff"
    found = prepared.json("template", "diff", "2020", str(new), "--to", str(place), expect=1)
    assert found["letters"] == 2
    [opening] = found["changes"]
    assert "more than ever, I believe" in opening["before"]
    assert "more than ever I think" in opening["after"]
    assert opening["letters"] == [WATFORD, STEVENAGE]
    [file] = found["files"]
    with pypdfium2.PdfDocument(file) as document:
        assert len(document) == 3
        first = document[0]
        assert first.get_width() > 1.4 * first.get_height() > 0
        words = " ".join(first.get_textpage().get_text_bounded().split())
    assert "more than ever, I believe" in words
    assert "more than ever I think" in words
    assert "OLD 2020 | Watford Borough Council | page 1" in words
    told = prepared.letters("template", "diff", "2020", str(new), expect=1).stdout
    assert "[-believe-] {+think+}" in " ".join(told.split())
    same = prepared.letters("template", "diff", str(SHIPPED), "2020").stdout
    assert "All 2 letters of 2020 say the same." in same


def test_versions_are_kept_and_what_is_wrong_is_said_at_once(
    prepared: Site, tmp_path: Path
) -> None:
    [one] = prepared.json("template", "versions", "--save", str(tmp_path))["versions"]
    assert (one["year"], one["letters"], one["kept"], one["current"]) == (2020, 2, True, True)
    [saved] = tmp_path.glob("letter-2020-*.docx")
    assert saved.read_bytes() == SHIPPED.read_bytes()
    bad = changed(tmp_path / "bad.docx", ("{{ salutation }}", "{{ salutaton }}"))
    told = prepared.letters("template", "check", str(bad), "--year", "2020", expect=1).stdout
    assert "did you mean salutation?" in " ".join(told.split())
    assert prepared.json("template", "check", "--year", "2020")["usable"]
    bad.write_bytes(b"%PDF-1.7 no template")
    assert "a PDF, not a Word document" in " ".join(
        prepared.letters("template", "check", str(bad), expect=2).stderr.split()
    )
