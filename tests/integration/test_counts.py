"""What Prometheus is told of a real ledger, and how it is answered."""

import http.client
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa
from prometheus_client.parser import text_string_to_metric_families

from pipeline import schema
from pipeline.database import Database
from pipeline.delivery import Lost, Mode, Rejected, Reply
from pipeline.errors import Refused, Unavailable
from pipeline.ledger import counts, deliveries, holds, letters, messages, relays, starts, story
from pipeline.ledger.letters import Faulted
from pipeline.ledger.messages import Request
from pipeline.metrics import exposition, served
from pipeline.schema import Returned, Step
from tests.integration.test_ledger import LEASE, LIVE, NOW
from tests.integration.test_reconcile import Site, planned, site

__all__ = ["planned", "site"]

LATER = NOW + timedelta(hours=2)


def samples(text: bytes) -> dict[str, float]:
    """Each sample by its name and labels, as `name{label=value,...}` with the labels in order."""
    return {
        f"{one.name}{{{','.join(f'{key}={one.labels[key]}' for key in sorted(one.labels))}}}": (
            one.value
        )
        for family in text_string_to_metric_families(text.decode())
        for one in family.samples
    }


def told(db: Database) -> dict[str, float]:
    return samples(exposition(counts.count(db), now=LATER))


def test_an_empty_ledger(db: Database) -> None:
    found = told(db)
    assert not [name for name in found if name.startswith(("letters_letters", "letters_deliv"))]
    assert found["letters_oldest_doubt_age_seconds{mode=live}"] == 0
    assert found["letters_returned_mail_waiting{kind=forged}"] == 0
    assert "letters_last_event_age_seconds{}" not in found


def test_letters_and_deliveries_are_counted_every_state_of_them(site: Site) -> None:
    found = told(site.db)
    assert found["letters_letters{state=prepared,year=2020}"] == 2
    assert found["letters_letters{state=fault,year=2020}"] == 1
    assert found["letters_letters{state=unprepared,year=2020}"] == 0
    assert found["letters_deliveries{mode=live,state=accepted,year=2020}"] == 4
    assert found["letters_deliveries{mode=live,state=bounced,year=2020}"] == 0
    assert not [name for name in found if "mode=capture" in name and "deliveries" in name]
    assert found["letters_needing_a_person{mode=live,year=2020}"] == 1, "the fault"
    assert found["letters_last_event_age_seconds{}"] == 7200
    assert found["letters_paused{year=2020}"] == 0
    holds.pause(site.db, site.run, because="wait", person="tester", now=NOW)
    assert told(site.db)["letters_paused{year=2020}"] == 1


def test_what_needs_a_person_is_what_the_years_summary_says(planned: Site) -> None:
    def same() -> int:
        summed = story.summary(planned.db, planned.run, Mode.LIVE).needs_a_person
        assert counts.count(planned.db).pressing == {(2020, Mode.LIVE): summed}
        return summed

    assert same() == 1
    gone = Rejected(reply=Reply(code=550, text="5.1.1 unknown"))
    while claimed := planned.claim():
        planned.intend(claimed)
        assert deliveries.settle(planned.db, claimed, gone, now=NOW)
    assert same() == 5
    again = Request(reason="another try", person="tester")
    assert messages.resend(planned.db, 1, LIVE, again, now=NOW).new
    assert same() == 3
    planned.change(
        sa.update(schema.letters)
        .where(schema.letters.c.id == 2)
        .values(withheld_at=NOW, withheld_because="wait")
    )
    assert same() == 1


