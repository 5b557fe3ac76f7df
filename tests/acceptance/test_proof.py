"""Proof, approval and test sends, as the person who approves meets them."""

import csv
import io
import stat
from datetime import UTC, datetime
from pathlib import Path

import pypdfium2  # type: ignore[import-untyped]
import pytest
import sqlalchemy as sa

from pipeline import bootstrap, proofpack, schema, settings
from pipeline.database import Database
from pipeline.display.progress import watching
from pipeline.errors import Refused
from pipeline.ledger import runs
from tests.acceptance.conftest import STEVENAGE, WATFORD
from tests.acceptance.site import Site, part_of_the_sample

NOW = datetime(2020, 7, 20, 9, tzinfo=UTC)
ANN = {"SUDO_USER": "ann"}
ONE = {"LETTERS_APPROVAL__PEOPLE": "1"}


def pages(file: Path) -> list[str]:
    with pypdfium2.PdfDocument(file) as document:
        return [page.get_textpage().get_text_bounded() for page in document]


def bookmarks(file: Path) -> list[tuple[int, str, int]]:
    with pypdfium2.PdfDocument(file) as document:
        return [
            (one.level, one.get_title(), one.get_dest().get_index()) for one in document.get_toc()
        ]


def change(site: Site, **values: object) -> None:
    table = schema.letters
    db = Database(site.environment["LETTERS_DATABASE__URL"])
    with db.write() as connection:
        connection.execute(
            sa.update(table).where(table.c.authority_code == WATFORD).values(**values)
        )
    db.close()


def several_files(
    site: Site, place: Path, monkeypatch: pytest.MonkeyPatch, *, meanwhile: bool = False
) -> tuple[proofpack.Pack, list[proofpack.Row]]:
    """The site's proof with one letter in each file; one is withheld while it is made, or not."""
    for name, value in site.environment.items():
        if name.startswith("LETTERS_"):
            monkeypatch.setenv(name, value)
    read = settings.load()
    rows: list[proofpack.Row] = []

    def take(row: proofpack.Row) -> None:
        rows.append(row)
        if meanwhile and len(rows) == 1:
            change(site, withheld_at=NOW, withheld_because="wait")

    with (
        bootstrap.pipeline(read, writes=False) as pipeline,
        bootstrap.converter(read) as office,
        watching(quiet=True) as watch,
    ):
        found = runs.find_run(pipeline.ledger, 2020)
        assert found is not None
        pack = proofpack.make(
            pipeline,
            found,
            place,
            to_pdf=office.convert,
            take=take,
            now=NOW,
            progress=watch,
            volume=1,
        )
    return pack, rows


def test_the_cover_says_whose_letter_a_check_is_about(prepared: Site, tmp_path: Path) -> None:
    db = Database(prepared.environment["LETTERS_DATABASE__URL"])
    table = schema.letters
    with db.read() as connection:
        people = connection.execute(
            sa.select(table.c.recipients).where(table.c.authority_code == WATFORD)
        ).scalar_one()
    db.close()
    change(prepared, recipients=[one for one in people if one["kind"] == "to"])
    facts = prepared.json("proof", "2020", "--to", str(tmp_path / "proof"))
    cover = " ".join(" ".join(pages(Path(facts["files"][0]))[:-6]).split())
    assert f"Watford Borough Council ({WATFORD}): " in cover
    assert "What to do: " in cover
    assert facts["marked"] == 1


