"""A letter again, as a person asks for it: a new message with the archived PDF, sent once."""

import hashlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from aiosmtpd.controller import Controller

from pipeline import schema
from pipeline.database import Database
from pipeline.delivery import Mode
from pipeline.ledger import messages
from pipeline.ledger.messages import Request, Sender
from tests.acceptance.site import LETTERS, Row, Site, part_of_the_sample
from tests.acceptance.terminal import Terminal
from tests.acceptance.test_relay import Relay
from tests.postgres import free_port

STEVENAGE, WYCOMBE, RICHMONDSHIRE = "E07000243", "E07000007", "E07000166"
RICHMOND, BUCKINGHAMSHIRE, KINGS_LYNN = "E09000027", "E10000002", "E07000146"
SUCCESSOR, FAULTED = "E06000060", "E07000103"
CHOSEN = [
    STEVENAGE, WYCOMBE, RICHMONDSHIRE, RICHMOND, BUCKINGHAMSHIRE, KINGS_LYNN, SUCCESSOR, FAULTED,
]  # fmt: skip
DISTRICTS = [WYCOMBE, KINGS_LYNN, RICHMONDSHIRE, STEVENAGE]


def _no_address(tables: dict[str, list[Row]]) -> None:
    tables["officers"] = [
        row
        for row in tables["officers"]
        if row["authority_code"] != FAULTED or row["role"] != "chief_executive"
    ]


@pytest.fixture(scope="module")
def finished_part(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A part of the sample taken all the way, with one letter that cannot be made."""
    folder = tmp_path_factory.mktemp("resend")
    site = Site(folder)
    site.letters("import", str(part_of_the_sample(folder / "data", CHOSEN, _no_address)))
    site.letters("run", "2020", expect=1)
    return site


@pytest.fixture
def sent(finished_part: Site, tmp_path: Path) -> Site:
    """A site of the test's own in which everything was sent once."""
    shutil.copytree(finished_part.folder, tmp_path / "site")
    return Site(tmp_path / "site").confirmed()


@contextmanager
def relay_running() -> Iterator[tuple[Relay, dict[str, str]]]:
    """A relay on loopback, and the settings that name it."""
    handler, port = Relay(), free_port()
    controller = Controller(handler, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        yield handler, {"LETTERS_SMTP__HOST": "127.0.0.1", "LETTERS_SMTP__PORT": str(port)}
    finally:
        controller.stop()


def count_of(site: Site, code: str = STEVENAGE) -> int:
    """How many messages are on record of a letter."""
    return len(site.json("show", code)["messages"])


def test_the_archived_pdf_goes_again_and_is_never_made_anew(sent: Site) -> None:
    before = sent.json("show", STEVENAGE, "--year", "2020")
    files = sorted(sent.archive.rglob("2020/*.pdf"))
    recipients = [one["recipient"] for one in before["deliveries"]]
    first = {one.recipient: one for one in sent.mail() if one.recipient in recipients}
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
    [one] = [one for one in sent.json("status", "2020")["letters"] if one["authority"] == STEVENAGE]
    assert (one["state"], one["recipients"]) == ("accepted", ["new.chief@stevenage.gov.example"])


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("A@stevenage.gov.example", "a@stevenage.gov.example"),
        ("n@s.example", " n@s.example"),
        ("new@münchen.example", "new@xn--mnchen-3ya.example"),
    ],
)
def test_an_address_named_twice_gets_one_copy(sent: Site, first: str, second: str) -> None:
    arguments = ["resend", STEVENAGE, "--reason", "lost", "--yes"]
    done = sent.json(*arguments, "--to", first, "--to", second)
    assert [one["recipient"] for one in done["deliveries"]] == [first]
    # and the other spelling alone is the same request
    assert not sent.json(*arguments, "--to", second)["new"]


