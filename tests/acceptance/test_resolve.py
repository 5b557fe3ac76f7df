"""What is in doubt, settled by a person's word: shown first, asked, and said if it was too late."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from pipeline import owner, schema
from pipeline.database import Database
from tests.acceptance.site import Site, part_of_the_sample
from tests.acceptance.terminal import Terminal
from tests.relays import DROP, PLAIN_ANSWERS, WaywardRelay

STEVENAGE, WATFORD = "E07000243", "E07000103"
CHIEF, LINK = "chief.executive@stevenage.gov.example", "complaints@stevenage.gov.example"
NOTE = "queued as 4XyZ12, by the relay's log"


@contextmanager
def relay_running() -> Iterator[tuple[WaywardRelay, dict[str, str]]]:
    """A relay, at first one that hangs up on every dot, and the live settings that name it."""
    with WaywardRelay({"DOT": DROP}) as relay:
        yield (
            relay,
            {
                "LETTERS_MAIL__MODE": "live",
                "LETTERS_SMTP__HOST": "127.0.0.1",
                "LETTERS_SMTP__PORT": str(relay.port),
            },
        )


@pytest.fixture(scope="module")
def doubtful_part(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A letter to two people, both deliveries in doubt in live mode."""
    folder = tmp_path_factory.mktemp("doubtful")
    site = Site(folder)
    site.letters("import", str(part_of_the_sample(folder / "data", [STEVENAGE])))
    site.letters("prepare", "2020")
    with relay_running() as (relay, live):
        done = site.letters("send", "2020", expect=1, env=live)
        assert len(relay.messages) == 2
    assert f"letters resolve {STEVENAGE} --year 2020" in done.stdout
    return site


def copied(site: Site, folder: Path) -> Site:
    """The same in another folder, which may send."""
    shutil.copytree(site.folder, folder)
    return Site(folder).confirmed()


@pytest.fixture
def doubtful(doubtful_part: Site, tmp_path: Path) -> Iterator[tuple[Site, WaywardRelay]]:
    """The same, to do something to, with a relay that takes mail by now."""
    copied(doubtful_part, tmp_path / "site")
    with relay_running() as (relay, live):
        relay.answers["DOT"] = PLAIN_ANSWERS["DOT"]
        yield Site(tmp_path / "site", more=live), relay


def states(site: Site) -> dict[str, str]:
    return {one["recipient"]: one["state"] for one in site.json("show", STEVENAGE)["deliveries"]}


def test_it_shows_what_is_known_and_changes_nothing(doubtful: tuple[Site, WaywardRelay]) -> None:
    site, _ = doubtful
    shown = site.letters("resolve", STEVENAGE, expect=1).stdout
    told = site.json("resolve", "stevenage", expect=1)
    assert "2 deliveries are in doubt in live mode" in shown
    for one in told["doubts"]:
        for fact in (one["recipient"], one["message_id"], one["relay"], str(one["local_port"])):
            assert fact in shown
        assert one["outcome"] == "lost"
        assert one["reply"] in shown
        assert one["may_still_go_until"] is None
    for word in ("--sent", "--requeue", "--cancel", "they get two", "log", "recipient"):
        assert word in shown
    assert set(states(site).values()) == {"in_doubt"}
    # and every other page that speaks of the doubt names the command
    command = f"letters resolve {STEVENAGE} --year 2020"
    assert command in site.letters("status", "2020").stdout
    assert command in site.letters("show", STEVENAGE).stdout
    again = ("resend", STEVENAGE, "--reason", "x", "--yes")
    assert command in site.letters(*again, expect=2).stderr
    withhold = ("cancel", STEVENAGE, "--reason", "x", "--yes")
    assert command in site.letters(*withhold, expect=2).stderr
    # a doubt of another mode is not settled by mistake
    other = site.letters("resolve", STEVENAGE, env={"LETTERS_MAIL__MODE": "capture"})
    assert f"LETTERS_MAIL__MODE=live letters resolve {STEVENAGE}" in other.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--sent", "--cancel", "--note", "x", "--yes"), "say one of them"),
        (("--sent", "--yes"), "--note TEXT"),
        (("--sent", "--note", " ", "--yes"), "--note TEXT"),
        (("--sent", "--note", "x"), "--yes"),
        (("--note", "x"), "say which"),
        (("--sent", "--note", "x", "--yes", "--to", "nobody@stevenage.gov.example"), CHIEF),
        (("--sent", "--note", "x", "--yes", "--to", "nobody"), "--to nobody"),
    ],
)
def test_what_is_not_said_well_settles_nothing(
    doubtful_part: Site, arguments: tuple[str, ...], says: str
) -> None:
    live = {"LETTERS_MAIL__MODE": "live", "LETTERS_SMTP__HOST": "127.0.0.1"}
    done = doubtful_part.letters("resolve", STEVENAGE, *arguments, expect=2, env=live)
    assert says in done.stderr
    assert "Nothing" in doubtful_part.letters("resolve", STEVENAGE, env={}).stdout, "in capture"


