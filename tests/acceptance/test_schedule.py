"""`letters serve` and `letters tick`: the real commands, stopped and killed in the middle."""

import asyncio
import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from tests.acceptance.site import LETTERS, Row, Site, part_of_the_sample, read_sample
from tests.acceptance.test_what_goes_wrong import no_orphans
from tests.postgres import PostgresServer, free_port

SOME = [
    row["code"]
    for row in read_sample("authorities")
    if row["kind"] == "district" and not row["successor_code"]
][:8]
TWO = SOME[:2]
HOUR = timedelta(hours=1)


def due(
    prepare: timedelta = -HOUR, dispatch: timedelta = -HOUR
) -> Callable[[dict[str, list[Row]]], None]:
    """The edition's dates, from now: by default both have come today, or just before midnight."""
    now = datetime.now(UTC)

    def change(tables: dict[str, list[Row]]) -> None:
        [edition] = tables["editions"]
        edition["prepare_on"] = (now + min(prepare, dispatch)).date().isoformat()
        edition["dispatch_at"] = (now + dispatch).isoformat(timespec="seconds")

    return change


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "site", more={"LETTERS_SCHEDULE__EVERY": "5"})


def imported(site: Site, tmp_path: Path, codes: list[str] = TWO, **dates: timedelta) -> None:
    site.letters("import", str(part_of_the_sample(tmp_path / "data", codes, due(**dates))))


class Server:
    """A running `letters serve`, and what it has said."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._said = threading.Condition()
        self._readers = [
            threading.Thread(target=self._read, args=(stream,))
            for stream in (process.stdout, process.stderr)
        ]
        for one in self._readers:
            one.start()

    def _read(self, stream: Any) -> None:
        for line in stream:
            with self._said:
                self.lines.append(line.rstrip("\n"))
                self._said.notify_all()
        stream.close()

    def said(self, words: str, times: int = 1) -> None:
        """Wait until it has said this."""
        with self._said:
            found = self._said.wait_for(lambda: self.count(words) >= times, timeout=120)
        assert found, (words, self.lines)

    def count(self, words: str) -> int:
        return sum(words in line for line in self.lines)

    def ended(self) -> int:
        """Wait until it has ended; its exit code."""
        code = self.process.wait(timeout=120)
        for one in self._readers:
            one.join()
        assert not self.count("Traceback"), self.lines
        return code

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(how)
        assert self.ended() == 0, self.lines
        assert self.lines[-1].startswith("Stopped, as asked.")


@contextmanager
def serving(site: Site) -> Iterator[Server]:
    server = Server(site.start("serve"))
    try:
        yield server
    finally:
        server.process.kill()
        server.process.wait()


def kept(site: Site) -> int:
    """How many captured messages there are, looked at while more of them come."""
    new = site.maildir / "new"
    return sum(not one.name.startswith(".") for one in new.iterdir()) if new.exists() else 0


def all_accepted(site: Site) -> bool:
    """Whether there are letters, and each has been accepted for everybody it is for."""
    letters = site.json("status", "2020").get("letters", [])
    return {one["state"] for one in letters} == {"accepted"}


def each_once(site: Site) -> None:
    """Every letter's every recipient has exactly one mail, and the ledger says so."""
    status = site.json("status", "2020")
    assert {one["state"] for one in status["letters"]} == {"accepted"}
    copies = Counter((one.recipient, one.message["Message-ID"]) for one in site.mail())
    assert set(copies.values()) == {1}
    assert len(copies) == sum(len(one["recipients"]) for one in status["letters"])


def test_a_tick_does_what_is_due_and_the_next_has_nothing_to_say(
    site: Site, tmp_path: Path
) -> None:
    imported(site, tmp_path)
    first = site.letters("tick")
    assert first.stdout.splitlines() == [
        "2 letters of 2020 made.",
        "The letters of 2020 are captured on this machine, as a rehearsal: 4 accepted.",
    ]
    second = site.letters("tick")
    assert (second.stdout, second.stderr) == ("", "")
    facts = site.json("tick")
    assert [one["standing"] for one in facts["starts"]] == ["done", "done"]
    assert (facts["mode"], facts["needs_a_person"], facts["next"]) == ("capture", False, None)
    each_once(site)


