"""Watched from afar: the log, the metrics and the look at the whole record, as they are typed."""

import json
import re
import shutil
import sqlite3
import urllib.request
from contextlib import closing
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.acceptance.site import Site, read_sample
from tests.acceptance.test_schedule import TWO, Server, imported
from tests.postgres import free_port

LOGGED = {"LETTERS_LOG__LEVEL": "debug", "LETTERS_LOG__FORMAT": "json"}
NAMES = [
    row[name]
    for row in read_sample("officers")
    if row["authority_code"] in TWO
    for name in ("family_name", "email")
    if row[name]
]


def samples(text: str) -> dict[str, float]:
    return {
        f"{one.name} {' '.join(one.labels[key] for key in sorted(one.labels))}".strip(): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


@pytest.fixture(scope="module")
def sent_once(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A site that a tick has made and sent two letters of, logging all it does."""
    folder = tmp_path_factory.mktemp("metrics")
    site = Site(folder / "site")
    imported(site, folder)
    done = site.letters("tick", env=LOGGED)
    assert "The letters of 2020" in done.stdout, "what a person reads stays where it is"
    (site.folder / "stderr").write_text(done.stderr)
    return site


@pytest.fixture
def sent(sent_once: Site, tmp_path: Path) -> Site:
    """The same, to do something to."""
    shutil.copytree(sent_once.folder, tmp_path / "site")
    return Site(tmp_path / "site").confirmed()


def test_a_tick_logs_what_it_does_and_nobodys_name(sent: Site) -> None:
    text = (sent.folder / "stderr").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert "@" not in text
    for name in NAMES:
        assert name not in text
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00", line["at"]) for line in lines)
    events = [line["event"] for line in lines]
    assert set(events) >= {
        "start.begun",
        "run.opened",
        "prepare.begun",
        "prepare.ended",
        "dispatch.begun",
        "delivery.claimed",
        "delivery.intended",
        "dispatch.ended",
        "start.changed",
        "tick.done",
    }
    made = [line for line in lines if line["event"] == "letter.made"]
    assert {line["authority"] for line in made} == set(TWO), "of other processes, too"
    assert all(line["seconds"] > 0 for line in made)
    settled = [line for line in lines if line["event"] == "delivery.settled"]
    assert {line["authority"] for line in settled} == set(TWO)
    assert {line["outcome"] for line in settled} == {"accepted"}
    assert "(left out)" not in text, "every field has the values that it is known to have"


def test_a_persons_command_stays_quiet_unless_there_is_a_file(site: Site, tmp_path: Path) -> None:
    imported(site, tmp_path)
    quiet = site.letters("prepare", "2020", env={"LETTERS_LOG__LEVEL": "debug"})
    assert "letter.made" not in quiet.stderr + quiet.stdout
    file = site.folder / "letters.log"
    with_file = {**LOGGED, "LETTERS_LOG__FILE": str(file)}
    done = site.letters("send", "2020", env=with_file)
    assert "delivery" not in done.stderr
    assert file.read_text().count("delivery.settled") >= 2
    nowhere = {**LOGGED, "LETTERS_LOG__FILE": str(site.folder / "nowhere" / "letters.log")}
    done = site.letters("status", "2020", env=nowhere)
    assert "log.file names" in done.stderr
    assert "Nothing is logged" in done.stderr
    wrong = site.letters("status", "2020", env={"LETTERS_LOG__LEVEL": "loud"}, expect=78)
    assert "log.level" in wrong.stderr


def test_metrics_are_printed_and_written_for_the_collector(sent: Site) -> None:
    printed = sent.letters("metrics")
    assert printed.stderr == ""
    found = samples(printed.stdout)
    assert found["letters_letters prepared 2020"] == 2
    deliveries = len(sent.mail())
    assert found["letters_deliveries capture accepted 2020"] == deliveries
    assert found["letters_starts capture done dispatch 2020"] == 1
    assert "E07" not in printed.stdout
    file = sent.folder / "letters.prom"
    file.write_text("an older one")
    done = sent.letters("metrics", "--out", str(file))
    assert done.stdout == ""
    assert samples(file.read_text()).keys() == found.keys()
    assert file.stat().st_mode & 0o044, "the collector is another user"
    assert not list(sent.folder.glob(".*")), "nothing is left beside it"
    nowhere = sent.letters("metrics", "--out", str(sent.folder / "none" / "x.prom"), expect=2)
    assert "There is no folder" in nowhere.stderr


def test_a_server_answers_prometheus(sent: Site) -> None:
    port = free_port()
    server = Server(sent.start("serve", "--metrics-port", str(port)))
    try:
        server.said(f"Prometheus is answered at http://127.0.0.1:{port}/metrics")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
            assert samples(answer.read().decode())["letters_letters prepared 2020"] == 2
        taken = sent.letters("serve", "--metrics-port", str(port), expect=2)
        assert f"Nothing can listen at 127.0.0.1 port {port}" in taken.stderr
        server.stop()
    finally:
        server.process.kill()
        server.process.wait()


def test_the_whole_record_is_looked_at(sent: Site) -> None:
    well = sent.letters("check", "--ledger")
    assert well.stdout.splitlines()[-1] == (
        "The record of all years: everything on record fits together, and nothing was left lying."
    )
    quick = sent.letters("check", "2020", "--ledger", "--quick")
    assert quick.stdout.splitlines()[-1] == "The archive's files were not read."
    unknown = sent.letters("check", "2019", "--ledger", expect=2)
    assert "There are no letters of 2019 on record" in unknown.stderr
    assert "Nothing blocks the letters of 2020" in sent.letters("check", "2020").stdout
    with closing(sqlite3.connect(sent.folder / "letters.db")) as ledger, ledger:
        ledger.execute("UPDATE deliveries SET state = 'delivered' WHERE id = 1")
        ledger.execute("UPDATE attempts SET ended_at = NULL WHERE delivery_id = 2")
    bad = sent.letters("check", "--ledger", expect=1)
    first, second, last = [
        line for line in bad.stdout.splitlines() if line and not line.startswith("  ")
    ]
    assert first.startswith("Fault: The capture delivery to ")
    assert second.startswith("Fault: The capture delivery to ")
    assert last == "The record of all years: 2 faults, worst first."
    assert bad.stdout.count("  Where: ") == bad.stdout.count("  To do: ") == 2
    facts = sent.json("check", "--ledger", expect=1)
    assert [one["matter"] for one in facts["findings"]] == ["state", "attempt"]
    assert facts["weights"] == {"fault": 2, "warning": 0, "note": 0}
    assert facts["findings"][0]["found"] == (
        "It is on record as delivered, and its events say accepted."
    )
    assert set(facts["findings"][0]) == {
        "weight",
        "matter",
        "thing",
        "place",
        "found",
        "fix",
        "year",
        "authority",
    }