def test_above_a_number_of_letters_there_are_several_files(
    prepared: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "proof"
    place.mkdir()
    pack, rows = several_files(prepared, place, monkeypatch)
    name = f"letters-2020-proof-{pack.digest[:12]}"
    assert [one.name for one in pack.files] == [f"{name}-1-of-2.pdf", f"{name}-2-of-2.pdf"]
    assert sorted(place.iterdir()) == list(pack.files), "and nothing else is left there"
    first, second = (pages(file) for file in pack.files)
    assert len(first) + len(second) == pack.pages
    assert "Proof of the annual letters 2020" in first[0], "the cover comes once, before all"
    assert "no. 1 of 2" in " ".join(first[-3].split())
    assert [" ".join(one.split()).count("no. 2 of 2") for one in second] == [1, 1, 1]
    assert [title for _, title, _ in bookmarks(pack.files[1])] == ["2  Stevenage Borough Council"]
    by_file = {row.authority: (row.number, row.file, row.page) for row in rows}
    assert by_file == {
        WATFORD: (1, pack.files[0].name, len(first) - 2),
        STEVENAGE: (2, pack.files[1].name, 1),
    }
    approved = prepared.json("approve", "2020", "--digest", pack.digest[:12], env={**ONE, **ANN})
    assert approved["letters"] == 2, "the digest is that of all files together"


def test_a_proof_of_letters_that_were_changed_meanwhile_is_thrown_away(
    prepared: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "proof"
    place.mkdir()
    with pytest.raises(Refused, match="changed, withheld or released while the proof was made"):
        several_files(prepared, place, monkeypatch, meanwhile=True)
    assert list(place.iterdir()) == []


def test_the_proof_is_what_is_approved_and_what_changes_is_not(
    prepared: Site, tmp_path: Path
) -> None:
    place = tmp_path / "proof"
    facts = prepared.json("proof", "2020", "--to", str(place))
    [file], digest = [Path(one) for one in facts["files"]], facts["digest"]
    assert (facts["letters"], facts["marked"], facts["withheld"]) == (2, 0, 0)
    text = pages(file)
    cover = " ".join(" ".join(text[:-6]).split())
    assert len(text) == facts["pages"]
    assert "Proof of the annual letters 2020" in cover
    assert digest in cover.replace(" ", "")
    assert f"letters approve 2020 --digest {digest[:12]}" in cover
    assert "Subject: Annual Review letter 2020: Watford Borough Council" in cover
    letter = text[-3]
    assert f"PROOF {digest[:12]} | no. 2 of 2 | {STEVENAGE} Stevenage Borough Council | page 1" in (
        " ".join(letter.split())
    )
    assert "Mr Partridge" in letter
    assert [(level, title) for level, title, _ in bookmarks(file)][:1] == [(0, "Cover")]
    assert bookmarks(file)[-1] == (0, "2  Stevenage Borough Council", len(text) - 3)
    rows = list(csv.DictReader(io.StringIO(Path(facts["rows"]).read_text("utf-8-sig"))))
    assert [(one["authority"], one["copied"]) for one in rows] == [
        (WATFORD, ""), (WATFORD, "copy"), (STEVENAGE, ""), (STEVENAGE, "copy"),
    ]  # fmt: skip
    assert rows[2]["subject"] == "Annual Review letter 2020: Stevenage Borough Council"
    assert int(rows[2]["page"]) == len(text) - 2
    for one in (file, Path(facts["rows"])):
        assert stat.S_IMODE(one.stat().st_mode) == 0o600
    assert sorted(one.name for one in place.iterdir()) == sorted([file.name, f"{file.stem}.csv"])

    early = prepared.letters("run", "2020", expect=1, env=ONE).stdout
    assert "1 more person must approve 2 letters before they are sent" in early
    somebody = {"name": "Somebody", "roles": ["chief_executive"], "kind": "to"}
    change(prepared, recipients=[{**somebody, "address": "new@watford.gov.example"}])
    told = prepared.letters(
        "approve", "2020", "--digest", digest[:12], expect=2, env=ANN | ONE
    ).stderr
    assert "not those that you have looked at" in " ".join(told.split())
    assert prepared.mail() == []
    now = prepared.json("proof", "2020", "--to", str(place))
    assert now["digest"] != digest
    assert len(list(place.iterdir())) == 4, "the old one is left for comparing"
    done = prepared.json("approve", "2020", "--digest", now["digest"], env=ANN | ONE)
    assert (done["login"], done["letters"], done["awaiting"]) == ("ann", 2, 0)

    # one more correction: that letter waits, and the other goes
    change(prepared, pdf_sha256="0" * 64)
    sent = prepared.letters("send", "2020", expect=1, env=ONE).stdout
    words = " ".join(sent.split())
    assert "1 more person must approve 1 letter before it is sent: letters approve 2020" in words
    assert f"Watford Borough Council ({WATFORD}): its PDF changed, since" in words
    assert {one.recipient.rpartition("@")[2] for one in prepared.mail()} == {
        "stevenage.gov.example"
    }
    shown = prepared.letters("show", WATFORD, env=ONE).stdout
    assert "Not approved by" in shown
    assert f"letters approve 2020 --authority {WATFORD}" in " ".join(shown.split())


def test_what_is_still_to_be_made_or_nothing_at_all_has_no_proof(site: Site) -> None:
    folder = site.folder / "data"
    site.letters("import", str(part_of_the_sample(folder, [STEVENAGE])))
    assert "letters prepare 2020" in site.letters("proof", "2020", expect=2).stderr


def test_a_test_is_marked_goes_to_the_tester_alone_and_counts_nowhere(prepared: Site) -> None:
    told = prepared.letters("test", "2020", "--to", "me@ombudsman.example", "--by", "Ann").stdout
    assert told.count("to me@ombudsman.example: taken by the mail server") == 2
    found = prepared.mail()
    assert {one.recipient for one in found} == {"me@ombudsman.example"}
    [mail] = [one.message for one in found if "Stevenage" in one.message["Subject"]]
    assert mail["Subject"] == "[TEST] Annual Review letter 2020: Stevenage Borough Council"
    assert (mail["To"], mail["Cc"]) == ("me@ombudsman.example", None)
    for kind in ("plain", "html"):
        body = mail.get_body((kind,))
        assert body is not None
        words = " ".join(body.get_content().split())
        assert "This is a test, which Ann had sent on" in words
        assert "chief.executive@stevenage.gov.example" in words
        assert "I attach our Annual Review letter 2020" in words
    [attached] = mail.iter_attachments()
    status = prepared.json("status", "2020")
    [letter] = [one for one in status["letters"] if one["authority"] == STEVENAGE]
    assert letter["pdf"] is not None
    assert attached.get_content() == (prepared.archive / letter["pdf"]).read_bytes()
    assert letter["state"] == "prepared"
    assert sum(status["counts"].values()) == 0
    told = " ".join(prepared.letters("show", STEVENAGE).stdout.split())
    assert "Sent as a test by Ann, to me@ombudsman.example: taken by the mail server." in told
    prepared.letters("run", "2020", env={"LETTERS_APPROVAL__PEOPLE": "0"})
    assert len(prepared.mail()) == 2 + 4, "all of them go all the same"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Say where the test goes"),
        (["--to", "nowhere"], "--to nowhere:"),
        (["--to", "a@b.example", "--sample", "2", "--authority", "watford"], "Either --authority"),
    ],
)
def test_a_test_that_cannot_be_meant_is_refused(
    prepared: Site, arguments: list[str], said: str
) -> None:
    refused = prepared.letters("test", "2020", *arguments, expect=2).stderr
    assert said in " ".join(refused.split())
    assert prepared.mail() == []
