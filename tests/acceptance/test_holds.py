"""The stop button, and what else holds a run back or takes corrections into it."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from tests.acceptance.site import Row, Site, part_of_the_sample
from tests.postgres import free_port

STEVENAGE, WATFORD, WYCOMBE = "E07000243", "E07000103", "E07000007"
LIVE = {"LETTERS_MAIL__MODE": "live", "LETTERS_SMTP__HOST": "127.0.0.1"}


class SlowRelay:
    """A relay that answers a message only when it is told to; `arrived` says that one waits."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.arrived = threading.Event()
        self.answer = threading.Event()

    async def handle_DATA(  # noqa: N802 - aiosmtpd's name
        self, _server: Any, _session: Any, envelope: Any
    ) -> str:
        self.arrived.set()
        await asyncio.get_running_loop().run_in_executor(None, self.answer.wait)
        self.taken += envelope.rcpt_tos
        return f"250 2.0.0 Ok: queued as Q{len(self.taken)}"


@contextmanager
def running(handler: SlowRelay) -> Iterator[dict[str, str]]:
    port = free_port()
    controller = Controller(handler, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        yield LIVE | {"LETTERS_SMTP__PORT": str(port)}
    finally:
        handler.answer.set()
        controller.stop()


@pytest.fixture
def imported(site: Site, tmp_path: Path) -> Site:
    codes = [STEVENAGE, WATFORD]
    site.letters("import", str(part_of_the_sample(tmp_path / "data", codes)))
    return site


def corrected(tmp_path: Path) -> str:
    """The same folder, with another chief executive and one decision turned round for Watford."""

    def change(tables: dict[str, list[Row]]) -> None:
        for officer in tables["officers"]:
            if officer["authority_code"] == WATFORD and officer["role"] == "chief_executive":
                officer.update(family_name="Newcomer", email="new.chief@watford.gov.example")
        decision = next(
            one
            for one in tables["decisions"]
            if one["authority_code"] == WATFORD
            and one["outcome"] == "not_upheld"
            and "2019-04-01" <= one["decided_on"] <= "2020-03-31"
        )
        decision["outcome"] = "upheld"

    return str(part_of_the_sample(tmp_path / "corrected", [STEVENAGE, WATFORD], change))


def test_pausing_stops_a_run_between_two_letters_wherever_it_runs(prepared: Site) -> None:
    relay = SlowRelay()
    with running(relay) as live:
        sending = Site(prepared.folder, more=live).start("send", "2020")
        assert relay.arrived.wait(60)
        prepared.letters("pause", "2020", "--reason", "the signatory has resigned", "--by", "Ann")
        relay.answer.set()
        said, _ = sending.communicate(timeout=120)
        assert sending.returncode == 1
        assert "Paused by Ann" in said
        assert "letters resume 2020" in said
        in_hand = list(relay.taken)
        assert 1 <= len(in_hand) <= 2, "what was in hand, on two connections, and no more"
        # and nothing starts it again by itself
        for command in ("send", "run"):
            prepared.letters(command, "2020", expect=1, env=live)
        refused = prepared.letters(
            "resend", STEVENAGE, "--year", "2020", "--reason", "x", "--yes", expect=2, env=live
        ).stderr
        assert "paused" in refused
        assert relay.taken == in_hand
        status = prepared.json("status", "2020", env=live)
        assert status["paused"]["by"] == "Ann"
        assert status["paused"]["because"] == "the signatory has resigned"
        prepared.letters("resume", "2020", "--by", "Bob")
        prepared.letters("send", "2020", env=live)
        everyone = [a for one in status["letters"] for a in one["recipients"]]
        assert sorted(relay.taken) == sorted(everyone), "each of them once"


def test_preparing_sends_nothing_and_sending_makes_nothing(imported: Site) -> None:
    done = imported.letters("prepare", "2020")
    assert "To send: letters send 2020" in done.stdout
    assert imported.mail() == []
    files = {path: path.stat().st_mtime_ns for path in imported.archive.rglob("*.pdf")}
    assert len(files) == 2
    imported.letters("send", "2020", env={"LETTERS_SOFFICE": "/nowhere"})
    assert len(imported.mail()) == 4
    assert {path: path.stat().st_mtime_ns for path in imported.archive.rglob("*.pdf")} == files
    imported.letters("prepare", "2020")
    assert len(imported.mail()) == 4


def test_a_year_without_a_run_has_nothing_to_send(imported: Site) -> None:
    assert "letters prepare 2020" in imported.letters("send", "2020", expect=2).stderr


def test_a_withheld_letter_stays_and_the_others_go(prepared: Site) -> None:
    told = prepared.letters(
        "cancel", "watford", "--year", "2020", "--reason", "a complaint is still open", "--yes"
    )
    assert "Watford Borough Council is withheld" in told.stdout
    prepared.letters("run", "2020")
    assert {one.recipient.partition("@")[2] for one in prepared.mail()} == {"stevenage.gov.example"}
    by_code = {one["authority"]: one for one in prepared.json("status", "2020")["letters"]}
    assert by_code[WATFORD]["state"] == "withheld"
    assert by_code[WATFORD]["withheld"] == "a complaint is still open"
    prepared.letters("resume", WATFORD, "--year", "2020")
    prepared.letters("run", "2020")
    assert len(prepared.mail()) == 4
    kinds = [one["kind"] for one in prepared.json("show", WATFORD, "--year", "2020")["events"]]
    assert "letter_withheld" in kinds
    assert "letter_released" in kinds


def test_corrections_are_shown_then_taken_in_and_only_what_changed_is_made(
    prepared: Site, tmp_path: Path
) -> None:
    before = {one["authority"]: one for one in prepared.json("run", "2020")["letters"]}
    unchanged = prepared.letters("refresh", "2020")
    assert "Nothing has changed" in unchanged.stdout
    prepared.letters("import", corrected(tmp_path))
    looked = prepared.letters("refresh", "2020", "--dry-run").stdout
    assert "Watford Borough Council" in looked
    assert "new.chief@watford.gov.example" in looked
    assert "Nothing was changed" in looked
    told = prepared.json("refresh", "2020", "--by", "Ann")
    by_code = {one["authority"]: one for one in told["changes"]}
    watford = {
        one["what"]: (one["before"], one["after"]) for one in by_code[WATFORD]["differences"]
    }
    parts = watford["upheld.part"]
    assert parts[1] == parts[0] + 1
    assert "recipients" in watford
    # both are districts, so the other's average moves as well
    assert {one["what"] for one in by_code[STEVENAGE]["differences"]} >= {"upheld.average"}
    after = {one["authority"]: one for one in prepared.json("run", "2020")["letters"]}
    assert after[WATFORD]["recipients"][0] == "new.chief@watford.gov.example"
    assert after[WATFORD]["sha256"] != before[WATFORD]["sha256"]
    figures = prepared.json("show", WATFORD, "--year", "2020")["figures"]
    assert figures["upheld"]["part"] == parts[1]


def test_a_fault_in_the_data_is_cured_without_beginning_anew(site: Site, tmp_path: Path) -> None:
    def nobody(tables: dict[str, list[Row]]) -> None:
        tables["officers"] = [one for one in tables["officers"] if one["authority_code"] != WATFORD]

    codes = [STEVENAGE, WATFORD]
    site.letters("import", str(part_of_the_sample(tmp_path / "faulty", codes, nobody)))
    site.letters("prepare", "2020", expect=1)
    [stevenage] = [path.stat().st_mtime_ns for path in site.archive.rglob("*stevenage*.pdf")]
    site.letters("import", str(part_of_the_sample(tmp_path / "mended", codes)))
    told = site.json("refresh", "2020")
    assert [one["authority"] for one in told["changes"]] == [WATFORD]
    assert told["kept"] == 1
    site.letters("run", "2020")
    assert len(site.mail()) == 4
    assert [p.stat().st_mtime_ns for p in site.archive.rglob("*stevenage*.pdf")] == [stevenage]


def test_after_approval_a_run_is_cancelled_before_it_can_change(
    prepared: Site, tmp_path: Path
) -> None:
    wanted = {"LETTERS_APPROVAL__PEOPLE": "1"}
    prepared.letters("approve", "2020", "--by", "Ann", env=wanted)
    prepared.letters("import", corrected(tmp_path))
    refused = prepared.letters("refresh", "2020", expect=2, env=wanted).stderr
    assert "approved as they stand by Ann" in refused
    assert "letters cancel 2020" in refused
    prepared.letters("cancel", "2020", "--reason", "Watford corrected", "--yes", env=wanted)
    told = prepared.letters("status", "2020").stdout
    assert "Watford corrected" in told, "who cancelled it, and why"
    done = prepared.letters("run", "2020", expect=1, env=wanted)
    assert "1 more person must approve" in done.stdout
    assert prepared.mail() == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["cancel", "2020"], "--reason"),
        (["cancel", "2020", "--reason", " "], "Give a reason"),
        (["cancel", STEVENAGE, "--year", "2020", "--unsent", "--reason", "x"], "--unsent"),
        (["cancel", "2020", "--year", "2021", "--reason", "x"], "two different years"),
        (["cancel", "nowhere", "--year", "2020", "--reason", "x"], "nowhere"),
        (["pause", "2019"], "2019"),
        (["resume", "2019"], "2019"),
        (["refresh", "2019"], "2019"),
    ],
)
def test_what_cannot_be_held_back_is_refused(
    finished: Site, arguments: list[str], says: str
) -> None:
    assert says in finished.letters(*arguments, expect=2).stderr
