"""The archive, proved against the ledger through the real command."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.site import Site, part_of_the_sample

STEVENAGE, WATFORD = "E07000243", "E07000103"


@pytest.fixture(scope="module")
def finished_small(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("verify")
    site = Site(folder)
    site.letters("import", str(part_of_the_sample(folder / "data", [STEVENAGE, WATFORD])))
    site.letters("run", "2020")
    return site


@pytest.fixture
def site(finished_small: Site, tmp_path: Path) -> Site:
    folder = tmp_path / "site"
    shutil.copytree(finished_small.folder, folder)
    return Site(folder)


def one(site: Site, pattern: str) -> Path:
    [path] = site.archive.glob(pattern)
    return path


def sound(facts: Any) -> dict[str, int]:
    found = {kind: counts["sound"] for kind, counts in facts["counts"].items()}
    assert found.pop("returned mail") == 0
    return found


def test_everything_is_there_and_has_its_hash(site: Site) -> None:
    said = site.letters("verify", "2020")
    assert "2  letters (PDF), whole and unaltered" in said.stdout
    assert "2  messages (.eml), whole and unaltered" in said.stdout
    assert "1  template, whole and unaltered" in said.stdout
    assert "Every file that the ledger names is there and has its hash." in said.stdout
    assert "Verifying 5 of 5" in said.stderr
    for arguments in ((), ("2020",)):
        facts = site.json("verify", *arguments)
        assert sound(facts) == {"letter": 2, "message": 2, "enclosure": 0, "template": 1}
        assert (facts["problems"], facts["unknown"], facts["unnamed"]) == ([], [], [])


def test_each_wrong_file_is_named_with_whose_it_is_and_what_to_do(site: Site) -> None:
    altered = one(site, f"2020/{STEVENAGE}-*.pdf")
    data = bytearray(altered.read_bytes())
    data[1000] ^= 1
    altered.write_bytes(data)
    missing = one(site, f"2020/messages/{WATFORD}-*.eml")
    missing.unlink()
    unreadable = one(site, "templates/*.docx")
    unreadable.unlink()
    unreadable.mkdir()
    before = sorted(site.archive.rglob("*"))
    done = site.letters("verify", expect=1)
    said = done.stdout
    assert f"Altered: letter of 2020 to {STEVENAGE} Stevenage Borough Council" in said
    assert f"Missing: message of 2020 to {WATFORD} Watford Borough Council" in said
    assert "Unreadable: template of 2020" in said
    for path in (altered, missing, unreadable):
        assert str(path) in said
    assert "backup" in said
    assert "2  letters (PDF), 1 whole and unaltered" in said
    assert "3 files need a person" in said
    # its own message still has the PDF
    assert f"attached to {one(site, f'2020/messages/{STEVENAGE}-*.eml')}" in said
    facts = site.json("verify", expect=1)
    assert [(each["kind"], each["condition"], each["authority"]) for each in facts["problems"]] == [
        ("template", "unreadable", None),
        ("letter", "altered", STEVENAGE),
        ("message", "missing", WATFORD),
    ]
    assert sound(facts) == {"letter": 1, "message": 1, "enclosure": 0, "template": 0}
    assert sorted(site.archive.rglob("*")) == before


def test_put_back_from_a_backup_it_is_well_again(site: Site, finished_small: Site) -> None:
    lost = one(site, f"2020/{STEVENAGE}-*.pdf")
    lost.unlink()
    site.letters("verify", expect=1)
    shutil.copy(finished_small.archive / lost.relative_to(site.archive), lost)
    site.letters("verify")


def test_what_is_left_over_is_listed_and_no_fault(site: Site) -> None:
    left = [site.archive / "2020" / f".part{number}" for number in range(30)]
    for path in left:
        path.write_bytes(b"left by a killed run")
    said = site.letters("verify").stdout
    assert "The ledger does not name 30 files." in said
    assert "left behind by a run that was killed or that ran beside another is harmless" in said
    assert "and 10 more" in said
    assert sorted(site.json("verify")["unnamed"]) == sorted(map(str, left))
    assert all(path.exists() for path in left)


def test_messages_that_the_ledger_does_not_know_need_a_person(site: Site) -> None:
    known = one(site, f"2020/messages/{STEVENAGE}-*.eml")
    strange = known.with_name("E07000001-elsewhere.0123456789ab.eml")
    message_id = re.compile(rb"(?mi)^(Message-ID:\s*<)")
    strange.write_bytes(message_id.sub(rb"\1another.", known.read_bytes(), count=1))
    left = site.archive / "2020" / "E07000001-elsewhere.0123456789ab.pdf"
    left.write_bytes(b"left by a killed run")
    said = " ".join(site.letters("verify", "2020", expect=1).stdout.split())
    assert "The archive holds 1 message that this ledger does not know of. Is it an older" in said
    assert "Do not send before that is clear" in said
    assert "by a run killed in the very moment of writing one down" in said
    assert str(strange) in said
    assert "The ledger does not name 1 file." in said
    facts = site.json("verify", expect=1)
    assert (facts["problems"], facts["unknown"]) == ([], [str(strange)])
    assert facts["unnamed"] == [str(left)]
    # The same message in other bytes is one that two runs wrote down at once.
    strange.write_bytes(known.read_bytes() + b"\r\n")
    facts = site.json("verify")
    assert (facts["unknown"], sorted(facts["unnamed"])) == ([], sorted([str(strange), str(left)]))


def test_an_archive_beside_a_ledger_that_names_nothing_needs_a_person(
    site: Site, tmp_path: Path
) -> None:
    other = Site(site.folder, database=f"sqlite:///{tmp_path}/another.db")
    other.letters("db", "upgrade")
    said = other.letters("verify", expect=1).stdout
    assert "The ledger names no files yet." in said
    assert "The archive holds 5 files that this ledger does not know of." in said
    assert "database.url" in said
    facts = other.json("verify", expect=1)
    assert (len(facts["unknown"]), facts["unnamed"]) == (5, [])
    shutil.rmtree(site.archive)
    assert other.json("verify")["unknown"] == []


def test_a_run_that_was_killed_leaves_nothing_that_is_wrong(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.letters("import", str(part_of_the_sample(tmp_path / "data", [STEVENAGE, WATFORD])))
    running = site.start("run", "2020")
    for line in running.stderr or ():
        if line.startswith("Preparing"):
            break
    running.kill()
    running.communicate()
    facts = site.json("verify")
    assert facts["problems"] == []
    site.letters("run", "2020")
    assert sound(site.json("verify")) == {"letter": 2, "message": 2, "enclosure": 0, "template": 1}


def test_what_a_refreshed_run_had_frozen_is_proved_too(site: Site) -> None:
    site.letters("cancel", "2020", "--reason", "to be done anew", "--yes")
    assert sound(site.json("verify", "2020")) == {
        "letter": 2,
        "message": 2,
        "enclosure": 0,
        "template": 1,
    }
    one(site, f"2020/{WATFORD}-*.pdf").unlink()
    assert "Watford" in site.letters("verify", "2020", expect=1).stdout


def test_an_archive_that_is_gone_is_one_sentence(site: Site) -> None:
    shutil.rmtree(site.archive)
    done = site.letters("verify", expect=69)
    assert f"There is no archive at {site.archive}" in done.stderr
    assert done.stdout == ""


def test_a_year_that_never_was_is_refused(site: Site) -> None:
    assert "There are no letters of 2019" in site.letters("verify", "2019", expect=2).stderr
