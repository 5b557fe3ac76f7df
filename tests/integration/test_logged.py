"""What is logged while letters go and come back: addresses and names are everywhere but there."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline import evidence, log
from pipeline.archive import Archive
from pipeline.checks import Check, program
from pipeline.checks import Kind as CheckKind
from pipeline.database import Database
from pipeline.dispatch import dispatch
from pipeline.errors import Unavailable
from pipeline.evidence import Sources
from pipeline.ledger.runs import Run
from pipeline.log import Form, Level, Log
from pipeline.mailbox import Mailbox, Maildir
from pipeline.transport import Relay
from tests.integration.test_audit import Watched
from tests.integration.test_checks import site
from tests.integration.test_dispatch import archive, outbox, run
from tests.relays import DROP, WaywardRelay

__all__ = ["archive", "run"]

PERSON = "Mary Partridge"
SECRET = "correct-horse"  # noqa: S105 - nobody's
ADDRESS = "mary.partridge@council.example"
WORDS = f"{PERSON} <{ADDRESS}> chief@a.example 10 High Street"
FORBIDDEN = re.compile(r"@|partridge|mary|chief|council|high street|correct-horse", re.IGNORECASE)


@pytest.fixture
def logged(tmp_path: Path) -> Iterator["Logged"]:
    file = tmp_path / "letters.log"
    assert log.begin(Log(level=Level.DEBUG, form=Form.JSON, file=file)) is None
    yield Logged(file)
    log.begin(None)


class Logged:
    """The lines of the log, each held to having nothing in it that it must not."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def lines(self) -> list[dict[str, Any]]:
        text = self._file.read_text(encoding="utf-8")
        assert FORBIDDEN.search(text) is None, text
        return [json.loads(line) for line in text.splitlines()]

    def events(self) -> list[str]:
        return [line["event"] for line in self.lines()]

    def one(self, event: str) -> dict[str, Any]:
        [line] = [line for line in self.lines() if line["event"] == event]
        return line


@pytest.mark.parametrize(
    ("answers", "level", "outcome", "code", "status"),
    [
        ({}, "info", "accepted", 250, "2.0.0"),
        (
            {"DOT": f"250 2.0.0 queued as 4XyZ12abc for {WORDS}\r\n"},
            "info",
            "accepted",
            250,
            "2.0.0",
        ),
        ({"DOT": f"451 4.7.1 greylisted {WORDS}\r\n"}, "info", "deferred", 451, "4.7.1"),
        ({"DOT": f"552 5.2.2 {WORDS} is full\r\n"}, "warning", "rejected", 552, "5.2.2"),
        ({"RCPT": f"550 5.1.1 {WORDS}: unknown\r\n"}, "warning", "rejected", 550, "5.1.1"),
        ({"RCPT": f"550 {WORDS}: unknown\r\n"}, "warning", "rejected", 550, None),
        ({"DOT": DROP}, "warning", "lost", None, None),
    ],
)
def test_an_attempt_is_logged_by_its_identifiers_and_codes(
    db: Database,
    archive: Archive,
    run: Run,
    tmp_path: Path,
    logged: Logged,
    answers: dict[str, str | bytes],
    level: str,
    outcome: str,
    code: int | None,
    status: str | None,
) -> None:
    said = {step: one.encode() if isinstance(one, str) else one for step, one in answers.items()}
    with WaywardRelay(said) as relay:
        dispatch(db, archive, run, outbox(Relay(host="127.0.0.1", port=relay.port), tmp_path))
    line = logged.one("delivery.settled")
    assert (line["level"], line["outcome"]) == (level, outcome)
    assert (line.get("code"), line.get("status")) == (code, status)
    assert line["authority"] == "A"
    assert line["mode"] == "live"
    assert {line[name] for name in ("run", "letter", "message", "delivery", "attempt")} == {1}
    assert line["seconds"] >= 0
    if outcome == "accepted":
        assert line["queue_id"] == "4XyZ12abc"
    assert logged.one("dispatch.begun")["relay"] == f"127.0.0.1 port {relay.port}"
    events = logged.events()
    assert events[:2] == ["dispatch.begun", "delivery.claimed"]
    assert ("delivery.intended" in events) == ("RCPT" not in answers)
    assert events[-1] == "dispatch.ended"


def test_a_relays_trouble_is_logged_without_its_words(
    db: Database, archive: Archive, run: Run, tmp_path: Path, logged: Logged
) -> None:
    answers = {
        "EHLO": b"250-relay.test\r\n250 AUTH PLAIN\r\n",
        "AUTH": f"535 5.7.8 {WORDS} {SECRET}\r\n".encode(),
    }
    with WaywardRelay(answers) as relay:
        login = Relay(host="127.0.0.1", port=relay.port, username=ADDRESS, password=SECRET)
        with pytest.raises(Unavailable):
            dispatch(db, archive, run, outbox(login, tmp_path))
        assert logged.one("relay.in_trouble")["level"] == "error"
        assert logged.one("delivery.settled")["outcome"] == "nottried"
        well = outbox(Relay(host="127.0.0.1", port=relay.port), tmp_path)
        relay.answers["AUTH"] = b"235 2.7.0 ok\r\n"
        dispatch(db, archive, run, replace(well, relay=lambda: login))
    assert logged.one("relay.well_again")["relay"] == f"127.0.0.1 port {relay.port}"


def test_what_comes_back_is_logged_by_its_kind(
    db: Database, archive: Archive, tmp_path: Path, logged: Logged
) -> None:
    new = tmp_path / "returned" / "new"
    for folder in ("new", "cur", "tmp"):
        (tmp_path / "returned" / folder).mkdir(parents=True)
    (new / f"1.{ADDRESS}.mail").write_text(
        f"From: {WORDS}\nTo: bounces@ombudsman.example\nSubject: From {PERSON}\n\n{WORDS}\n"
    )

    def away() -> Mailbox:
        raise Unavailable(f"The mailbox of {WORDS} is away.")

    found = evidence.read(
        db,
        archive,
        Sources(mailbox=lambda: Maildir(path=tmp_path / "returned")),
        progress=Watched(),
    )
    assert found.mails == 1
    evidence.read(db, archive, Sources(mailbox=away), progress=Watched())
    read = logged.one("mail.read")
    assert read["count"] == 1
    assert read["kind"] in {"other", "unmatched", "unreadable"}
    assert logged.one("evidence.stopped")["error"] == "Unavailable"


def test_letters_check_says_whether_there_is_a_log(tmp_path: Path) -> None:
    def found(**values: str) -> list[Check]:
        sections = {"log": dict[str, Any](values)}
        return list(program.log(site(tmp_path / "site", **sections)))

    def only(**values: str) -> Check:
        [check] = found(**values)
        return check

    assert found() == []
    assert only(level="info").state is CheckKind.OK
    assert only(level="info", file="letters.log").state is CheckKind.OK
    off = only(file="letters.log")
    assert (off.state, off.fix) == (CheckKind.NOTE, "Set log.level to info.")
    lost = only(level="info", file="nowhere/letters.log")
    assert lost.state is CheckKind.WARNING
    assert "cannot be written to" in lost.found
    (tmp_path / "site" / "folder").mkdir()
    assert only(level="info", file=str(tmp_path / "site" / "folder")).state is CheckKind.WARNING
