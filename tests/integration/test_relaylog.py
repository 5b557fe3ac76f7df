"""What a Postfix log proves: from a real Postfix, and from what one has logged, in every disguise.

`tests/data/relaylog/mail.log` is what Postfix 3.7 wrote of `play` below, and `attempts.json` what
was known on this side; they are read where there is no Postfix, too.
"""

import datetime as dt
import gzip
import json
import os
import re
import smtplib
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from pipeline.delivery import Accepted
from pipeline.errors import Misconfigured, Unavailable
from pipeline.relaylog import Absent, Attempt, Evidence, Position, RelayLog, Taken, Unknown
from pipeline.transport import Relay, Session, Transport
from tests.postfix import Postfix, running_postfix

DATA = Path(__file__).parents[1] / "data" / "relaylog"
SENDER = "letters@ombudsman.test"
NOON = dt.datetime(2026, 11, 23, 12, 0, tzinfo=dt.UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """One attempt, and what truly became of it; `delivered` if its delivery ever was taken."""

    attempt: Attempt
    taken: bool
    delivered: bool


def letter(name: str, lines: int = 2000) -> bytes:
    return (
        f"From: {SENDER}\r\nTo: chief@council.test\r\nMessage-ID: <{name}@ombudsman.test>\r\n"
        "Subject: Annual review letter\r\n\r\n" + "Dear Chief Executive\r\n" * lines
    ).encode()


class Stage:
    """Sends letters through a real relay and keeps what is known of each attempt."""

    def __init__(self) -> None:
        self.attempts: list[tuple[Attempt, bool]] = []

    def send(
        self,
        transport: Transport,
        name: str,
        recipient: str,
        *,
        dot: bool = True,
        lines: int = 2000,
    ) -> Attempt:
        sessions: list[tuple[Session, dt.datetime]] = []

        def commit(session: Session) -> bool:
            sessions.append((session, dt.datetime.now(dt.UTC)))
            return dot

        outcome = transport.send(SENDER, f"{recipient}@council.test", letter(name, lines), commit)
        assert isinstance(outcome, Accepted) is dot
        (session, at), *_ = sessions
        return self.note(name, recipient, session.local_port, at, taken=dot)

    def note(
        self, name: str, recipient: str, port: int, at: dt.datetime, *, taken: bool
    ) -> Attempt:
        attempt = Attempt(
            local_host="127.0.0.1",
            local_port=port,
            intent_at=at,
            message_id=f"<{name}@ombudsman.test>",
            recipient=f"{recipient}@council.test",
        )
        self.attempts.append((attempt, taken))
        return attempt

    def played(self) -> list[Played]:
        took = {(each.message_id, each.recipient) for each, taken in self.attempts if taken}
        return [
            Played(
                attempt=each,
                taken=taken,
                delivered=(each.message_id, each.recipient) in took,
            )
            for each, taken in self.attempts
        ]


def play(postfix: Postfix) -> list[Played]:
    """Everything that can happen to an attempt, with dots and without."""
    stage = Stage()
    plain = Relay(host=postfix.host, port=postfix.port)
    with Transport(plain) as transport:
        stage.send(transport, "alone", "chief")
    with Transport(plain) as transport:
        stage.send(transport, "cut", "chief", dot=False)
    with Transport(plain) as transport:
        stage.send(transport, "tiny-cut", "chief", dot=False, lines=1)
    with Transport(plain) as transport:
        stage.send(transport, "first", "chief")
        transport.send(SENDER, "blocked@council.test", letter("refused"), lambda _: True)
        stage.send(transport, "second", "link")
        stage.send(transport, "third", "other", dot=False)
    with Transport(plain) as transport:  # one message to two, the second cut and sent again
        stage.send(transport, "both", "chief")
        stage.send(transport, "both", "link", dot=False)
    with Transport(plain) as transport:
        stage.send(transport, "both", "link")
    with Transport(plain) as transport:
        stage.send(transport, "both-taken", "chief")
        stage.send(transport, "both-taken", "link")
    with Transport(Relay(host=postfix.host, port=postfix.late_port)) as transport:
        stage.send(transport, "returned", "nobody")
        stage.send(transport, "waits", "slow")
    client = smtplib.SMTP(postfix.host, postfix.port)  # the dot, and gone before the answer
    client.ehlo("letters.test")
    client.mail(SENDER)
    client.rcpt("chief@council.test")
    client.docmd("DATA")
    assert client.sock is not None
    stage.note("lost", "chief", client.sock.getsockname()[1], dt.datetime.now(dt.UTC), taken=True)
    client.sock.sendall(letter("lost") + b".\r\n")
    client.close()
    encrypted = Relay(
        host=postfix.host,
        port=postfix.tls_port,
        security="starttls",
        ca_file=str(postfix.authority),
    )
    with Transport(encrypted) as transport:
        stage.send(transport, "encrypted", "chief")
        stage.send(transport, "encrypted-cut", "link", dot=False)
    # The relay writes of what was cut when it gets to it.
    for name in ("cut", "tiny-cut", "third", "lost", "encrypted-cut"):
        postfix.await_logged(f"message-id=<{name}@")
    postfix.await_logged("message-id=<both@", 3)
    postfix.settle()
    return stage.played()


@pytest.fixture(scope="module")
def postfix() -> Iterator[Postfix]:
    with running_postfix() as running:
        yield running


def recorded() -> list[Played]:
    """The attempts that the recorded log is about."""
    read = json.loads((DATA / "attempts.json").read_text("utf-8"))
    took = {(each["message_id"], each["recipient"]) for each in read if each["truth"] == "taken"}
    return [
        Played(
            attempt=Attempt(
                local_host=each["local_host"],
                local_port=each["local_port"],
                intent_at=dt.datetime.fromisoformat(each["intent_at"]),
                message_id=each["message_id"],
                recipient=each["recipient"],
            ),
            taken=each["truth"] == "taken",
            delivered=(each["message_id"], each["recipient"]) in took,
        )
        for each in read
    ]


PLAYED = recorded()
ONCE = [each for each in PLAYED if each.taken == each.delivered]
CUT = next(each.attempt for each in PLAYED if each.attempt.message_id.startswith("<cut@"))
ALONE = next(each.attempt for each in PLAYED if each.attempt.message_id.startswith("<alone@"))


def lines() -> list[str]:
    return (DATA / "mail.log").read_text("utf-8").splitlines(keepends=True)


def short(whole: list[str]) -> list[str]:
    """The same log with the queue file's inode for a name, which is had again at once."""
    names = re.compile(r"4jYB7n\w+")
    ends = {name: number for number, line in enumerate(whole) for name in names.findall(line)}
    free, held, text = ["A1B2C3", "A1B2C2", "A1B2C1", "A1B2C0"], dict[str, str](), []
    for number, line in enumerate(whole):
        for name in names.findall(line):
            if name not in held:
                held[name] = free.pop()
            line = line.replace(name, held[name])  # noqa: PLW2901
        text.append(line)
        free += [held.pop(name) for name in list(held) if ends[name] == number]
    return text


def write(path: Path, text: str | bytes, at: dt.datetime = PLAYED[-1].attempt.intent_at) -> Path:
    """A log that was last written at some moment; without a year in it that moment counts."""
    octets = text.encode() if isinstance(text, str) else text
    path.write_bytes(gzip.compress(octets) if path.suffix == ".gz" else octets)
    os.utime(path, (at.timestamp(), at.timestamp()))
    return path


def judged(path: Path, played: Played) -> bool | None:
    found = RelayLog(path, zone=dt.UTC).evidence(played.attempt)
    return {Taken: True, Absent: False, Unknown: None}[type(found)]


def judged_all(path: Path) -> list[bool | None]:
    found, _ = RelayLog(path, zone=dt.UTC).all_evidence([each.attempt for each in PLAYED])
    return [{Taken: True, Absent: False, Unknown: None}[type(each)] for each in found]


def named(played: Played) -> str:
    return f"{played.attempt.message_id}-{played.attempt.recipient}".replace("@", "-at-")


# ---- a real one


def test_a_real_relay_says_what_it_took_and_what_not(postfix: Postfix) -> None:
    log = RelayLog(postfix.log, zone=dt.UTC)
    played = play(postfix)
    found = [log.evidence(each.attempt) for each in played]
    assert [type(each) for each in found] == [
        Taken if each.delivered else Absent for each in played
    ]
    for copies, evidence in ((1, "alone"), (0, "cut"), (1, "lost")):
        wanted = f"Message-ID: <{evidence}@".encode()
        got = [each for each in postfix.copies("chief@council.test") if wanted in each]
        assert len(got) == copies


def test_a_killed_sender_is_told_from_one_that_was_heard(postfix: Postfix) -> None:
    program = f"""
import os, signal
from pipeline.transport import Relay, Transport
from tests.integration.test_relaylog import SENDER, letter
def commit(session):
    print(session.local_port, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
    return True
with Transport(Relay(host={postfix.host!r}, port={postfix.port})) as transport:
    transport.send(SENDER, "chief@council.test", letter("killed"), commit)
"""
    intent = dt.datetime.now(dt.UTC)
    killed = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert killed.returncode == -9
    postfix.await_logged("message-id=<killed@")
    postfix.settle()
    attempt = Attempt(
        local_host="127.0.0.1",
        local_port=int(killed.stdout),
        intent_at=intent,
        message_id="<killed@ombudsman.test>",
        recipient="chief@council.test",
    )
    assert isinstance(RelayLog(postfix.log, zone=dt.UTC).evidence(attempt), Absent)


def test_while_a_session_goes_on_nothing_is_known(postfix: Postfix) -> None:
    log = RelayLog(postfix.log, zone=dt.UTC)
    found: list[Evidence] = []
    attempts: list[Attempt] = []

    def commit(session: Session) -> bool:
        attempts.append(
            Attempt(
                local_host=session.local_host,
                local_port=session.local_port,
                intent_at=dt.datetime.now(dt.UTC),
                message_id="<open@ombudsman.test>",
                recipient="chief@council.test",
            )
        )
        postfix.await_logged("message-id=<open@")
        found.append(log.evidence(attempts[0]))
        return False

    with Transport(Relay(host=postfix.host, port=postfix.port)) as transport:
        transport.send(SENDER, "chief@council.test", letter("open"), commit)
    assert isinstance(found[0], Unknown)
    assert "has not ended" in found[0].reason
    postfix.settle()
    assert isinstance(log.evidence(attempts[0]), Absent)


def test_what_becomes_of_a_message_afterwards(postfix: Postfix) -> None:
    log = RelayLog(postfix.log, zone=dt.UTC)
    since = dt.datetime.now(dt.UTC)
    queue_ids = {}
    with Transport(Relay(host=postfix.host, port=postfix.late_port)) as transport:
        for name in ("chief", "nobody", "slow"):
            outcome = transport.send(
                SENDER, f"{name}@council.test", letter(f"fate-{name}"), lambda _: True
            )
            assert isinstance(outcome, Accepted)
            assert outcome.queue_id
            queue_ids[name] = outcome.queue_id
    postfix.settle()
    found, position = log.fates(queue_ids.values(), since)
    assert {(each.queue_id, each.recipient, each.status, each.dsn) for each in found} == {
        (queue_ids["chief"], "chief@council.test", "sent", "2.0.0"),
        (queue_ids["nobody"], "nobody@council.test", "bounced", "5.1.1"),
        (queue_ids["slow"], "slow@council.test", "deferred", "4.2.2"),
    }
    assert {each.reply for each in found if each.status == "deferred"} == {"The mailbox is busy"}
    assert log.fates(queue_ids.values(), since, position) == ([], position)


# ---- what was recorded, and what logs do to it


@pytest.mark.parametrize("played", PLAYED, ids=named)
def test_the_recorded_log_says_what_was_taken(played: Played, tmp_path: Path) -> None:
    assert judged(write(tmp_path / "mail.log", "".join(lines())), played) is played.delivered


def test_the_evidence_is_the_line_that_says_so(tmp_path: Path) -> None:
    log = RelayLog(write(tmp_path / "mail.log", "".join(lines())), zone=dt.UTC)
    taken, absent = log.evidence(ALONE), log.evidence(CUT)
    assert isinstance(taken, Taken)
    assert taken.queue_id in taken.line
    assert taken.line.endswith("(queue active)")
    assert isinstance(absent, Absent)
    assert f"[127.0.0.1]:{CUT.local_port} " in absent.line
    assert "data=0/1" in absent.line


@pytest.mark.parametrize("names", ["long", "short"])
def test_no_missing_line_makes_a_wrong_answer(names: str, tmp_path: Path) -> None:
    whole = lines() if names == "long" else short(lines())
    unsure = set[int]()
    for gone in range(len(whole)):
        log = write(tmp_path / "mail.log", "".join(whole[:gone] + whole[gone + 1 :]))
        for number, (found, played) in enumerate(zip(judged_all(log), PLAYED, strict=True)):
            assert found in {None, played.delivered, played.taken}, (named(played), whole[gone])
            if found is None:
                unsure.add(number)
    assert len(unsure) == len(PLAYED)  # some line must have mattered to each


def test_a_log_that_ends_or_begins_anywhere_makes_no_wrong_answer(tmp_path: Path) -> None:
    whole = "".join(lines())
    for cut in range(0, len(whole), 97):
        for part in (whole[:cut], whole[cut:]):
            log = write(tmp_path / "mail.log", part)
            for found, played in zip(judged_all(log), PLAYED, strict=True):
                assert found in {None, played.delivered, played.taken}, (named(played), cut)


def iso(line: str, zone: str = "+00:00", hours: int = 0) -> str:
    match = re.match(r"Nov 23 (\d\d)(:\d\d:\d\d) ", line)
    assert match is not None
    fraction = ".900000" if zone == "Z" else ""
    return f"2026-11-23T{int(match[1]) + hours:02}{match[2]}{fraction}{zone} {line[match.end() :]}"


@pytest.mark.parametrize(
    ("zone", "hours"), [("+00:00", 0), ("Z", 0), ("+02:00", 2), ("-0500", -5), ("", 0)]
)
@pytest.mark.parametrize("played", ONCE[:4], ids=named)
def test_iso_times_in_any_zone(played: Played, zone: str, hours: int, tmp_path: Path) -> None:
    text = "".join(iso(line, zone, hours) for line in lines())
    assert judged(write(tmp_path / "mail.log", text), played) is played.delivered


@pytest.mark.parametrize("written", ["2026-11-23", "2026-12-31", "2027-01-01", "2027-11-21"])
def test_times_without_a_year_are_of_the_year_before_the_log_was_last_written(
    written: str, tmp_path: Path
) -> None:
    at = dt.datetime.fromisoformat(f"{written}T20:00:00+00:00")
    log = RelayLog(write(tmp_path / "mail.log", "".join(lines()), at), zone=dt.UTC)
    assert isinstance(log.evidence(CUT), Absent)
    year_later = replace(CUT, intent_at=CUT.intent_at.replace(year=2027))
    assert isinstance(log.evidence(year_later), Unknown)


def test_the_hour_that_comes_twice_is_either_of_the_two(tmp_path: Path) -> None:
    text = "".join(lines()).replace("Nov 23 16:23", "Oct 25 01:23")
    path = write(tmp_path / "mail.log", text, dt.datetime(2026, 10, 26, tzinfo=dt.UTC))
    log = RelayLog(path, zone=ZoneInfo("Europe/London"))
    for hour in (0, 1):
        attempt = replace(CUT, intent_at=CUT.intent_at.replace(month=10, day=25, hour=hour))
        assert isinstance(log.evidence(attempt), Absent)
    attempt = replace(CUT, intent_at=CUT.intent_at.replace(month=10, day=25, hour=2))
    assert isinstance(log.evidence(attempt), Unknown)


@pytest.mark.parametrize("minutes", [-1, 1])
def test_a_session_at_another_time_proves_nothing(minutes: int, tmp_path: Path) -> None:
    path = write(tmp_path / "mail.log", "".join(lines()))
    attempt = replace(CUT, intent_at=CUT.intent_at + dt.timedelta(minutes=minutes))
    found = RelayLog(path, zone=dt.UTC).evidence(attempt)
    assert isinstance(found, Unknown)
    assert f"port {CUT.local_port}" in found.reason


def test_another_clients_session_proves_nothing(tmp_path: Path) -> None:
    log = RelayLog(write(tmp_path / "mail.log", "".join(lines())), zone=dt.UTC)
    for attempt in (
        replace(CUT, local_host="192.0.2.1"),
        replace(CUT, local_host="unknown"),
        replace(CUT, local_port=CUT.local_port + 1),
        replace(CUT, message_id="<another@ombudsman.test>"),
        replace(ALONE, recipient="other@council.test"),
    ):
        assert isinstance(log.evidence(attempt), Unknown)
    mapped = replace(CUT, local_host="::ffff:127.0.0.1")
    assert isinstance(log.evidence(mapped), Absent)


def test_a_port_that_is_used_again_is_not_mistaken(tmp_path: Path) -> None:
    again = [line for line in lines() if "[7503]" in line or ":49750" in line]
    later = "".join(again).replace("<cut@", "<later@").replace("4jYB7n", "4jYB9n")
    text = "".join(lines()) + later.replace(" 16:23:17 ", " 16:29:17 ")
    log = RelayLog(write(tmp_path / "mail.log", text), zone=dt.UTC)
    assert isinstance(log.evidence(CUT), Absent)
    found = log.evidence(replace(CUT, intent_at=CUT.intent_at + dt.timedelta(minutes=6)))
    assert isinstance(found, Unknown)


def test_the_same_letter_twice_over_one_port_at_one_time_is_not_told_apart(tmp_path: Path) -> None:
    own = [line for line in lines() if ":49750" in line or "<cut@" in line]
    text = "".join(lines()) + "".join(own).replace("4jYB7n", "4jYB9n").replace("[7503]", "[7599]")
    found = RelayLog(write(tmp_path / "mail.log", text), zone=dt.UTC).evidence(CUT)
    assert isinstance(found, Unknown)
    assert "more than one session" in found.reason


def test_cleanup_alone_is_no_acceptance(tmp_path: Path) -> None:
    text = "".join(line for line in lines() if "qmgr[" not in line)
    found = RelayLog(write(tmp_path / "mail.log", text), zone=dt.UTC).evidence(ALONE)
    assert isinstance(found, Unknown)
    assert "queue manager" in found.reason


def test_a_count_is_no_absence_while_the_dot_may_have_been_heard(tmp_path: Path) -> None:
    """What Postfix 3.7 logs if a sender breaks off twelve seconds after its dot, and it takes it.

    It does not count what it could tell nobody; and the queue manager may say so later.
    """
    smtpd, cleanup = "Nov 23 12:00:00 relay postfix/smtpd[7]: ", "relay postfix/cleanup[8]: "
    counted = (
        f"{smtpd}connect from localhost[127.0.0.1]:53110\n"
        f"{smtpd}4jYGpD57: client=localhost[127.0.0.1]:53110\n"
        f"Nov 23 12:00:13 {cleanup}4jYGpD57: message-id=<late@ombudsman.test>\n"
    )
    ended = (
        "Nov 23 12:00:13 relay postfix/smtpd[7]: disconnect from localhost[127.0.0.1]:53110 "
        "ehlo=1 mail=1 rcpt=1 data=0/1 commands=3/4\n"
    )
    active = (
        "Nov 23 12:00:15 relay postfix/qmgr[9]: 4jYGpD57: from=<letters@ombudsman.test>, "
        "size=299, nrcpt=1 (queue active)\n"
    )
    unheard = (
        "Nov 23 12:00:13 relay postfix/smtpd[7]: lost connection after DATA (299 bytes) from "
        "localhost[127.0.0.1]:53110\n"
    )
    attempt = replace(ALONE, local_port=53110, intent_at=NOON, message_id="<late@ombudsman.test>")
    for text, kind in (
        (counted + ended, Unknown),
        (counted + ended + active, Taken),
        (counted + unheard + ended, Absent),
        (counted + unheard.replace(":53110", ":53111") + ended, Unknown),
    ):
        log = RelayLog(write(tmp_path / "mail.log", text, NOON), zone=dt.UTC)
        assert isinstance(log.evidence(attempt), kind), text


def test_a_relay_that_names_no_ports_still_proves_what_it_took(tmp_path: Path) -> None:
    text = re.sub(r"(\[127\.0\.0\.1\]):\d+", r"\1", "".join(lines()))
    log = RelayLog(write(tmp_path / "mail.log", text), zone=dt.UTC)
    assert isinstance(log.evidence(ALONE), Taken)
    found = log.evidence(CUT)
    assert isinstance(found, Unknown)
    assert "smtpd_client_port_logging" in found.reason


def test_short_queue_ids_are_used_again(tmp_path: Path) -> None:
    path = write(tmp_path / "mail.log", "".join(short(lines())))
    assert [judged(path, each) for each in PLAYED] == [each.delivered for each in PLAYED]


@pytest.mark.parametrize("names", [("mail.log.1",), ("mail.log.2.gz", "mail.log.1")])
def test_rotated_logs_are_read_with_it(names: tuple[str, ...], tmp_path: Path) -> None:
    whole = lines()
    size = len(whole) // (len(names) + 1)
    for number, name in enumerate(names):
        write(tmp_path / name, "".join(whole[number * size : (number + 1) * size]))
    path = write(tmp_path / "mail.log", "".join(whole[len(names) * size :]))
    assert [judged(path, each) for each in PLAYED] == [each.delivered for each in PLAYED]


def test_logs_rotated_by_date_and_long_ago(tmp_path: Path) -> None:
    whole = lines()
    write(tmp_path / "mail.log-20261122.gz", b"not gzip at all", NOON - dt.timedelta(days=30))
    write(tmp_path / "mail.log-20261123.gz", "".join(whole[:40]))
    path = write(tmp_path / "mail.log", "".join(whole[40:]))
    assert [judged(path, each) for each in PLAYED] == [each.delivered for each in PLAYED]


def test_a_line_cut_by_rotation_is_no_line(tmp_path: Path) -> None:
    text = "".join(lines())
    for match in re.finditer(r"data=\d|queue active", text):
        write(tmp_path / "mail.log.1", text[: match.end()])
        path = write(tmp_path / "mail.log", text[match.end() :])
        for played in ONCE:
            assert judged(path, played) in {None, played.taken}


def test_a_damaged_part_leaves_absence_unproved(tmp_path: Path) -> None:
    damaged = gzip.compress("".join(lines()[:5]).encode())[:-20]
    (tmp_path / "mail.log.1.gz").write_bytes(damaged)
    path = write(tmp_path / "mail.log", "".join(lines()[5:]))
    log = RelayLog(path, zone=dt.UTC)
    (found,), trouble = log.all_evidence([CUT])
    assert isinstance(found, Unknown)
    assert f"{path}.1.gz cannot be read" in found.reason
    assert isinstance(trouble, Unavailable)
    assert f"{path}.1.gz cannot be read" in str(trouble)


def test_what_is_no_log_is_said(tmp_path: Path) -> None:
    missing = RelayLog(tmp_path / "mail.log").evidence(CUT)
    assert isinstance(missing, Unknown)
    assert f"There is no relay's log {tmp_path}/mail.log" in missing.reason
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "fifo"):
        found = RelayLog(path).evidence(CUT)
        assert isinstance(found, Unknown)
        assert "cannot be read: it is not a file" in found.reason
    with pytest.raises(Unavailable, match="There is no relay's log"):
        RelayLog(tmp_path / "mail.log").fates(["4jYB7n3BSvzKmKQ"], NOON)
    junk = write(tmp_path / "junk.log", os.urandom(300_000) + b"\n")
    assert isinstance(RelayLog(junk).evidence(CUT), Unknown)
    empty = write(tmp_path / "empty.log", "")
    assert isinstance(RelayLog(empty).evidence(CUT), Unknown)


