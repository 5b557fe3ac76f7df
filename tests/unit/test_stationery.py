"""Which template and wording a year has: its own folder's, or what is configured."""

from pathlib import Path

import pytest

from pipeline import stationery
from pipeline.errors import Misconfigured

FILES = ("letter.docx", "message.txt", "message.html")


@pytest.fixture
def template(tmp_path: Path) -> Path:
    for name in FILES:
        (tmp_path / name).write_text(name)
    return tmp_path / "letter.docx"


def own(template: Path, *names: str) -> Path:
    folder = stationery.own_folder(template, 2021)
    folder.mkdir()
    for name in names:
        (folder / name).write_text(name)
    return folder


def test_a_year_without_a_folder_has_what_is_configured(template: Path) -> None:
    own(template, *FILES)
    found = stationery.find(template, 2022)
    assert (found.template, found.wording, found.own) == (template, template.parent, False)


def test_a_year_with_a_whole_folder_has_its_own(template: Path) -> None:
    folder = own(template, *FILES, "notes.txt")
    found = stationery.find(template, 2021)
    assert (found.template, found.wording, found.own) == (folder / "letter.docx", folder, True)


def test_the_template_has_the_name_that_is_configured(template: Path) -> None:
    other = template.rename(template.with_name("annual.docx"))
    folder = own(other, "annual.docx", *FILES[1:])
    assert stationery.find(other, 2021).template == folder / "annual.docx"


@pytest.mark.parametrize(
    ("there", "lacking"),
    [
        (FILES[:1], "it lacks message.txt and message.html"),
        (FILES[1:], "it lacks letter.docx"),
        ((), "it lacks letter.docx, message.txt and message.html"),
    ],
)
def test_half_a_folder_is_refused(template: Path, there: tuple[str, ...], lacking: str) -> None:
    folder = own(template, *there)
    with pytest.raises(Misconfigured, match=lacking) as refused:
        stationery.find(template, 2021)
    assert str(folder) in str(refused.value)
    assert f"Copy what is lacking from {template.parent}" in str(refused.value)


def test_what_is_no_folder_is_refused(template: Path) -> None:
    place = stationery.own_folder(template, 2021)
    place.symlink_to(template.parent / "away")
    with pytest.raises(Misconfigured, match="a link to something that is not there"):
        stationery.find(template, 2021)
    place.unlink()
    place.write_text("")
    with pytest.raises(Misconfigured, match="is a file"):
        stationery.find(template, 2021)