def test_a_tick_before_the_hour_only_says_what_is_next(site: Site, tmp_path: Path) -> None:
    imported(site, tmp_path, prepare=timedelta(days=2), dispatch=timedelta(days=9))
    facts = site.json("tick")
    assert facts["next"]["step"] == "prepare"
    assert [one["standing"] for one in facts["starts"]] == ["waiting", "waiting"]
    assert site.letters("tick").stdout == ""
    assert not site.archive.exists() or not list(site.archive.rglob("*.pdf"))


def test_a_tick_says_once_that_approval_is_lacking(site: Site, tmp_path: Path) -> None:
    one = {"LETTERS_APPROVAL__PEOPLE": "1"}
    imported(site, tmp_path)
    said = site.letters("tick", expect=1, env=one).stdout
    assert "1 more person must approve them: letters approve 2020" in said
    assert site.letters("tick", env=one).stdout == ""
    assert site.mail() == []
    site.letters("approve", "2020", "--by", "Ann", env=one)
    assert "4 accepted" in site.letters("tick", env=one).stdout
    each_once(site)


def test_a_tick_says_once_that_starts_were_missed_all_in_one_line(
    site: Site, tmp_path: Path
) -> None:
    def of_old(tables: dict[str, list[Row]]) -> None:
        [edition] = tables["editions"]
        tables["editions"] = [
            {
                **edition,
                "year": str(year),
                "letter_date": f"{year}-07-22",
                "published_on": f"{year}-07-29",
                "period_start": f"{year - 1}-04-01",
                "period_end": f"{year}-03-31",
            }
            for year in [*range(1991, 2020), 2021]
        ]

    site.letters("import", str(part_of_the_sample(tmp_path / "data", TWO, of_old)))
    [line] = site.letters("tick", expect=1).stdout.splitlines()
    assert "the letters of 1991 to 2019 and 2021 were neither made nor sent" in line
    assert site.letters("tick").stdout == ""


def test_a_tick_without_a_ledger_or_with_a_wrong_setting_ends_as_every_command(
    site: Site, postgres: PostgresServer
) -> None:
    wrong = site.letters("tick", expect=78, env={"LETTERS_SCHEDULE__EVERY": "0"})
    assert "schedule.every" in wrong.stderr.lower().replace("__", ".")
    name = postgres.create()
    behind = {"LETTERS_DATABASE__URL": postgres.url(name)}
    assert "letters db upgrade" in site.letters("tick", expect=78, env=behind).stderr
    gone = {"LETTERS_DATABASE__URL": postgres.url("nowhere")}
    assert "nowhere" in site.letters("tick", expect=69, env=gone).stderr
    postgres.drop(name)


def test_a_server_says_what_is_next_and_stops_when_asked(site: Site, tmp_path: Path) -> None:
    imported(site, tmp_path, prepare=timedelta(days=2), dispatch=timedelta(days=9))
    for how in (signal.SIGTERM, signal.SIGINT):
        with serving(site) as server:
            server.said("Next: the letters of 2020 are made on ")
            assert server.count("London time") == 1
            assert server.lines[1] == "The letters of 2020, in London:"
            assert server.lines[2].endswith("  they are made")
            assert server.lines[3].endswith("  they are sent")
            server.stop(how)
    no_orphans(site)


def test_two_servers_send_each_letter_once(site: Site, tmp_path: Path) -> None:
    imported(site, tmp_path, SOME[:4])
    with serving(site) as one, serving(site) as other:
        until = time.monotonic() + 300
        while kept(site) < 8 or not all_accepted(site):
            assert time.monotonic() < until, (one.lines, other.lines)
            time.sleep(0.05)
        one.stop()
        other.stop()
        assert one.count("letters:") + other.count("letters:") == 0
    each_once(site)


