"""The main job on the sample: 353 letters from the statistics to recorded deliveries."""

import difflib
import hashlib
import re
from pathlib import Path
from typing import Any

import pypdfium2  # type: ignore[import-untyped]
import pytest

from tests.acceptance.site import ROOT, Site, read_sample

SEED = ROOT / "tests" / "data" / "annual_review_letter_2020_stevenage.txt"
FURNITURE = re.compile(r"Page\s+\d+\s+of\s+\d+")
LETTERHEAD = "Local Government and Social Care Ombudsman"
STEVENAGE = "E07000243"


def pages(pdf: bytes) -> list[str]:
    with pypdfium2.PdfDocument(pdf) as document:
        found = []
        for page in document:
            text = page.get_textpage()
            found.append(text.get_text_range())
            text.close()
            page.close()
        return found


def words(text: str) -> list[str]:
    """Words without page furniture, hyphenation and typographic variants of one character."""
    text = FURNITURE.sub(" ", text)
    text = text.replace("\ufffe", "-").replace("’", "'").replace("\u00a0", " ")
    return text.split()


@pytest.fixture(scope="module")
def status(finished: Site) -> Any:
    return finished.json("status", "2020")


@pytest.fixture(scope="module")
def stevenage(finished: Site, status: Any) -> bytes:
    [one] = [one for one in status["letters"] if one["authority"] == STEVENAGE]
    path = finished.archive / str(one["pdf"])
    return path.read_bytes()


def test_stevenages_letter_says_what_the_letter_of_record_says(stevenage: bytes) -> None:
    found = "\n".join(pages(stevenage)).strip()
    assert found.startswith(LETTERHEAD)
    written = words(found.removeprefix(LETTERHEAD))
    seed = words(re.sub(r"\*\*|</?u>", "", SEED.read_text(encoding="utf-8")))
    differences = [
        (kind, seed[a:b], written[c:d])
        for kind, a, b, c, d in difflib.SequenceMatcher(
            None, seed, written, autojunk=False
        ).get_opcodes()
        if kind != "equal"
    ]
    # The two items that the text layer of the original has lost.
    assert differences == [
        ("insert", [], ["Complaints", "upheld"]),
        ("insert", [], ["1"]),
    ]


def test_stevenages_panels_stand_on_a_page_of_their_own(stevenage: bytes) -> None:
    found = pages(stevenage)
    assert len(found) == 3
    panels = found[2]
    for heading in (
        "Complaints upheld",
        "Compliance with Ombudsman recommendations",
        "Satisfactory remedies provided by the authority",
    ):
        assert heading in " ".join(panels.split())
    assert "Yours sincerely" not in panels
    assert "1 upheld decision" in " ".join(panels.split())


def test_stevenages_figures(finished: Site) -> None:
    shown = finished.json("show", STEVENAGE, "--year", "2020")
    assert shown["figures"] == {
        "upheld": {"part": 1, "whole": 1, "percent": 100, "average": 45},
        "compliance": {"part": 1, "whole": 1, "percent": 100, "average": 99},
        "remedy": {"part": 0, "whole": 1, "percent": 0, "average": 20},
    }
    assert {one["state"] for one in shown["deliveries"]} == {"accepted"}
    assert shown["messages"][0]["resend_of"] is None
    kinds = [one["kind"] for one in shown["events"]]
    assert kinds[:2] == ["run_opened", "letter_prepared"]


def test_watfords_figures(finished: Site) -> None:
    figures = finished.json("show", "E07000103", "--year", "2020")["figures"]
    assert figures["upheld"] == {"part": 5, "whole": 9, "percent": 56, "average": 45}


def test_every_letter_is_made_sent_and_recorded(finished: Site, status: Any) -> None:
    letters = status["letters"]
    assert len(letters) == 353
    assert {one["state"] for one in letters} == {"accepted"}
    assert {one["fault"] for one in letters} == {None}
    assert all(one["pages"] >= 3 for one in letters)
    planned = sum(len(one["recipients"]) for one in letters)
    assert {state: count for state, count in status["counts"].items() if count} == {
        "accepted": planned
    }
    for one in letters:
        assert re.fullmatch(r"2020/[A-Z0-9]+-[a-z0-9-]+\.[0-9a-f]{12}\.pdf", one["pdf"])
        data = (finished.archive / one["pdf"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == one["sha256"]


def test_every_recipient_got_the_letter_on_record_once(finished: Site, status: Any) -> None:
    expected = sorted(
        (recipient, one["sha256"]) for one in status["letters"] for recipient in one["recipients"]
    )
    mail = finished.mail()
    got = sorted((one.recipient, hashlib.sha256(one.pdf).hexdigest()) for one in mail)
    assert got == expected


def test_each_letter_names_its_own_authority_and_no_other(finished: Site, status: Any) -> None:
    names = {one["authority"]: one["name"] for one in status["letters"]}
    for one in status["letters"]:
        title = " ".join(pages((finished.archive / one["pdf"]).read_bytes())[-1].split())
        assert f"{names[one['authority']]} For the period ending: 31/03/20" in title


def test_running_again_changes_nothing(finished: Site) -> None:
    def everything() -> dict[Path, tuple[int, int]]:
        return {
            path: (path.stat().st_size, path.stat().st_mtime_ns)
            for folder in (finished.archive, finished.maildir)
            for path in folder.rglob("*")
            if path.is_file()
        }

    before, story = everything(), finished.json("show", STEVENAGE, "--year", "2020")
    done = finished.letters("run", "2020")
    assert "353 letters" in done.stdout
    assert everything() == before
    assert finished.json("show", STEVENAGE, "--year", "2020") == story


def test_the_successor_gets_its_predecessors_letters(status: Any) -> None:
    [bucks] = [
        row
        for row in read_sample("officers")
        if row["authority_code"] == "E06000060" and row["role"] == "chief_executive"
    ]
    old = [row["code"] for row in read_sample("authorities") if row["successor_code"]]
    assert len(old) == 5
    by_code = {one["authority"]: one for one in status["letters"]}
    assert "E06000060" not in by_code
    for code in old:
        assert by_code[code]["recipients"][0] == bucks["email"]


def test_json_is_all_there_is_on_standard_output(finished: Site) -> None:
    assert finished.json("run", "2020")["year"] == 2020
    quiet = finished.letters("run", "2020", "--json")
    assert quiet.stderr == ""