def test_what_is_not_well_is_told(planned: Site) -> None:
    claimed = planned.claim()
    assert claimed is not None
    planned.intend(claimed)
    assert deliveries.settle(planned.db, claimed, Lost(reason="time-out"), now=NOW)
    for number in range(2):
        at = NOW + number * timedelta(hours=1)
        relays.fails(planned.db, "relay.example port 25", reason="away", chance=0.5, now=at)
    starts.miss(planned.db, 2020, Step.PREPARE, Mode.LIVE, due_at=NOW, now=NOW)
    hold = starts.take(
        planned.db,
        2020,
        Step.DISPATCH,
        Mode.LIVE,
        due_at=NOW,
        owner="server",
        lease=LEASE,
        gone=lambda _owner: False,
        now=NOW,
    )
    assert hold is not None
    mails = [("1", Returned.FORGED), ("2", Returned.FORGED), ("3", Returned.AUTO_REPLY)]
    with planned.db.write() as connection:
        for sha256, kind in mails:
            connection.execute(
                sa.insert(schema.returned_mail).values(
                    sha256=sha256,
                    read_at=NOW,
                    place="the mailbox",
                    kind=kind.value,
                    size=1,
                    sender="mary@council.example",
                    subject="Mary Smith",
                )
            )
    found = told(planned.db)
    assert found["letters_deliveries{mode=live,state=in_doubt,year=2020}"] == 1
    assert found["letters_needing_a_person{mode=live,year=2020}"] == 2
    assert found["letters_oldest_doubt_age_seconds{mode=live}"] == 7200
    assert found["letters_oldest_doubt_age_seconds{mode=redirect}"] == 0
    assert found["letters_relay_in_trouble{relay=relay.example port 25}"] == 1
    assert found["letters_relay_trouble_age_seconds{relay=relay.example port 25}"] == 7200
    start = "letters_starts{{mode=live,standing={},step={},year=2020}}"
    assert found[start.format("missed", "prepare")] == 1
    assert found[start.format("due", "prepare")] == 0
    assert found[start.format("due", "dispatch")] == 1
    assert found["letters_returned_mail_waiting{kind=forged}"] == 2
    assert found["letters_returned_mail_waiting{kind=other}"] == 0
    assert not any("auto_reply" in name for name in found)
    assert starts.done(planned.db, hold, run_id=planned.run.id, now=NOW)
    relays.answers(planned.db, "relay.example port 25", now=NOW)
    found = told(planned.db)
    assert found[start.format("done", "dispatch")] == 1
    assert found[start.format("due", "dispatch")] == 0
    assert found["letters_relay_in_trouble{relay=relay.example port 25}"] == 0


def test_no_authority_and_no_person_is_named(planned: Site) -> None:
    assert letters.record(
        planned.db, planned.run.id, Faulted(letter_id=3, reason="Mary Smith"), now=NOW
    )
    planned.send_all()
    text = exposition(counts.count(planned.db), now=LATER).decode()
    for word in ("A Council", "B Council", "chief", "@", "Smith", "tester"):
        assert word not in text


# ---- answered over HTTP


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    kind: str
    body: bytes


def asked(url: str, path: str = "/metrics", method: str = "GET") -> Answer:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return Answer(answer.status, answer.getheader("Content-Type") or "", answer.read())
    finally:
        connection.close()


@pytest.fixture
def url() -> Iterator[str]:
    def text() -> bytes:
        if broken:
            raise broken[0]
        return b"# EOF\n"

    broken.clear()
    with served(text, port=0) as where:
        yield where


broken: list[Exception] = []


def test_prometheus_is_answered_on_loopback_and_nothing_else_is(url: str) -> None:
    assert url.startswith("http://127.0.0.1:")
    assert url.endswith("/metrics")
    answer = asked(url)
    assert answer.status == 200
    assert answer.kind.startswith("text/plain; version=")
    assert asked(url, "/metrics?x=1").status == 200
    assert asked(url, "/").status == 404
    assert asked(url, method="POST").status == 501


def test_a_ledger_that_is_away_is_no_answer_and_the_next_one_is(
    url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    broken.append(Unavailable("The database at /secret/place is away."))
    answer = asked(url)
    assert answer.status == 503
    assert b"secret" not in answer.body
    broken[:] = [ZeroDivisionError("nobody foresaw this")]
    with pytest.raises(http.client.RemoteDisconnected):
        asked(url)
    broken.clear()
    assert asked(url).status == 200
    assert capfd.readouterr() == ("", ""), "who asks is nobody's news"


def test_a_port_that_is_taken_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(Refused, match=rf"Nothing can listen at 127\.0\.0\.1 port {port}: Addr"),
            served(bytes, port=port),
        ):
            pass
    with (
        pytest.raises(Refused, match=r"--metrics-host"),
        served(bytes, host="192.0.2.1", port=0),
    ):
        pass