def test_nothing_goes_again_without_the_approval_that_is_asked_for(sent: Site) -> None:
    before = sent.mail()
    created_and_not_sent(sent, "lost")
    two = {"LETTERS_APPROVAL__PEOPLE": "2", "SUDO_USER": "ann"}
    for arguments in (
        ["wycombe", "--reason", "x"],
        ["stevenage", "--reason", "lost", "--by", "Ann"],  # begun while none was asked for
    ):
        refused = sent.letters("resend", *arguments, "--yes", expect=2, env=two).stderr
        assert "2 more people must approve it" in refused
        assert "letters approve 2020 --authority E0" in refused
    several = ["resend", "--kind", "county", "--reason", "x", "--yes", "--json"]
    left = sent.letters(*several, expect=1, env=two).stdout
    assert "2 more people must approve it" in left
    assert (count_of(sent, WYCOMBE), count_of(sent, BUCKINGHAMSHIRE)) == (1, 1)
    sent.letters("approve", "2020", "--by", "Ann", env=two)
    sent.letters("approve", "2020", "--by", "Ben", env={**two, "SUDO_USER": "ben"})
    assert sent.mail() == before
    sent.letters("resend", "wycombe", "--reason", "x", "--yes", env=two)
    assert count_of(sent, WYCOMBE) == 2


def test_a_letter_whose_file_is_lost_is_not_asked_for(sent: Site) -> None:
    lost = sent.archive / sent.json("show", STEVENAGE)["pdf"]
    kept = lost.read_bytes()
    lost.unlink()
    refused = sent.letters("resend", "stevenage", "--reason", "x", "--yes", expect=69).stderr
    assert f"The archive has no file {lost}" in refused
    assert count_of(sent) == 1
    done = sent.json("resend", "--kind", "district", "--reason", "x", "--yes", expect=1)
    assert f"The archive has no file {lost}" in " ".join(
        one["because"] for one in done["left_out"] if one["authority"] == STEVENAGE
    )
    assert [count_of(sent, code) for code in DISTRICTS] == [2, 2, 2, 1]
    lost.write_bytes(kept)
    assert sent.json("resend", "stevenage", "--reason", "x", "--yes")["new"]


@pytest.mark.parametrize(
    ("typed", "code", "name"),
    [
        ("stevenage", STEVENAGE, "Stevenage Borough Council"),
        ("kings lynn", KINGS_LYNN, "Borough Council of King's Lynn and West Norfolk"),
        ("BUCKINGHAMSHIRE", BUCKINGHAMSHIRE, "Buckinghamshire County Council"),
        ("e07000007", WYCOMBE, "Wycombe District Council"),
    ],
)
def test_an_authority_is_found_by_its_name_and_shown_back(
    sent: Site, typed: str, code: str, name: str
) -> None:
    done = sent.letters("resend", typed, "--reason", "lost", "--to", "a@b.example", "--yes")
    assert f"The letter to {name} ({code}) was sent again." in done.stdout
    assert count_of(sent, code) == 2
    assert sent.json("show", typed)["authority"] == code


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["E07000999", "--reason", "x"], "The 2020 run has no letter for E07000999."),
        (["richmond", "--reason", "x"], f"  {RICHMONDSHIRE} Richmondshire District Council"),
        (["richmond", "--reason", "x"], f"  {RICHMOND} London Borough of Richmond upon Thames"),
        (["stevenge", "--reason", "x"], f"Did you mean:\n  {STEVENAGE} Stevenage"),
        (["narnia", "--reason", "x"], "no letter for narnia. Give a part of its name, or its code"),
        (["", "--reason", "x"], "Name an authority"),
        ([SUCCESSOR, "--reason", "x"], f"({SUCCESSOR}) is on record, but has no letter in the"),
        (["buckinghamshire council", "--reason", "x"], f"  {BUCKINGHAMSHIRE} Buckinghamshire Cou"),
        ([SUCCESSOR, "--reason", "x"], f"  {WYCOMBE} Wycombe District Council"),
        (["watford", "--reason", "x"], "no letter to Watford Borough Council to send again: "),
        ([STEVENAGE, "--year", "2019", "--reason", "x"], "There are no letters of 2019 on record"),
        ([STEVENAGE, "--reason", " "], "needs a reason"),
        ([STEVENAGE], "--reason"),
        ([STEVENAGE, "--reason", "x", "--to", "a@b@c"], "--to a@b@c"),
        ([STEVENAGE, "--reason", "x", "--to", "a\nBcc: b@c.example"], "--to"),
        ([STEVENAGE, "--reason", "x", "--key", " "], "--key needs a name"),
        ([STEVENAGE, "--reason", "x", "--key", "k", "--again"], "a key of its own"),
        ([STEVENAGE, "--reason", "x", "--kind", "district"], "not both"),
        ([STEVENAGE, "--reason", "x", "--count", "1"], "--count"),
        (["--reason", "x"], "Name an authority, or several"),
        (["--kind", "county", "--reason", "x", "--to", "a@b.example"], "--to is for one letter"),
        (["--kind", "parish", "--reason", "x"], "--kind parish: it may be county, district"),
        (["--state", "bounce", "--reason", "x"], "did you mean bounced?"),
        (["--codes", "/nowhere/codes.txt", "--reason", "x"], "/nowhere/codes.txt cannot be read"),
        (["--kind", "county"], "--reason"),
    ],
)  # fmt: skip
def test_what_cannot_be_sent_again_is_refused(
    finished_part: Site, arguments: list[str], says: str
) -> None:
    before = finished_part.mail()
    assert says in finished_part.letters("resend", *arguments, "--yes", expect=2).stderr
    assert finished_part.mail() == before