def test_a_long_log_is_entered_near_the_intent(tmp_path: Path) -> None:
    began = dt.datetime(2026, 11, 20, tzinfo=dt.UTC)
    filler = "relay postfix/anvil[1]: statistics: max connection rate 1/60s for (smtp:127.0.0.1)\n"
    before = [
        f"{began + dt.timedelta(seconds=4 * number):%b %d %H:%M:%S} {filler}"
        for number in range(80_000)
    ]
    log = Counting(write(tmp_path / "mail.log", "".join(before + lines())), zone=dt.UTC)
    assert isinstance(log.evidence(CUT), Absent)
    assert 1800 < log.heard < 5000  # two hours of it, and what halving overshoots


class Counting(RelayLog):
    """Counts the lines that attempts are looked up in, and how often the log is opened for them."""

    heard = opened = 0

    def _hear(self, line: bytes, file: Any, trails: Any) -> None:
        self.heard += 1
        super()._hear(line, file, trails)

    def _files(self, stack: ExitStack, since: dt.datetime | None) -> list[Any]:
        self.opened += 1
        return super()._files(stack, since)


def quiet(until: dt.datetime, *, days: int, bytes_a_day: int) -> str:
    """What a relay logs in days on which nothing concerns anybody, up to a moment."""
    line = "relay postfix/anvil[1]: statistics: max connection rate 1/60s for (smtp:127.0.0.1)\n"
    number = days * bytes_a_day // (len(line) + 16)
    step = dt.timedelta(days=days) / number
    return "".join(
        f"{until - (number - each) * step:%b %d %H:%M:%S} {line}" for each in range(number)
    )