def test_each_word_does_what_it_says(doubtful: tuple[Site, WaywardRelay]) -> None:
    site, relay = doubtful
    sent = ("resolve", STEVENAGE, "--sent", "--note", NOTE, "--by", "Ann", "--yes")
    told = site.json(*sent, "--to", CHIEF.upper())
    assert [one["recipient"] for one in told["settled"]] == [CHIEF]
    assert told["settled"][0] | {"at": None} == {
        "recipient": CHIEF, "attempt": 1, "became": "accepted", "at": None, "by": "Ann",
        "because": NOTE,
    }  # fmt: skip
    assert states(site) == {CHIEF: "accepted", LINK: "in_doubt"}
    # said again, it is settled already; said otherwise, it stays as it is
    assert "by Ann" in site.letters(*sent, "--to", CHIEF).stdout
    otherwise = ("resolve", STEVENAGE, "--cancel", "--note", "x", "--yes", "--to", CHIEF)
    late = site.letters(*otherwise, expect=1)
    assert "by Ann on " in late.stdout
    assert "not settled as asked" in late.stderr
    done = site.letters("resolve", STEVENAGE, "--requeue", "--note", "data=0/1", "--yes").stdout
    assert "letters send 2020" in done
    assert states(site) == {CHIEF: "accepted", LINK: "queued"}
    assert relay.messages == [], "nothing is sent by saying so"
    site.letters("send", "2020")
    [again] = relay.messages
    assert relay.commands.count(f"RCPT TO:<{LINK}>") == 1
    assert states(site) == {CHIEF: "accepted", LINK: "accepted"}
    assert "Nothing needs a person" in site.letters("run", "2020").stdout
    assert relay.messages == [again]
    shown = site.letters("show", STEVENAGE).stdout
    for fact in (NOTE, "data=0/1", "Ann"):
        assert fact in shown


def test_on_a_terminal_it_is_shown_and_asked(doubtful: tuple[Site, WaywardRelay]) -> None:
    site, relay = doubtful
    with Terminal(site, "resolve", STEVENAGE, "--cancel", columns=50) as terminal:
        terminal.see("What was found, and where")
        terminal.type("the council has it by post\n")
        terminal.see("Give all 2 up? [y/N]")
        assert "not counted as sent" in terminal.words
        terminal.type("\n")
        assert "Nothing was changed." in terminal.end(1)
    assert set(states(site).values()) == {"in_doubt"}
    with Terminal(site, "resolve", STEVENAGE, "--cancel", "--note", "by post") as terminal:
        terminal.see("[y/N]")
        # somebody else comes first
        site.letters("resolve", STEVENAGE, "--sent", "--note", NOTE, "--yes", "--to", CHIEF)
        terminal.type("y\n")
        terminal.end(1)
        assert f"settled meanwhile: {CHIEF}" in terminal.words
    assert states(site) == {CHIEF: "accepted", LINK: "cancelled"}
    site.letters("send", "2020")
    assert relay.messages == []


def test_a_worker_that_may_only_be_stopped_is_not_overtaken(
    doubtful: tuple[Site, WaywardRelay],
) -> None:
    site, relay = doubtful

    def tried_by(who: str) -> None:
        """As if this process had been given up by others a moment after its intent."""
        values = {"owner": who, "outcome": "abandoned", "reply": "the lease is over"}
        ledger = Database(site.environment["LETTERS_DATABASE__URL"])
        with ledger.write() as connection:
            now = datetime.now(UTC)
            connection.execute(sa.update(schema.attempts).values(**values, intent_at=now))
        ledger.close()

    requeue = ("resolve", STEVENAGE, "--requeue", "--note", "data=0/1", "--yes")
    tried_by(owner.identity())
    shown = site.letters("resolve", STEVENAGE, expect=1).stdout
    assert "gave no sign of life any more" in shown
    assert "It is not known to have ended" in shown
    give_up = ("resolve", STEVENAGE, "--cancel", "--note", "by post", "--yes")
    for word, then in ((requeue, "they would get two"), (give_up, "get what is given up")):
        refused = site.letters(*word, expect=2).stderr
        assert "It may only have been stopped, and could still finish" in refused
        assert then in refused
    assert set(states(site).values()) == {"in_doubt"}
    # of a process that has certainly ended nothing is to be feared
    host, boot, namespace, *_ = owner.identity().split("/")
    tried_by("/".join((host, boot, namespace, "4194304", "1", "1")))
    site.letters(*requeue, "--to", CHIEF)
    # what is given up lets a person write again, which may end in doubt as well
    site.letters(*give_up)
    assert states(site) == {CHIEF: "queued", LINK: "cancelled"}
    site.letters("send", "2020")
    relay.answers["DOT"] = DROP
    again = ("resend", STEVENAGE, "--reason", "after all", "--yes", "--to", LINK)
    done = site.letters(*again, expect=1).stdout
    assert f"how to settle the doubt: letters resolve {STEVENAGE} --year 2020" in done