def test_running_the_year_again_sends_nothing_more(sent: Site) -> None:
    sent.letters("resend", STEVENAGE, "--year", "2020", "--reason", "lost", "--yes")
    before = sent.mail()
    sent.letters("run", "2020", expect=1)
    assert sent.mail() == before


def test_a_resend_sets_nothing_else_in_motion(sent: Site) -> None:
    """Letters that wait for approval, or for their turn, go on waiting."""
    ledger = Database(sent.environment["LETTERS_DATABASE__URL"])
    with ledger.write() as connection:  # a second letter that nobody has sent yet
        table = schema.letters
        row = dict(
            connection.execute(sa.select(table).where(table.c.authority_code == STEVENAGE))
            .one()
            ._mapping
        )
        del row["id"]
        recipients = [{**row["recipients"][0], "address": "waiting@other.example"}]
        connection.execute(
            sa.insert(table).values(
                **row | {"authority_code": "E07000999", "recipients": recipients}
            )
        )
    ledger.close()
    sent.letters("resend", STEVENAGE, "--year", "2020", "--reason", "lost", "--yes")
    assert "waiting@other.example" not in {one.recipient for one in sent.mail()}
    refused = sent.letters("resend", "E07000999", "--reason", "x", "--yes", expect=2)
    assert "has not been sent in capture mode yet" in refused.stderr
    sent.letters("run", "2020", expect=1)
    assert "waiting@other.example" in {one.recipient for one in sent.mail()}


def test_the_same_request_twice_is_one_message(sent: Site) -> None:
    arguments = ["resend", "stevenage", "--reason", "lost", "--by", "Ann", "--yes"]
    sent.letters(*arguments)
    mail = sent.mail()
    [_, made] = sent.json("show", STEVENAGE)["messages"]
    again = sent.letters(*arguments)
    assert "was already sent on " in again.stdout
    assert f" as {made['message_id']}; nothing new was sent." in again.stdout
    told = sent.json(*arguments)
    assert (told["new"], told["message"]) == (False, made)
    assert (count_of(sent), sent.mail()) == (2, mail)
    # by somebody else, for another reason, or on purpose, it is another
    sent.letters(*arguments, "--again")
    sent.letters(*arguments[:-3], "--by", "Bob", "--yes")
    assert sent.json("resend", "stevenage", "--reason", "lost twice", "--yes")["new"]
    assert count_of(sent) == 5


def test_the_same_request_at_once_is_one_message_and_hinders_nobody(sent: Site) -> None:
    before = len(sent.mail())
    arguments = [str(LETTERS), "resend", "stevenage", "--reason", "lost", "--by", "Ann", "--yes"]
    at_once = [
        subprocess.Popen(
            arguments, env=sent.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, cwd="/",
        )
        for _ in range(4)
    ]  # fmt: skip
    said = [one.communicate() for one in at_once]
    # who comes while it is being sent has 1, as it has not reached everybody by then
    assert {one.returncode for one in at_once} <= {0, 1}, said
    assert count_of(sent) == 2
    assert len(sent.mail()) == before + 2


