"""One letter again: a new message with the archived PDF, linked to the first."""

import hashlib
from pathlib import Path

import pytest
import sqlalchemy as sa

from pipeline import schema
from pipeline.database import Database
from tests.acceptance.site import Site, part_of_the_sample

STEVENAGE = "E07000243"


@pytest.fixture
def sent(tmp_path: Path) -> Site:
    site = Site(tmp_path)
    site.letters("import", str(part_of_the_sample(tmp_path / "data", [STEVENAGE])))
    site.letters("run", "2020")
    return site


def test_the_archived_pdf_goes_again_and_is_never_made_anew(sent: Site) -> None:
    before = sent.json("show", STEVENAGE, "--year", "2020")
    files = sorted(sent.archive.rglob("2020/*.pdf"))
    first = {one.recipient: one for one in sent.mail()}
    # A LibreOffice that is not there cannot have made it.
    sent.letters(
        "resend", STEVENAGE, "--year", "2020", "--reason", "lost in a migration", "--by", "Ann",
        "--yes", env={"LETTERS_SOFFICE": "/nowhere"},
    )  # fmt: skip
    after = sent.json("show", STEVENAGE, "--year", "2020")
    assert sorted(sent.archive.rglob("2020/*.pdf")) == files
    assert (after["sha256"], after["pdf"]) == (before["sha256"], before["pdf"])
    original, again = after["messages"]
    assert original == before["messages"][0]
    assert again["resend_of"] == original["message_id"]
    assert (again["reason"], again["requested_by"]) == ("lost in a migration", "Ann")
    new = [one for one in sent.mail() if one.message["Message-ID"] == again["message_id"]]
    assert {one.recipient for one in new} == set(first)
    assert {one.message["References"] for one in new} == {original["message_id"]}
    for one in new:
        assert hashlib.sha256(one.pdf).hexdigest() == before["sha256"]
        assert one.message["Message-ID"] != first[one.recipient].message["Message-ID"]
    assert {one["state"] for one in after["deliveries"]} == {"accepted"}


def test_to_replaces_all_recipients(sent: Site) -> None:
    count = len(sent.mail())
    done = sent.json(
        "resend", STEVENAGE, "--year", "2020", "--reason", "new chief executive",
        "--to", "new.chief@stevenage.gov.example", "--yes",
    )  # fmt: skip
    assert [one["recipient"] for one in done["deliveries"]] == ["new.chief@stevenage.gov.example"]
    mail = sent.mail()
    assert len(mail) == count + 1
    [new] = [one for one in mail if one.recipient == "new.chief@stevenage.gov.example"]
    assert new.message["To"] == "new.chief@stevenage.gov.example"
    assert new.message["Cc"] is None
    [one] = sent.json("status", "2020")["letters"]
    assert (one["state"], one["recipients"]) == ("accepted", ["new.chief@stevenage.gov.example"])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["E07000999", "--year", "2020", "--reason", "x"], "no letter for the code E07000999"),
        (["stevenage", "--year", "2020", "--reason", "x"], "E07000243 Stevenage"),
        ([STEVENAGE, "--year", "2019", "--reason", "x"], "No run of 2019"),
        ([STEVENAGE, "--year", "2020", "--reason", " "], "needs a reason"),
        ([STEVENAGE, "--year", "2020"], "--reason"),
        ([STEVENAGE, "--year", "2020", "--reason", "x", "--to", "a@b@c"], "--to a@b@c"),
        ([STEVENAGE, "--year", "2020", "--reason", "x", "--to", "a\nBcc: b@c.example"], "--to"),
    ],
)
def test_what_cannot_be_sent_again_is_refused(sent: Site, arguments: list[str], says: str) -> None:
    before = sent.mail()
    assert says in sent.letters("resend", *arguments, "--yes", expect=2).stderr
    assert sent.mail() == before
    assert len(sent.json("show", STEVENAGE, "--year", "2020")["messages"]) == 1


def test_running_the_year_again_sends_nothing_more(sent: Site) -> None:
    sent.letters("resend", STEVENAGE, "--year", "2020", "--reason", "lost", "--yes")
    before = sent.mail()
    sent.letters("run", "2020")
    assert sent.mail() == before


def test_a_resend_sets_nothing_else_in_motion(tmp_path: Path) -> None:
    """Letters that wait for approval, or for their turn, go on waiting."""
    site = Site(tmp_path)
    site.letters("import", str(part_of_the_sample(tmp_path / "data", [STEVENAGE])))
    site.letters("run", "2020")
    ledger = Database(site.environment["LETTERS_DATABASE__URL"])
    with ledger.write() as connection:  # a second letter that nobody has sent yet
        row = dict(connection.execute(sa.select(schema.letters)).one()._mapping)
        del row["id"]
        recipients = [{**row["recipients"][0], "address": "waiting@other.example"}]
        connection.execute(
            sa.insert(schema.letters).values(
                **row | {"authority_code": "E07000999", "recipients": recipients}
            )
        )
    ledger.close()
    before = len(site.mail())
    site.letters("resend", STEVENAGE, "--year", "2020", "--reason", "lost", "--yes")
    assert "waiting@other.example" not in {one.recipient for one in site.mail()}
    assert len(site.mail()) == 2 * before
    site.letters("run", "2020")
    assert "waiting@other.example" in {one.recipient for one in site.mail()}


def test_an_address_named_twice_gets_one_copy(sent: Site) -> None:
    done = sent.json(
        "resend", STEVENAGE, "--year", "2020", "--reason", "lost", "--yes",
        "--to", "A@stevenage.gov.example", "--to", "a@stevenage.gov.example",
    )  # fmt: skip
    assert len(done["deliveries"]) == 1