@pytest.mark.parametrize("name", ["mail.log.1", "mail.log.2.gz"])
def test_all_attempts_are_looked_up_in_one_reading(name: str, tmp_path: Path) -> None:
    whole = lines()
    write(tmp_path / name, "".join(whole[:50]))
    path = write(tmp_path / "mail.log", "".join(whole[50:]))
    log = Counting(path, zone=dt.UTC)
    asked = [each.attempt for each in PLAYED]
    together, position = log.all_evidence(asked)
    assert log.opened == 1
    assert log.heard == len(whole)
    assert together == [RelayLog(path, zone=dt.UTC).evidence(each) for each in asked]
    assert {type(each) for each in together} == {Taken, Absent}
    assert isinstance(position, Position)
    assert position.offset == path.stat().st_size
    assert log.all_evidence([], position) == ([], position)
    assert log.opened == 1


def test_an_old_doubt_has_its_own_day_read_again_and_what_is_new(tmp_path: Path) -> None:
    later = CUT.intent_at + dt.timedelta(days=9)
    before = quiet(CUT.intent_at - dt.timedelta(hours=1), days=9, bytes_a_day=150_000)
    between = quiet(later, days=8, bytes_a_day=150_000)
    silent = "".join(line for line in lines() if "disconnect from" not in line)
    path = write(tmp_path / "mail.log", before + silent + between, later)
    log = Counting(path, zone=dt.UTC)
    (found,), position = log.all_evidence([CUT])
    assert isinstance(position, Position)
    assert isinstance(found, Unknown)
    everything, log.heard = log.heard, 0
    assert everything > 10_000
    (found,), again = log.all_evidence([CUT], position)
    assert isinstance(found, Unknown)
    assert again == position
    assert 0 < log.heard < everything / 4  # a day, and what halving overshoots
    # what is logged at last, days after, is heard: of a message whose name nobody else can have
    stamp = f"{later:%b %d %H:%M:%S}"
    name = re.search(r"(4jYB7n\w+): message-id=<cut@", silent)
    assert name is not None
    text = f" relay postfix/qmgr[9]: {name[1]}: from=<{SENDER}>, size=299, nrcpt=1 (queue active)\n"
    told = (
        f"{stamp}{text}{stamp} relay postfix/virtual[9]: {name[1]}: to=<{CUT.recipient}>, "
        "relay=virtual, delay=1, delays=1/0/0/0, dsn=2.0.0, status=sent (delivered to maildir)\n"
    )
    write(path, before + silent + between + told, later)
    (found,), _ = log.all_evidence([CUT], position)
    assert isinstance(found, Taken)
    # a short name may be another message's by then
    short_name = (before + silent + between + told).replace(name[1], "A1B2C3")
    write(path, short_name, later)
    assert isinstance(log.evidence(CUT), Taken)
    shorter = len((before + silent + between).replace(name[1], "A1B2C3").encode())
    place = RelayLog(path, zone=dt.UTC).all_evidence([CUT])[1]
    assert isinstance(place, Position)
    (found,), _ = log.all_evidence([CUT], replace(place, offset=shorter))
    assert isinstance(found, Unknown)