def test_a_key_names_a_request(sent: Site) -> None:
    arguments = ["--reason", "form", "--key", "form 7", "--yes"]
    first = sent.json("resend", "stevenage", *arguments)
    second = sent.json("resend", "stevenage", *arguments, "--by", "somebody else")
    assert (first["new"], second["new"]) == (True, False)
    assert first["message"] == second["message"]
    refused = sent.letters("resend", "wycombe", *arguments, expect=2).stderr
    assert "The key form 7 belongs to another request" in refused
    assert "Stevenage Borough Council" in refused


def created_and_not_sent(site: Site, reason: str) -> str:
    """What a crash between the two leaves behind: the message is there, and did not go."""
    ledger = Database(site.environment["LETTERS_DATABASE__URL"])
    table = schema.letters
    with ledger.read() as connection:
        letter = connection.scalar(sa.select(table.c.id).where(table.c.authority_code == STEVENAGE))
    assert letter is not None
    made = messages.resend(
        ledger,
        letter,
        Sender(address="annual.letters@ombudsman.example", mode=Mode.CAPTURE),
        Request(reason=reason, person="Ann"),
        now=datetime.now(UTC),
    )
    ledger.close()
    return made.message_id


def test_a_crash_before_sending_is_finished_by_asking_again(sent: Site) -> None:
    before = len(sent.mail())
    message_id = created_and_not_sent(sent, "lost")
    other = sent.letters("resend", "stevenage", "--reason", "other", "--yes", expect=2).stderr
    assert "is still on its way to chief.executive@stevenage.gov.example (queued since" in other
    assert "letters send 2020" in other
    done = sent.letters("resend", "stevenage", "--reason", "lost", "--by", "Ann", "--yes")
    assert f"Recorded as {message_id}." in done.stdout
    new = [one for one in sent.mail() if one.message["Message-ID"] == message_id]
    assert len(new) == len(sent.mail()) - before == 2
    assert count_of(sent) == 2


def test_what_is_held_back_is_not_sent_again(sent: Site) -> None:
    before = sent.mail()
    created_and_not_sent(sent, "lost")
    sent.letters("pause", "2020", "--reason", "wrong averages", "--by", "Ann")
    for arguments in (
        ["stevenage", "--reason", "lost", "--by", "Ann"],  # begun before the pause
        ["wycombe", "--reason", "x"],
        ["--kind", "county", "--reason", "x"],
    ):
        refused = sent.letters("resend", *arguments, "--yes", expect=2).stderr
        assert "paused, by Ann since " in refused
        assert "wrong averages" in refused
        assert "letters resume 2020" in refused
    assert sent.mail() == before


# Several at once.


def test_several_go_by_what_they_have_in_common(sent: Site) -> None:
    done = sent.json("resend", "--kind", "district", "--state", "accepted", "--reason", "lost",
                     "--count", "4")  # fmt: skip
    assert [one["authority"] for one in done["letters"]] == DISTRICTS
    assert done["left_out"] == []
    assert {each["state"] for one in done["letters"] for each in one["deliveries"]} == {"accepted"}
    assert all(one["new"] for one in done["letters"])
    assert [count_of(sent, code) for code in DISTRICTS] == [2, 2, 2, 2]
    assert count_of(sent, BUCKINGHAMSHIRE) == 1
    # asked again, by a script that is run twice say, it is the same request
    mail = sent.mail()
    again = sent.json("resend", "--kind", "district", "--state", "accepted", "--reason", "lost",
                      "--count", "4")  # fmt: skip
    assert again["letters"] == [{**one, "new": False} for one in done["letters"]]
    assert sent.mail() == mail


