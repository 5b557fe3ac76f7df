"""The log holds what happened, and nothing that was written by or about a person."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import log
from pipeline.delivery import Mode, State
from pipeline.log import Form, Level, Log

ADDRESS = "mary.smith@council.example"


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    yield
    log.begin(None)


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    place = tmp_path / "letters.log"
    assert log.begin(Log(level=Level.DEBUG, form=Form.JSON, file=place)) is None
    return place


def test_a_line_is_one_object_with_a_time_in_utc(file: Path) -> None:
    before = datetime.now(UTC)
    log.info(
        "delivery.settled",
        run=1,
        authority="E07000243",
        letter=2,
        delivery=3,
        attempt=1,
        mode=Mode.LIVE,
        state=State.ACCEPTED,
        outcome="accepted",
        queue_id="4bX1yz0abcz1Q",
        relay="127.0.0.1:25",
        seconds=0.123456,
        ours=True,
        due_at=datetime(2020, 7, 22, 9, tzinfo=timezone(timedelta(hours=1))),
        code=None,
    )
    [line] = lines(file)
    at = datetime.fromisoformat(line.pop("at"))
    assert at.utcoffset() == timedelta(0)
    assert before <= at <= datetime.now(UTC)
    assert line == {
        "event": "delivery.settled",
        "level": "info",
        "run": 1,
        "authority": "E07000243",
        "letter": 2,
        "delivery": 3,
        "attempt": 1,
        "mode": "live",
        "state": "accepted",
        "outcome": "accepted",
        "queue_id": "4bX1yz0abcz1Q",
        "relay": "127.0.0.1:25",
        "seconds": 0.123,
        "ours": True,
        "due_at": "2020-07-22T08:00:00+00:00",
    }


KNOWN = sorted(log._NUMBERS | log._WORDS.keys() | log._CHOICES | log._TIMES | log._FLAGS)


@pytest.mark.parametrize("field", [*KNOWN, "to", "name", "reply", "text"])
def test_no_field_takes_an_address_a_name_or_a_sentence(file: Path, field: str) -> None:
    for value in (ADDRESS, f"<{ADDRESS}>", "Mary Smith", "550 5.1.1 No such user: mary.smith", "é"):
        log.info("delivery.settled", **{field: value})
    assert {line[field] for line in lines(file)} == {log.LEFT_OUT}


def test_a_queue_id_is_no_persons_name(file: Path) -> None:
    ids = ["4bX1yz0abcz1Q", "1abcDE-000001-2x", "xAN9Zq01012345"]
    for value in [*ids, "mary.smith", "mary"]:
        log.info("delivery.settled", queue_id=value)
    assert [line["queue_id"] for line in lines(file)] == [*ids, log.LEFT_OUT, log.LEFT_OUT]


@given(st.sampled_from(KNOWN), st.text() | st.emails())
def test_whatever_is_logged_holds_no_address(field: str, value: str) -> None:
    kept = log._only_harmless(None, "info", {"event": "x", field: value})
    assert "@" not in json.dumps(kept)
    assert kept["event"] == "x"


def test_of_a_relays_words_only_the_status_is_kept() -> None:
    assert log.status_in(f"550 5.1.1 <{ADDRESS}>: unknown") == "5.1.1"
    assert log.status_in("250 2.0.0 Ok: queued as X") == "2.0.0"
    assert log.status_in("from 10.5.1.1 refused") is None
    assert log.status_in("") is None


def test_only_what_is_asked_for(tmp_path: Path) -> None:
    place = tmp_path / "letters.log"
    log.begin(Log(level=Level.WARNING, form=Form.JSON, file=place))
    log.debug("a")
    log.info("b")
    log.warning("c")
    log.error("d")
    assert [(line["event"], line["level"]) for line in lines(place)] == [
        ("c", "warning"),
        ("d", "error"),
    ]
    log.begin(Log(level=Level.OFF, file=place))
    log.error("e")
    log.begin(None)
    log.error("f")
    assert len(lines(place)) == 2


def test_for_eyes_it_is_one_line_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    log.begin(Log(level=Level.INFO))
    log.info("letter.made", authority="E07000243", letter=12, seconds=1.5)
    [line] = capsys.readouterr().err.splitlines()
    assert line.split()[1:] == [
        "[info",
        "]",
        "letter.made",
        "authority=E07000243",
        "letter=12",
        "seconds=1.5",
    ]
    assert line[:2] == "20"


def test_a_file_that_is_moved_away_is_begun_anew(file: Path) -> None:
    log.info("before")
    file.rename(file.with_suffix(".1"))
    log.info("after")
    assert [line["event"] for line in lines(file)] == ["after"]
    assert file.stat().st_mode & 0o007 == 0, "nobody else reads it"


def test_lines_of_many_threads_stay_whole(file: Path) -> None:
    def work(number: int) -> None:
        for attempt in range(50):
            log.info("delivery.claimed", delivery=number, attempt=attempt)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    found = {(line["delivery"], line["attempt"]) for line in lines(file)}
    assert found == {(number, attempt) for number in range(8) for attempt in range(50)}


def test_a_log_that_cannot_be_written_is_said_and_stops_nothing(tmp_path: Path) -> None:
    place = tmp_path / "nowhere" / "letters.log"
    said = log.begin(Log(level=Level.INFO, file=place))
    assert said is not None
    assert said.startswith(f"log.file names {place}, which cannot be written to: No such file")
    assert log.begun() is None
    log.error("nothing happens")
    there = tmp_path / "letters.log"
    assert log.begin(Log(level=Level.INFO, file=there)) is None
    there.unlink()
    there.mkdir()
    log.error("nothing happens either")
    assert there.is_dir()


def test_a_closed_standard_error_stops_nothing() -> None:
    code = (
        "import os, sys; from pipeline import log;"
        "log.begin(log.Log(level=log.Level.INFO));"
        "os.close(2); log.info('x'); sys.stderr = None; log.info('y'); print('on')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=os.environ
    )
    assert done.stdout == "on\n"


def test_nothing_is_loaded_where_nothing_is_logged() -> None:
    code = (
        "import sys; from pipeline import log; log.begin(None); log.info('x');"
        "print('structlog' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
