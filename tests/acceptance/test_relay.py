"""Mail that leaves through a relay: redirected to one inbox, or live."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from tests.acceptance.site import Captured, Site, part_of_the_sample
from tests.postgres import free_port

STEVENAGE, WATFORD = "E07000243", "E07000103"


class Relay:
    """A relay that takes everything but what it is told to refuse."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, str, bytes]] = []
        self.refuses: dict[str, str] = {}

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any
    ) -> str:
        if address in self.refuses:
            return self.refuses[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802
        self, _server: Any, _session: Any, envelope: Any
    ) -> str:
        [recipient] = envelope.rcpt_tos
        self.taken.append((envelope.mail_from, recipient, envelope.content))
        return f"250 2.0.0 Ok: queued as Q{len(self.taken)}"


@pytest.fixture
def relay() -> Iterator[tuple[Relay, dict[str, str]]]:
    handler = Relay()
    port = free_port()
    controller = Controller(handler, hostname="127.0.0.1", port=port)
    controller.start()
    yield handler, {"LETTERS_SMTP__HOST": "127.0.0.1", "LETTERS_SMTP__PORT": str(port)}
    controller.stop()


@pytest.fixture
def imported(site: Site, tmp_path: Path) -> Site:
    site.letters("import", str(part_of_the_sample(tmp_path / "data", [STEVENAGE, WATFORD])))
    return site


def test_redirected_mail_reaches_one_inbox_and_nobody_else(
    imported: Site, relay: tuple[Relay, dict[str, str]]
) -> None:
    handler, where = relay
    redirect = where | {
        "LETTERS_MAIL__MODE": "redirect",
        "LETTERS_MAIL__REDIRECT_TO": "rehearsal@office.example",
    }
    done = imported.letters("run", "2020", env=redirect)
    assert "no authority has been written to" in done.stdout
    assert {recipient for _, recipient, _ in handler.taken} == {"rehearsal@office.example"}
    assert len(handler.taken) == 2
    status = imported.json("status", "2020", env=redirect)
    assert status["mode"] == "redirect"
    assert status["counts"]["accepted"] == 2
    for sender, recipient, data in handler.taken:
        message = Captured(sender=sender, recipient=recipient, data=data).message
        assert message["To"] == "rehearsal@office.example"
        assert message["Cc"] is None
        meant = message["X-Redirected-From"]
        assert "chief" in meant
        assert meant in message["Subject"]
    assert imported.mail() == []
    # and none of it counts once mail is live
    live = imported.json("status", "2020", env=where | {"LETTERS_MAIL__MODE": "live"})
    assert sum(live["counts"].values()) == 0


def test_a_live_run_writes_to_everyone_once_and_a_refusal_needs_a_person(
    imported: Site, relay: tuple[Relay, dict[str, str]]
) -> None:
    handler, where = relay
    live = where | {"LETTERS_MAIL__MODE": "live"}
    [refused] = [
        one["recipients"][0]
        for one in imported.json("run", "2020")["letters"]
        if one["authority"] == WATFORD
    ]
    handler.refuses[refused] = "550 5.1.1 no such user here"
    done = imported.letters("run", "2020", expect=1, env=live)
    assert f"to send it again: letters resend {WATFORD} --year 2020 --reason TEXT" in done.stdout
    status = imported.json("status", "2020", env=live)
    by_code = {one["authority"]: one for one in status["letters"]}
    assert by_code[STEVENAGE]["state"] == "accepted"
    assert by_code[WATFORD]["state"] == "rejected"
    everyone = [address for one in status["letters"] for address in one["recipients"]]
    assert sorted(recipient for _, recipient, _ in handler.taken) == sorted(
        set(everyone) - {refused}
    )
    shown = imported.json("show", WATFORD, "--year", "2020", env=live)
    said = [
        attempt["reply"]
        for one in shown["deliveries"]
        if one["recipient"] == refused and one["mode"] == "live"
        for attempt in one["attempts"]
    ]
    assert said == ["550 5.1.1 no such user here"]
    # running again does not try a permanent refusal again
    count = len(handler.taken)
    imported.letters("run", "2020", expect=1, env=live)
    assert len(handler.taken) == count
    # a person knows the right address
    imported.letters(
        "resend", WATFORD, "--year", "2020", "--reason", "right address", "--yes",
        "--to", "right@watford.gov.example", env=live,
    )  # fmt: skip
    assert handler.taken[-1][1] == "right@watford.gov.example"
    imported.letters("run", "2020", env=live)


def test_a_greylisted_letter_waits_and_the_others_go(
    imported: Site, relay: tuple[Relay, dict[str, str]]
) -> None:
    handler, where = relay
    live = where | {"LETTERS_MAIL__MODE": "live"}
    [later] = [
        one["recipients"][0]
        for one in imported.json("run", "2020")["letters"]
        if one["authority"] == WATFORD
    ]
    handler.refuses[later] = "450 4.2.0 greylisted"
    done = imported.letters("run", "2020", expect=1, env=live)
    assert "letters send 2020" in done.stdout
    status = imported.json("status", "2020", env=live)
    assert status["counts"]["queued"] == 1
    assert status["counts"]["accepted"] == sum(status["counts"].values()) - 1