def test_the_number_has_to_be_right(sent: Site) -> None:
    before = sent.mail()
    everything = ["resend", "--kind", "district", "--reason", "lost"]
    unsaid = sent.letters(*everything, expect=2).stderr
    assert "5 letters of 2020" not in unsaid  # the one that cannot be made is not counted
    assert "4 letters of 2020 to " in unsaid
    assert "--count 4" in unsaid
    wrong = sent.letters(*everything, "--count", "3", expect=2).stderr
    assert "--count says 3, but 5 letters fit, and 4 can go. Nothing was sent." in wrong
    assert sent.letters(*everything, "--count", "3", "--yes", expect=2).stderr
    assert sent.mail() == before


def test_who_cannot_go_is_left_out_and_the_others_go(sent: Site) -> None:
    created_and_not_sent(sent, "lost")
    ledger = Database(sent.environment["LETTERS_DATABASE__URL"])
    with ledger.write() as connection:
        connection.execute(
            sa.update(schema.letters)
            .where(schema.letters.c.authority_code == WYCOMBE)
            .values(withheld_at=datetime.now(UTC), withheld_because="the figures are wrong")
        )
    ledger.close()
    done = sent.letters("resend", "--kind", "district", "--reason", "again", "--yes", expect=1)
    assert "2 letters sent again." in done.stdout
    assert "3 letters cannot be sent again now:" in done.stdout
    assert (
        "Wycombe District Council: The letter to Wycombe District Council is withheld (the fi"
        in (done.stdout)
    )
    assert f"  {STEVENAGE} Stevenage Borough Council: An earlier message" in done.stdout
    assert f"  {FAULTED} Watford Borough Council: There is no letter" in done.stdout
    told = sent.json("resend", "--kind", "district", "--reason", "again", "--yes", expect=1)
    assert [one["authority"] for one in told["left_out"]] == [WYCOMBE, FAULTED, STEVENAGE]
    assert [one["new"] for one in told["letters"]] == [False, False]
    assert count_of(sent, RICHMONDSHIRE) == 2


def test_codes_come_from_a_file(sent: Site, tmp_path: Path) -> None:
    codes = tmp_path / "codes.csv"
    codes.write_text(f'name,code\n"Stevenage, Borough of",{STEVENAGE}\nx,{WYCOMBE.lower()}\n')
    done = sent.json("resend", "--codes", str(codes), "--reason", "lost", "--count", "2")
    assert [one["authority"] for one in done["letters"]] == [WYCOMBE, STEVENAGE]


def test_codes_come_from_standard_input(sent: Site) -> None:
    done = subprocess.run(
        [LETTERS, "resend", "--codes", "-", "--kind", "district", "--reason", "x", "--count", "1"],
        input=f"{STEVENAGE}\n{BUCKINGHAMSHIRE}\n",
        env=sent.environment, capture_output=True, text=True, check=True, cwd="/",
    )  # fmt: skip
    assert "1 letter sent again." in done.stdout
    assert (count_of(sent, STEVENAGE), count_of(sent, BUCKINGHAMSHIRE)) == (2, 1)


def test_a_file_with_a_wrong_code_sends_nothing(finished_part: Site, tmp_path: Path) -> None:
    before = finished_part.mail()
    codes = tmp_path / "codes"
    codes.write_text(f"{STEVENAGE}\nE07000998\n{WYCOMBE}\n{STEVENAGE.lower()}\nE0\n")
    done = finished_part.letters(
        "resend", "--codes", str(codes), "--reason", "x", "--yes", expect=1
    )
    assert "line 2: the 2020 run has no letter for the code E07000998" in done.stderr
    assert f"line 4: {STEVENAGE.lower()} was on line 1 already" in done.stderr
    assert "line 5: the 2020 run has no letter for the code E0\n" in done.stderr
    assert finished_part.mail() == before


def test_where_nothing_fits_nothing_is_sent(sent: Site) -> None:
    done = sent.letters("resend", "--state", "in doubt", "--reason", "x", "--yes")
    assert "No letter of 2020 fits; nothing was sent." in done.stdout
    told = sent.json("resend", "--state", "in_doubt", "--reason", "x")
    assert told == {"year": 2020, "letters": [], "left_out": []}


# Through a relay.


