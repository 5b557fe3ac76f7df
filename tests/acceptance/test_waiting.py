"""What a run can wait for though nothing is wrong: other domains, a relay, another process."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from pipeline import owner
from pipeline.database import Database
from pipeline.delivery import Mode
from pipeline.ledger import deliveries, messages, runs
from pipeline.ledger.messages import Sender
from tests.acceptance.site import Site
from tests.postgres import free_port
from tests.relays import WaywardRelay

STEVENAGE, WATFORD = "E07000243", "E07000103"
CHIEF = "chief.executive@stevenage.gov.example"


@pytest.fixture
def relay() -> Iterator[tuple[WaywardRelay, dict[str, str]]]:
    with WaywardRelay() as running:
        yield running, live(running.port)


def live(port: int) -> dict[str, str]:
    return {
        "LETTERS_MAIL__MODE": "live",
        "LETTERS_SMTP__HOST": "127.0.0.1",
        "LETTERS_SMTP__PORT": str(port),
    }


def written_to(relay: WaywardRelay) -> list[str]:
    return sorted(
        one.partition("<")[2].partition(">")[0] for one in relay.commands if one.startswith("RCPT")
    )


def test_mail_goes_only_to_the_domains_that_are_named(
    prepared: Site, relay: tuple[WaywardRelay, dict[str, str]]
) -> None:
    running, anywhere = relay
    only = anywhere | {"LETTERS_MAIL__ONLY_TO_DOMAINS": "stevenage.gov.example"}
    done = prepared.letters("send", "2020", expect=1, env=only).stdout
    assert "2 deliveries wait because mail may only go to stevenage.gov.example" in done
    assert "mail.only_to_domains" in done
    assert "Somebody has to look" not in done
    first = written_to(running)
    assert {one.rpartition("@")[2] for one in first} == {"stevenage.gov.example"}
    told = prepared.json("status", "2020", env=only)
    assert (told["kept_back"], told["only_to_domains"]) == (2, ["stevenage.gov.example"])
    assert "2 deliveries wait" in prepared.letters("run", "2020", expect=1, env=only).stdout
    assert "mail.only_to_domains" in prepared.letters("show", WATFORD, env=only).stdout
    # nobody outside is written to again, either; refused before anything is planned
    outside = ("--to", "chief@elsewhere.example")
    again = ("resend", STEVENAGE, "--reason", "lost", "--yes")
    refused = prepared.letters(*again, *outside, expect=2, env=only).stderr
    for word in ("elsewhere.example", "stevenage.gov.example", "mail.only_to_domains"):
        assert word in refused
    several = ("resend", "--state", "accepted", "--state", "queued", "--reason", "lost", "--yes")
    narrow = only | {"LETTERS_MAIL__ONLY_TO_DOMAINS": "nobody.example"}
    assert "mail.only_to_domains" in prepared.letters(*several, expect=1, env=narrow).stdout
    assert len(prepared.json("show", STEVENAGE, env=only)["messages"]) == 1
    assert written_to(running) == first
    # who is named is, and then everybody else, once
    prepared.letters(*again, "--to", CHIEF, env=only)
    assert written_to(running) == sorted([*first, CHIEF])
    assert "Nothing needs a person." in prepared.letters("send", "2020", env=anywhere).stdout
    assert len(running.messages) == 5
    assert "mail may only go" not in prepared.letters("status", "2020", env=anywhere).stdout


def test_a_relay_in_trouble_is_said_with_how_to_try_it(prepared: Site) -> None:
    port = free_port()
    away = live(port)
    prepared.letters("send", "2020", expect=69, env=away)
    # who only looks needs no password
    shown = prepared.letters(
        "status", "2020",
        env=away
        | {"LETTERS_SMTP__USERNAME": "x", "LETTERS_SMTP__PASSWORD_FILE": "/nowhere"}
        | {"LETTERS_SMTP__PER_MINUTE": "1"},
    ).stdout  # fmt: skip
    assert "At 1 a minute (smtp.per_minute) 4 deliveries take about 4 minutes." in shown
    assert f"The relay 127.0.0.1 port {port} has been in trouble since" in shown
    assert "cannot be reached" in shown
    assert "to try it now: letters send 2020" in shown
    trouble = prepared.json("status", "2020", env=away)["relay_in_trouble"]
    assert trouble["relay"] == f"127.0.0.1 port {port}"
    assert trouble["since"] < trouble["retry_at"]
    # of another relay, or of none, it is not said
    assert prepared.json("status", "2020", env=live(free_port()))["relay_in_trouble"] is None
    assert "in trouble" not in prepared.letters("status", "2020").stdout


def test_what_another_process_is_sending_is_said(
    prepared: Site, relay: tuple[WaywardRelay, dict[str, str]]
) -> None:
    running, anywhere = relay
    ledger, now = Database(prepared.environment["LETTERS_DATABASE__URL"]), datetime.now(UTC)
    found = runs.find_run(ledger, 2020)
    assert found is not None
    sender = Sender(address="annual.letters@ombudsman.example", mode=Mode.LIVE)
    messages.plan(ledger, found.id, sender, now=now)
    held = [
        deliveries.claim(
            ledger, found.id, Mode.LIVE, owner=holder, lease=timedelta(hours=1), now=now
        )
        for holder in 4 * [owner.identity()]
    ]
    assert all(held)
    done = prepared.letters("send", "2020", expect=1, env=anywhere).stdout
    assert "4 deliveries are being sent by another process (process " in done
    assert "letters status 2020" in done
    assert "letters run 2020" not in done
    assert prepared.json("status", "2020", env=anywhere)["being_sent"] == 4
    assert running.messages == []
    # a process that has ended is told from one that works
    host, boot, namespace, *_ = owner.identity().split("/")
    ended = "/".join((host, boot, namespace, "4194304", "1", "1"))
    with ledger.write() as connection:
        connection.exec_driver_sql("UPDATE deliveries SET owner = ?", (ended,))
    ledger.close()
    shown = prepared.letters("status", "2020", env=anywhere).stdout
    assert "4 deliveries were being sent by a process that has ended." in shown
    assert "another process" not in shown
    prepared.letters("send", "2020", env=anywhere)
    assert len(running.messages) == 4
