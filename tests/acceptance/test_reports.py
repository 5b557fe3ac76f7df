"""What comes back from a real relay, read by the real command: from a Maildir and over IMAP."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests import servers
from tests.acceptance.site import Row, Site, part_of_the_sample
from tests.dovecot import PASSWORD, USER, running_dovecot
from tests.postfix import COUNCIL, OMBUDSMAN, Postfix, running_postfix

STEVENAGE, WATFORD, BARNET = "E07000243", "E07000103", "E09000003"
BOUNCES = f"bounces@{OMBUDSMAN}"
KEY = "a key that only the tests have"


@pytest.fixture(scope="module")
def postfix() -> Iterator[Postfix]:
    with running_postfix() as running:
        yield running


def mailboxes(tables: dict[str, list[Row]]) -> None:
    """One council that gets its letter, one whose mailbox is unknown, one where mail waits."""
    where = {STEVENAGE: "chief", WATFORD: "nobody", BARNET: "slow"}
    tables["officers"] = [
        {**row, "email": f"{where[row['authority_code']]}@{COUNCIL}"}
        for row in tables["officers"]
        if row["role"] == "chief_executive"
    ]
    for row in tables["editions"]:
        row["copied_roles"] = ""


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory, postfix: Postfix) -> Site:
    """A site from which three letters have gone through a relay that takes everybody."""
    folder = tmp_path_factory.mktemp("returned")
    key = folder / "reports.key"
    key.write_text(KEY.replace(" ", "-"), encoding="utf-8")
    key.chmod(0o600)
    site = Site(
        folder,
        more={
            "LETTERS_DATABASE__MARK": str(folder / "mark"),
            "LETTERS_MAIL__MODE": "live",
            "LETTERS_MAIL__SENDER": f"Ombudsman <letters@{OMBUDSMAN}>",
            "LETTERS_SMTP__HOST": postfix.host,
            "LETTERS_SMTP__PORT": str(postfix.late_port),
            "LETTERS_REPORTS__ADDRESS": BOUNCES,
            "LETTERS_REPORTS__KEY_FILE": str(key),
            "LETTERS_REPORTS__MAILBOX": str(postfix.maildir(BOUNCES)),
        },
    )
    codes = [STEVENAGE, WATFORD, BARNET]
    site.letters("import", str(part_of_the_sample(folder / "data", codes, mailboxes)))
    site.letters("run", "2020")
    return site


def returned(postfix: Postfix, site: Site, number: int) -> None:
    """Wait until as many mails have come back to the address for reports."""
    postfix.settle()
    servers.await_that(
        f"{number} mails came back",
        lambda: len(postfix.copies(BOUNCES)) >= number,
        postfix.logged,
    )
    assert site.folder.exists()


def states(site: Site, env: Mapping[str, str] | None = None) -> dict[str, str]:
    status = site.json("status", "2020", env=env)
    return {one["authority"]: one["state"] for one in status["letters"]}


def events(site: Site, code: str, kind: str) -> list[dict[str, Any]]:
    shown = site.json("show", code, "--year", "2020")
    return [one for one in shown["events"] if one["kind"] == kind]


def test_a_year_s_reports_come_back_by_their_own_addresses(sent: Site, postfix: Postfix) -> None:
    assert set(states(sent).values()) == {"accepted"}
    returned(postfix, sent, 3)
    # what was refused, delayed and taken, each in the letter's own words
    done = sent.letters("reports", expect=1)
    assert "3 mails read in the Maildir" in done.stdout
    assert f"nobody@{COUNCIL}: accepted to bounced" in done.stdout
    assert "5.1.1" in done.stdout
    assert f"chief@{COUNCIL}: accepted to delivered" in done.stdout
    assert states(sent) == {STEVENAGE: "delivered", WATFORD: "bounced", BARNET: "accepted"}
    [delayed] = events(sent, BARNET, "report_noted")
    assert (delayed["report"], delayed["matched_by"]) == ("delayed", "verp")
    # once is once, whoever reads
    again = sent.json("reports")
    assert (again["read"], again["moved"], again["waiting"]) == (3, [], [])
    assert sum(again["new"].values()) == 0
    status = sent.letters("status", "2020")
    assert f"bounced: letters show {WATFORD} --year 2020 tells what came back" in status.stdout
    shown = sent.letters("show", WATFORD, "--year", "2020").stdout.partition("What comes next")[0]
    assert "reported failed: 5.1.1" in shown
    assert "queued as" not in shown
    # letters tick reads by itself; the only news is that nobody has been told yet
    ticked = sent.json("tick", expect=1)
    assert (ticked["returned"]["read"], ticked["returned"]["reported"]) == (3, {})
    assert [one["cause"] for one in ticked["alerts"]["raised"]] == ["bounces:2020"]
    assert not sent.json("tick")["needs_a_person"]


def test_what_nobody_can_be_sure_of_waits_until_somebody_has_looked(
    sent: Site, postfix: Postfix, tmp_path: Path
) -> None:
    maildir = tmp_path / "bounces"
    for name in ("tmp", "new", "cur"):
        (maildir / name).mkdir(parents=True)
    here = {"LETTERS_REPORTS__MAILBOX": str(maildir)}
    before = states(sent)
    genuine = next(each for each in postfix.copies(BOUNCES) if b"failed" in each)
    found = re.search(rb"bounces\+([a-z0-9]+\.[a-z0-9]+)@", genuine)
    assert found is not None
    bad = found[1][:-4] + (b"aaaa" if found[1][-4:] != b"aaaa" else b"bbbb")
    (maildir / "new" / "1").write_bytes(genuine.replace(found[1], bad))
    (maildir / "new" / "2").write_bytes(
        b"From: Jane \x1b[31m <jane@council.example>\r\nSubject: A complaint\r\n\r\nPlease\r\n"
    )
    (maildir / "new" / "3").write_bytes(b"\x00\xff" * 5_000_000)
    done = sent.letters("reports", expect=1, env=here)
    assert "3 returned mails wait for a person" in done.stdout
    assert "\x1b[31m" not in done.stdout
    assert states(sent) == before
    told = "3 returned mails wait for a person, of whatever year: letters reports --list"
    assert told in sent.letters("status", "2020").stdout
    waiting = sent.json("reports", "--list", expect=1)["waiting"]
    assert [one["kind"] for one in waiting] == ["forged", "other", "unreadable"]
    for one in waiting:
        kept = Path(one["file"]).read_bytes()
        assert len(kept) == min(one["size"], 1024 * 1024)
        assert one["reason"].endswith((".", "?"))
    # the archive knows them, and notices when one is lost
    assert sent.json("verify")["counts"]["returned mail"]["sound"] == 3
    assert sent.json("verify", "2020")["counts"]["returned mail"]["sound"] == 0
    lost = Path(waiting[0]["file"])
    whole = lost.read_bytes()
    lost.unlink()
    said = sent.letters("verify", expect=1)
    assert "Missing: returned mail\n" in said.stdout
    lost.write_bytes(whole)
    # somebody looks
    numbers = [one["number"] for one in waiting]
    note = ("--note", "looked at", "--by", "Ann Other")
    left = sent.json("reports", "--seen", str(numbers[0]), *note)
    assert left["left"] == 2
    mark = ("--seen", f"{numbers[0]}-{numbers[1]}", "--seen", str(numbers[2]), *note)
    left = sent.json("reports", *mark)
    assert left["left"] == 0
    assert [(one["number"], one["seen_by"]) for one in left["seen"]] == [
        (number, "Ann Other") for number in numbers[1:]
    ]
    refused = sent.letters("reports", "--seen", str(numbers[0]), *note, expect=2)
    assert "Ann Other has looked at the returned mail" in refused.stderr
    listed = sent.letters("reports", "--list").stdout
    assert "No returned mail waits for a person." in listed
    assert "1 letter has come back:\n  no such mailbox: 1\n" in listed
    assert f"({WATFORD}), letter of 2020: nobody@{COUNCIL}, " in listed
    for wrong in (
        ("--seen", "1"), ("--seen", "1,x", "--note", "x"), ("--note", "x"),
        ("--list", "--seen", "1", "--note", "x"),
    ):  # fmt: skip
        assert "Traceback" not in sent.letters("reports", *wrong, expect=2).stderr


def test_without_a_key_and_over_imap_the_same_is_known(sent: Site, postfix: Postfix) -> None:
    before = len(postfix.copies(BOUNCES))
    rehearsal = {
        "LETTERS_MAIL__MODE": "redirect",
        "LETTERS_MAIL__REDIRECT_TO": f"nobody@{COUNCIL}",
        "LETTERS_REPORTS__KEY_FILE": "",
    }
    sent.letters("run", "2020", env=rehearsal)
    returned(postfix, sent, before + 3)
    secret = sent.folder / "imap.password"
    secret.write_text(PASSWORD, encoding="utf-8")
    secret.chmod(0o600)
    with running_dovecot(postfix.maildir(BOUNCES)) as dovecot:
        place = {
            **rehearsal,
            "LETTERS_REPORTS__MAILBOX": f"imaps://{USER}@{dovecot.host}:{dovecot.tls_port}/INBOX",
            "LETTERS_REPORTS__PASSWORD_FILE": str(secret),
        }
        checked = sent.json("check", "--quick", env=place, expect=1)
        [reports] = [one for one in checked if one["check"] == "reports"][:1]
        assert "can be read" in reports["found"]
        read = sent.json("reports", env=place, expect=1)
        assert read["read"] >= before + 3
        assert {(one["mode"], one["to"]) for one in read["moved"]} == {("redirect", "bounced")}
        assert len(read["moved"]) == 3
        starttls = place["LETTERS_REPORTS__MAILBOX"].replace("imaps", "imap")
        by_starttls = {
            "LETTERS_REPORTS__MAILBOX": starttls.replace(str(dovecot.tls_port), str(dovecot.port))
        }
        assert sent.json("reports", env={**place, **by_starttls})["moved"] == []
        # what is new is all that is fetched
        assert sent.json("reports", env=place)["read"] == 0
        wrong = sent.folder / "wrong.password"
        wrong.write_text("wrong", encoding="utf-8")
        wrong.chmod(0o600)
        refused = {**place, "LETTERS_REPORTS__PASSWORD_FILE": str(wrong)}
        assert "refused the login" in sent.letters("reports", env=refused, expect=78).stderr
    assert states(sent, rehearsal) == dict.fromkeys((STEVENAGE, WATFORD, BARNET), "bounced")
    matched = {one["matched_by"] for one in events(sent, WATFORD, "report_noted")}
    assert matched == {"verp", "envid"}
    # a server that is away is said, and nothing is lost
    away = sent.letters("reports", env=place, expect=69)
    assert "cannot be reached" in away.stderr
    assert "correct" not in away.stderr
    assert sent.json("tick", env=place, expect=69)["troubles"]


def test_the_relay_s_log_alone_tells_what_came_back(
    sent: Site, postfix: Postfix, tmp_path: Path
) -> None:
    here = {"LETTERS_REPORTS__MAILBOX": "", "LETTERS_REPORTS__RELAY_LOG": str(postfix.log)}
    sent.letters("resend", WATFORD, "--year", "2020", "--reason", "once more", "--yes", env=here)
    postfix.settle()
    done = sent.json("reports", expect=1, env=here)
    assert done["mailbox"] is None
    # The log knows of what was sent before, too.
    back = [one for one in done["moved"] if one["authority"] == WATFORD]
    assert {(one["from"], one["to"]) for one in back} == {("accepted", "bounced")}
    assert all("status=bounced" in one["because"] for one in back)
    nothing = {"LETTERS_REPORTS__MAILBOX": ""}
    assert "reports.mailbox" in sent.letters("reports", env=nothing, expect=78).stderr
    gone = {**here, "LETTERS_REPORTS__RELAY_LOG": str(tmp_path / "no.log")}
    sent.letters("resend", WATFORD, "--year", "2020", "--reason", "again", "--yes", env=gone)
    postfix.settle()
    assert "There is no relay's log" in sent.letters("reports", expect=69, env=gone).stderr
    assert sent.json("reports", env=here, expect=1)["moved"]