def test_what_a_relay_refuses_is_said_and_not_sent_to_the_others_twice(sent: Site) -> None:
    with relay_running() as (relay, where):
        live = where | {"LETTERS_MAIL__MODE": "live"}
        sent.letters("run", "2020", expect=1, env=live)
        chief, complaints = (one["recipient"] for one in _live(sent)[-2:])
        relay.refuses[chief] = "550 5.1.1 no such user here"
        relay.taken.clear()
        arguments = ["resend", "stevenage", "--reason", "lost", "--yes"]
        for _ in range(2):
            done = sent.letters(*arguments, expect=1, env=live)
            assert f"{chief}: refused by the mail server\n    550 5.1.1 no such user" in done.stdout
            assert [recipient for _, recipient, _ in relay.taken] == [complaints]
        assert "only to whom it has not reached: --to ADDRESS" in done.stdout
        done = sent.letters(*arguments, "--to", "right@stevenage.gov.example", env=live)
        assert "right@stevenage.gov.example: taken by the mail server" in done.stdout


def test_while_the_relay_is_away_the_request_waits_and_goes_once(sent: Site) -> None:
    with relay_running() as (relay, where):
        live = where | {"LETTERS_MAIL__MODE": "live"}
        sent.letters("run", "2020", expect=1, env=live)
        relay.taken.clear()
    arguments = ["resend", "stevenage", "--reason", "lost", "--yes"]
    away = sent.letters(*arguments, expect=69, env=live)
    assert "The request is kept, and what was not sent waits." in away.stderr
    other = sent.letters("resend", "stevenage", "--reason", "x", "--yes", expect=2, env=live)
    assert "is still on its way" in other.stderr
    with relay_running() as (relay, where):
        sent.letters(*arguments, env=live | where)
        assert len(relay.taken) == 2
        sent.letters(*arguments, env=live | where)
        assert len(relay.taken) == 2


def _live(site: Site) -> list[dict[str, Any]]:
    deliveries = site.json("show", STEVENAGE)["deliveries"]
    return [one for one in deliveries if one["mode"] == "live"]


# Approval, and years that are not there.


def test_an_approval_that_nobody_asked_for_is_kept_and_said_to_be_none(sent: Site) -> None:
    done = sent.letters("approve", "2020", "--by", " Ann  Other ").stdout
    assert "Ann Other has approved 6 letters of 2020 as they stand" in done
    assert "None was needed: approval.people is 0" in done
    assert "letters send 2020" in done
    hidden = sent.letters("approve", "2020", "--by", "Ann\u200bOther", expect=2).stderr
    assert "ZERO WIDTH SPACE (U+200B)" in hidden


def test_a_year_that_is_not_there_is_no_reason_to_make_it(sent: Site) -> None:
    mistyped = sent.letters(
        "resend", "stevenage", "--year", "2002", "--reason", "x", expect=2
    ).stderr
    assert "There are no letters of 2002 on record; there are of 2020." in mistyped
    assert "To make them" not in mistyped
    sent.letters("cancel", "2020", "--reason", "wrong averages", "--by", "Ann", "--yes")
    gone = sent.letters("send", "2020", expect=2).stderr
    assert "The letters of 2020 were cancelled by Ann on " in gone
    assert ": wrong averages. To make them anew: letters prepare 2020" in gone


# More than one year.


def test_of_several_years_one_is_named_or_chosen(sent: Site) -> None:
    ledger = Database(sent.environment["LETTERS_DATABASE__URL"])
    with ledger.write() as connection:  # the same letters a year before
        for table in (schema.runs, schema.letters):
            for row in connection.execute(sa.select(table)).all():
                values = dict(row._mapping)
                del values["id"]
                more = {"year": 2019} if table is schema.runs else {"run_id": 2}
                connection.execute(sa.insert(table).values(**values | more))
    ledger.close()
    refused = sent.letters("resend", "stevenage", "--reason", "x", "--yes", expect=2).stderr
    assert "Which year? Name it with --year (on record: 2019, 2020)." in refused
    with Terminal(sent, "resend", "stevenage", "--reason", "x") as terminal:
        terminal.see("[2020]:")
        terminal.type("1999\n")
        terminal.see("There are letters of 2019, 2020.")
        terminal.type("\n")
        terminal.see("Send it? [y/N]")
        assert "letter of 2020" in terminal.words
        terminal.type("\n")
        terminal.end(1)
    first = sent.letters("resend", "stevenage", "--year", "2019", "--reason", "x", expect=2).stderr
    assert "has not been sent in capture mode yet" in first