def test_a_position_in_a_file_that_is_gone_is_none(tmp_path: Path) -> None:
    path = write(tmp_path / "mail.log", "".join(lines()))
    log = Counting(path, zone=dt.UTC)
    (found,), _ = log.all_evidence([CUT], Position(head="0" * 15, offset=7))
    assert isinstance(found, Absent)
    assert log.heard == len(lines())
    queue_ids = set(re.findall(r"(4jYB7n\w+): to=", "".join(lines())))
    since = PLAYED[0].attempt.intent_at
    gone = log.fates(queue_ids, since, Position(head="0" * 15, offset=7))
    assert gone == log.fates(queue_ids, since)


def test_who_is_asked_about_for_the_first_time_is_looked_for_further_back(tmp_path: Path) -> None:
    path = write(tmp_path / "mail.log", "".join(lines()))
    log = RelayLog(path, zone=dt.UTC)
    queue_ids = set(re.findall(r"(4jYB7n\w+): to=", "".join(lines())))
    since = PLAYED[0].attempt.intent_at
    everything, position = log.fates(queue_ids, since)
    assert log.fates(queue_ids, since, position) == ([], position)
    assert log.fates(queue_ids, since, position, anew=since) == (everything, position)
    middle = replace(position, offset=position.offset // 2)
    assert 0 < len(log.fates(queue_ids, since, middle)[0]) < len(everything)


def test_a_long_log_is_followed_line_by_line(tmp_path: Path) -> None:
    text = quiet(CUT.intent_at - dt.timedelta(minutes=1), days=1, bytes_a_day=4_000_000)
    path = write(tmp_path / "mail.log", text + "".join(lines()))
    log = RelayLog(path, zone=dt.UTC)
    tracemalloc.start()
    try:
        log.follow(["4jYB7n"], CUT.intent_at - dt.timedelta(days=2), print)
        found = log.evidence(CUT)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert isinstance(found, Absent)
    assert most < 500_000


@pytest.mark.parametrize(
    "text",
    [
        "authority_code,name\n" * 400,
        "Nov 23 12:00:00 relay systemd[1]: Started Postfix.\n",
        b"\x00\x01\x02\n",
    ],
)
def test_a_file_without_a_mail_servers_line_is_no_relays_log(
    text: str | bytes, tmp_path: Path
) -> None:
    path = write(tmp_path / "figures.csv", text)
    with pytest.raises(Misconfigured, match="is not the log of a mail server") as error:
        RelayLog(path).look()
    assert str(path) in str(error.value)
    assert "reports.relay_log" in str(error.value)


def test_a_log_is_known_by_one_line_wherever_it_stands(tmp_path: Path) -> None:
    path = write(tmp_path / "mail.log", "")
    assert not RelayLog(path).look()
    assert RelayLog(write(path, lines()[0])).look()
    other = "Nov 23 12:00:00 relay systemd[1]: Started something.\n" * 21_000
    assert RelayLog(write(path, other + lines()[0])).look()
    write(path, "Nov 23 12:00:00 relay rsyslogd: rsyslogd was HUPed\n")
    write(tmp_path / "mail.log.1.gz", lines()[0])
    assert RelayLog(path).look()
    with pytest.raises(Unavailable, match="There is no relay's log"):
        RelayLog(tmp_path / "no.log").look()


def test_fates_go_on_where_they_stopped_also_through_a_rotation(tmp_path: Path) -> None:
    whole = lines()
    queue_ids = set(re.findall(r"(4jYB7n\w+): to=", "".join(whole)))
    since = PLAYED[0].attempt.intent_at
    everything, _ = RelayLog(write(tmp_path / "whole.log", "".join(whole)), zone=dt.UTC).fates(
        queue_ids, since
    )
    assert len(everything) == sum(" status=" in line for line in whole)
    for cut in range(1, len(whole)):
        path = tmp_path / "mail.log"
        # The last line is still being written when it is read for the first time.
        write(path, "".join(whole[:cut]) + whole[cut][:30])
        log = RelayLog(path, zone=dt.UTC)
        first, position = log.fates(queue_ids, since)
        rotated = tmp_path / ("mail.log.1.gz" if cut % 2 else "mail.log.1")
        write(rotated, "".join(whole[: cut + 1]))
        write(path, "".join(whole[cut + 1 :]))
        second, _ = log.fates(queue_ids, since, position)
        assert first + second == everything
        rotated.unlink()


def test_fates_before_the_time_asked_about_are_somebody_elses(tmp_path: Path) -> None:
    log = RelayLog(write(tmp_path / "mail.log", "".join(lines())), zone=dt.UTC)
    queue_ids = set(re.findall(r"(4jYB7n\w+): to=", "".join(lines())))
    assert log.fates(queue_ids, NOON)[0] != []
    assert log.fates(queue_ids, NOON.replace(hour=17))[0] == []
    assert log.fates(["4jYB7"], NOON)[0] == []


@pytest.mark.parametrize(
    ("said", "fate"),
    [
        (
            "smtp[9]: QID: to=<chief@council.test>, orig_to=<office@council.test>, "
            "relay=mx.council.test[192.0.2.7]:25, delay=1.2, delays=0/0/1/0.2, dsn=2.0.0, "
            "status=sent (250 2.0.0 Ok (really): queued as 77)",
            ("office@council.test", "sent", "2.0.0", "250 2.0.0 Ok (really): queued as 77"),
        ),
        (
            'smtp[9]: QID: to=<"a, b>c"@council.test>, relay=none, delay=1, delays=0/0/1/0, '
            "dsn=4.4.1, status=deferred (connect to mx.council.test[192.0.2.7]:25: refused)",
            (
                '"a, b>c"@council.test',
                "deferred",
                "4.4.1",
                "connect to mx.council.test[192.0.2.7]:25: refused",
            ),
        ),
        (
            "qmgr[9]: QID: from=<letters@ombudsman.test>, status=expired, returned to sender",
            ("", "expired", "", ""),
        ),
        (
            "qmgr[9]: QID: from=<letters@ombudsman.test>, status=force-expired, returned to sender",
            ("", "expired", "", ""),
        ),
    ],
)
def test_every_kind_of_fate(said: str, fate: tuple[str, ...], tmp_path: Path) -> None:
    text = f"Nov 23 16:30:00 relay postfix/{said.replace('QID', '4jYB')}\n"
    log = RelayLog(write(tmp_path / "mail.log", text), zone=dt.UTC)
    (found,) = log.fates(["4jYB"], NOON)[0]
    assert (found.recipient, found.status, found.dsn, found.reply) == fate
    assert found.at == dt.datetime(2026, 11, 23, 16, 30, tzinfo=dt.UTC)