def test_a_server_that_is_killed_while_it_sends_is_gone_on_with(site: Site, tmp_path: Path) -> None:
    imported(site, tmp_path, SOME, dispatch=timedelta(days=1))
    with serving(site) as server:
        server.said("8 letters of 2020 made.")
        server.stop()
    imported(site, tmp_path, SOME)
    kills = 0
    for _ in range(40):
        before = kept(site)
        with serving(site) as server:
            while (kills == 3 or kept(site) <= before) and not server.count("Nothing is to come"):
                assert server.process.poll() is None, server.lines
                time.sleep(0.01)
            if server.count("Nothing is to come"):
                server.stop()
                break
            server.process.kill()
            kills += 1
            server.process.wait()
    assert kills >= 1
    no_orphans(site)
    each_once(site)


class SlowRelay:
    """Takes the first message only when it is told to; `reached` says that it has one in hand."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.answer = threading.Event()
        self.taken: list[str] = []

    async def handle_DATA(  # noqa: N802 - aiosmtpd's name
        self, _server: Any, _session: Any, envelope: Any
    ) -> str:
        self.reached.set()
        await asyncio.get_running_loop().run_in_executor(None, self.answer.wait)
        self.taken += envelope.rcpt_tos
        return "250 2.0.0 Ok"


def test_a_server_that_is_asked_to_stop_while_it_sends_finishes_what_it_has_in_hand(
    site: Site, tmp_path: Path
) -> None:
    imported(site, tmp_path, SOME[:4])
    relay, port = SlowRelay(), free_port()
    controller = Controller(relay, hostname="127.0.0.1", port=port)
    controller.start()
    live = Site(
        site.folder,
        more={
            **(site.more or {}),
            "LETTERS_MAIL__MODE": "live",
            "LETTERS_SMTP__HOST": "127.0.0.1",
            "LETTERS_SMTP__PORT": str(port),
        },
    )
    try:
        with serving(live) as server:
            assert relay.reached.wait(120)
            server.process.send_signal(signal.SIGTERM)
            relay.answer.set()
            assert server.ended() == 0, server.lines
        no_orphans(site)
        counts = live.json("status", "2020")["counts"]
        assert counts["accepted"] == len(relay.taken) > 0
        assert counts["accepted"] + counts["queued"] == sum(counts.values()) == 8
        with serving(live) as server:
            server.said("The letters of 2020 are sent: 8 accepted.")
            server.stop()
        assert len(relay.taken) == len(set(relay.taken)) == 8
    finally:
        relay.answer.set()
        controller.stop()


def test_a_server_outlives_a_database_that_goes_away_and_says_so_once(
    site: Site, tmp_path: Path, postgres: PostgresServer
) -> None:
    name = postgres.create()
    url = postgres.url(name)
    here = Site(site.folder, database=url, more=site.more)
    here.letters("db", "upgrade")
    imported(here, tmp_path, prepare=timedelta(days=2), dispatch=timedelta(days=9))
    with serving(here) as server:
        server.said("Next: the letters of 2020 are made on ")
        postgres.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        postgres.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                         f"WHERE datname = '{name}'")  # fmt: skip
        server.said("cannot be used")
        postgres.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        imported(here, tmp_path)
        server.said("What was in the way is mended.")
        server.said("4 accepted.")
        server.stop()
        assert server.count("cannot be used") == 1
        assert server.count("Next: ") == 1
    each_once(here)
    postgres.drop(name)


def test_a_server_may_begin_before_there_is_anything(site: Site, tmp_path: Path) -> None:
    with serving(site) as server:
        server.said("Nothing is to come")
        imported(site, tmp_path)
        server.said("4 accepted.")
        server.stop()
    each_once(site)


def test_a_server_whose_log_has_gone_ends_as_one_to_start_anew(site: Site) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        process = subprocess.Popen(
            [LETTERS, "serve"],
            env=site.environment,
            stdin=subprocess.DEVNULL,
            stdout=write,
            stderr=subprocess.DEVNULL,
            cwd="/",
        )
    finally:
        os.close(write)
    assert process.wait(timeout=120) == 69