# At a terminal.


def test_a_person_sees_what_was_and_what_will_be_and_is_asked(sent: Site) -> None:
    with Terminal(sent, "resend", "stevenage", "--reason", "the mailbox was full") as terminal:
        terminal.see("Send it? [y/N]")
        shown = terminal.words
        assert "Stevenage Borough Council (E07000243), letter of 2020" in shown
        assert "chief.executive@stevenage.gov.example: taken by the mail server" in shown
        assert "250 2.0.0 Ok: queued as" in shown
        assert "(3 pages, as it was)" in shown
        assert "Mode capture: it is kept on this machine, a rehearsal" in shown
        assert "<annual.letters@ombudsman.example>" in shown
        assert "the mailbox was full" in shown
        assert count_of(sent) == 1
        terminal.type("y\n")
        terminal.end(0)
        assert "was sent again." in terminal.words
    assert count_of(sent) == 2
    with Terminal(sent, "resend", "stevenage", "--reason", "the mailbox was full") as terminal:
        terminal.end(0)  # the same again asks nothing, as it sends nothing
        assert "Sent again by" in terminal.words
        assert "(the mailbox was full)" in terminal.words
        assert "nothing new was sent" in terminal.words
    assert count_of(sent) == 2


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("\n", "Nothing was sent."),
        ("n\n", "Nothing was sent."),
        ("\x03", "Given up; nothing was changed."),
        ("\x04", "Given up; nothing was changed."),
    ],
)
def test_whoever_does_not_say_yes_sends_nothing(sent: Site, answer: str, says: str) -> None:
    with Terminal(sent, "resend", "stevenage", "--reason", "x") as terminal:
        terminal.see("Send it? [y/N]")
        terminal.type(answer)
        terminal.end(1)
        assert says in terminal.words
    assert count_of(sent) == 1


def test_return_pressed_twice_is_not_a_yes(sent: Site) -> None:
    with Terminal(sent, "resend", "stevenage", "--reason", "x") as terminal:
        terminal.type("\n\n")  # before anything was asked
        terminal.end(1)
        assert "Nothing was sent." in terminal.words
    assert count_of(sent) == 1


def test_a_missing_reason_is_asked_for(sent: Site) -> None:
    with Terminal(sent, "resend", "stevenage", "--by", "Ann") as terminal:
        terminal.see("Why is it sent again")
        terminal.type("lost in the post\n")
        terminal.see("Send it? [y/N]")
        terminal.type("y\n")
        terminal.end(0)
    made = sent.json("show", STEVENAGE)["messages"][1]
    assert (made["reason"], made["requested_by"]) == ("lost in the post", "Ann")
    with Terminal(sent, "resend", "stevenage") as terminal:
        terminal.see("Why is it sent again")
        terminal.type("\n")
        terminal.end(2)
        assert "needs a reason" in terminal.words
    assert count_of(sent) == 2


def test_one_of_several_is_chosen_by_its_number(sent: Site) -> None:
    with Terminal(sent, "resend", "richmond", "--reason", "x", columns=40) as terminal:
        terminal.see("Return for none)")
        terminal.type("7\n")
        terminal.see("Type the number that stands before it.")
        terminal.type("2\n")
        terminal.see("Send it? [y/N]")
        assert "Richmondshire District Council (E07000166), letter of 2020" in terminal.words
        terminal.type("y\n")
        terminal.end(0)
    assert [count_of(sent, code) for code in (RICHMOND, RICHMONDSHIRE)] == [1, 2]
    with Terminal(sent, "resend", "stevenge", "--reason", "x") as terminal:
        terminal.see("Did you mean Stevenage Borough Council (E07000243)? [y/N]")
        terminal.type("\n")
        terminal.end(1)
    with Terminal(sent, "resend", "stevenge", "--reason", "x") as terminal:
        terminal.see("Did you mean Stevenage Borough Council (E07000243)? [y/N]")
        terminal.type("y\n")
        terminal.see("Send it? [y/N]")
        terminal.type("\n")
        terminal.end(1)
    assert count_of(sent) == 1


def test_nobody_is_asked_again_and_again(sent: Site) -> None:
    with Terminal(sent, "resend", "richmond", "--reason", "x") as terminal:
        terminal.see("Return for none)")
        terminal.type("both\nall\n")
        terminal.end(2)
        assert "No authority was chosen; name it by its code." in terminal.words
    with Terminal(sent, "resend", "stevenage", "--reason", "x") as terminal:
        terminal.see("Send it? [y/N]")
        terminal.type("1\n2\n")
        terminal.end(1)
        assert "Nothing was sent." in terminal.words
    assert count_of(sent) == 1


def test_a_narrow_window_wraps_between_words(sent: Site) -> None:
    with Terminal(sent, "resend", "kings lynn", "--reason", "lost", columns=40) as terminal:
        terminal.see("Send it? [y/N]")
        terminal.type("\n")
        shown = terminal.end(1)
        assert "a rehearsal; nothing leaves it" in terminal.words
    lines = shown.splitlines()
    assert max(len(line) for line in lines if "\x1b" not in line) <= 40
    plain = [line.rstrip() for line in lines]
    heading = plain.index("  Mode    capture: it is kept on this")
    assert plain[heading + 1].startswith(" " * 10 + "machine, a rehearsal")


def test_no_color_is_heeded(sent: Site) -> None:
    with Terminal(sent, "resend", "stevenage", "--reason", "x", env={"NO_COLOR": "1"}) as terminal:
        terminal.see("Send it? [y/N]")
        terminal.type("\n")
        assert "\x1b[3" not in terminal.end(1)
    with Terminal(sent, "resend", "stevenage", "--reason", "x") as terminal:
        terminal.see("Send it? [y/N]")
        terminal.type("\n")
        assert "\x1b[32m" in terminal.end(1)


def test_into_a_pipe_goes_only_the_answer(sent: Site) -> None:
    with Terminal(sent, "resend", "stevenage", "--reason", "x", "--json", pipe=True) as terminal:
        terminal.see("Send it? [y/N]")
        terminal.type("y\n")
        terminal.end(0)
        told: Any = json.loads(terminal.piped)
    assert told["authority"] == STEVENAGE
    assert told["new"] is True


def test_several_are_confirmed_by_typing_their_number(sent: Site) -> None:
    everything = ["resend", "--kind", "district", "--reason", "lost"]
    for wrong in ("\n", "y\n", "5\n", "\x03"):
        with Terminal(sent, *everything) as terminal:
            terminal.see("Type 4 to send them")
            assert "4 letters of 2020 to " in terminal.words
            assert "E07000007 Wycombe District Council" in terminal.words
            assert "1 letter cannot be sent again now:" in terminal.words
            terminal.type(wrong)
            terminal.end(1)
    assert count_of(sent) == 1
    with Terminal(sent, *everything) as terminal:
        terminal.see("Type 4 to send them")
        terminal.type("4\n")
        terminal.end(1)  # as one could not go
        assert "4 letters sent again." in terminal.words
    assert [count_of(sent, code) for code in DISTRICTS] == [2, 2, 2, 2]


def test_where_the_question_would_not_be_seen_it_is_not_asked(sent: Site) -> None:
    shell = f'"{LETTERS}" resend stevenage --reason x 2>"$HIDDEN"'
    hidden = sent.folder / "hidden"
    with Terminal(
        sent, "resend", "stevenage", env={"HIDDEN": str(hidden)}, command=["sh", "-c", shell]
    ) as terminal:
        terminal.end(2)
    assert "--yes sends without asking" in hidden.read_text(encoding="utf-8")
    assert count_of(sent) == 1
