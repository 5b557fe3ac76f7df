"""The real mail servers of the tests: that they do what the tests lean on, and leave nothing."""

import signal
import smtplib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.delivery import Accepted, Deferred, Lost, NotTried, Outcome, Rejected
from pipeline.transport import Relay, Transport
from tests import servers
from tests.postfix import Postfix, running_postfix, running_sink

MESSAGE = b"From: letters@ombudsman.test\r\nMessage-ID: <%d@ombudsman.test>\r\n\r\nDear...\r\n"


@pytest.fixture(scope="module")
def postfix() -> Iterator[Postfix]:
    with running_postfix() as running:
        yield running


def sent(relay: Relay, recipient: str) -> Outcome:
    with Transport(relay) as transport:
        return transport.send("letters@ombudsman.test", recipient, MESSAGE % 1, lambda _: True)


def code(outcome: Outcome) -> int:
    assert isinstance(outcome, Accepted | Deferred | Rejected)
    return outcome.reply.code


@pytest.mark.parametrize(
    ("recipient", "at_once", "late"),
    [
        ("chief@council.test", 250, 250),
        ("grey@council.test", 450, 450),
        ("full@council.test", 452, 452),
        ("blocked@council.test", 550, 550),
        ("nobody@council.test", 550, 250),
        ("chief@elsewhere.test", 550, 250),
    ],
)
def test_one_port_refuses_what_the_other_takes(
    postfix: Postfix, recipient: str, at_once: int, late: int
) -> None:
    assert code(sent(Relay(host=postfix.host, port=postfix.port), recipient)) == at_once
    assert code(sent(Relay(host=postfix.host, port=postfix.late_port), recipient)) == late


def test_one_port_insists_on_encryption(postfix: Postfix) -> None:
    plain = sent(Relay(host=postfix.host, port=postfix.tls_port), "link@council.test")
    assert isinstance(plain, NotTried)
    assert "STARTTLS" in plain.reason
    encrypted = Relay(
        host=postfix.host,
        port=postfix.tls_port,
        security="starttls",
        ca_file=str(postfix.authority),
    )
    assert code(sent(encrypted, "link@council.test")) == 250


@pytest.mark.parametrize(
    ("recipient", "action", "status"),
    [
        ("other@council.test", "delivered", "2.0.0"),
        ("nobody@council.test", "failed", "5.1.1"),
        ("slow@council.test", "delayed", "4.2.2"),
        ("x@elsewhere.test", "failed", "5.4.4"),
    ],
)
def test_reports_come_back_as_asked_for(
    postfix: Postfix, recipient: str, action: str, status: str
) -> None:
    sender = f"bounces+{recipient.replace('@', '-')}@ombudsman.test"
    with smtplib.SMTP(postfix.host, postfix.late_port, local_hostname="letters.test") as client:
        client.ehlo()
        client.mail(sender, ["RET=HDRS", "ENVID=token"])
        client.rcpt(recipient, ["NOTIFY=SUCCESS,FAILURE,DELAY", f"ORCPT=rfc822;{recipient}"])
        client.data(MESSAGE % 2)
    postfix.await_copies(sender)
    postfix.settle()
    (report,) = postfix.reports(sender)
    assert report.get_content_type() == "multipart/report"
    said = next(part for part in report.walk() if part.get_content_subtype() == "delivery-status")
    message, about = said.iter_parts()
    assert message["Original-Envelope-Id"] == "token"
    assert (about["Action"], about["Status"]) == (action, status)
    assert about["Original-Recipient"] == f"rfc822;{recipient}"


def test_each_mailbox_has_its_copies(postfix: Postfix) -> None:
    before = len(postfix.copies("link@council.test"))
    relay = Relay(host=postfix.host, port=postfix.port)
    assert code(sent(relay, "link@council.test")) == 250
    assert code(sent(relay, "link+again@council.test")) == 250
    postfix.settle()
    assert len(postfix.copies("link@council.test")) == before + 2
    assert len(postfix.copies("link+again@council.test")) == 1


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        (["-q", "."], Lost),
        (["-Q", "."], Deferred),
        (["-r", "."], Deferred),
        (["-f", "."], Rejected),
        (["-q", "DATA"], NotTried),
        (["-N"], Accepted),
    ],
)
def test_the_sink_fails_where_it_is_told(options: list[str], kind: type[Outcome]) -> None:
    with running_sink(*options) as sink:
        assert isinstance(sent(Relay(host=sink.host, port=sink.port), "a@council.test"), kind)
        with smtplib.SMTP(sink.host, sink.port, local_hostname="letters.test") as client:
            client.ehlo()
            assert client.has_extn("dsn") is ("-N" not in options)
        taken = [each for each in sink.messages() if b"<1@ombudsman.test>" in each]
        assert len(taken) == (0 if "DATA" in options else 1)


@pytest.mark.parametrize("ending", ["killed", "failed"])
def test_nothing_is_left_of_a_server_whose_test_ended_badly(ending: str) -> None:
    servers.needed()
    program = """
import sys, time
from tests.postfix import running_postfix
with running_postfix() as postfix:
    print(postfix.place, postfix.port, flush=True)
    sys.stdin.readline()
    raise SystemExit(1)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as test:
        assert test.stdout is not None
        assert test.stdin is not None
        place, port = test.stdout.readline().split()
        assert servers.listening(int(port))
        assert _using(place)
        if ending == "killed":
            test.send_signal(signal.SIGKILL)
        else:
            test.stdin.write("\n")
            test.stdin.flush()
        test.wait()
    servers.await_that(
        "everything was stopped and removed",
        lambda: not Path(place).exists() and not _using(place) and not servers.listening(int(port)),
        lambda: str(_using(place)),
    )


def _using(place: str) -> list[str]:
    """The processes that work in a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            if place in command or str((process / "cwd").readlink()).startswith(place):
                found.append(command)
        except OSError:
            continue
    return found


def test_where_there_are_no_servers_it_is_said_and_in_ci_it_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(servers, "_SBIN", "")
    servers.lacking.cache_clear()
    try:
        assert servers.absent() == ["postfix", "dovecot-imapd"]
        monkeypatch.setenv("CI", "false")
        with pytest.raises(pytest.skip.Exception, match="NOT TESTED: Real mail servers cannot be"):
            servers.needed()
        monkeypatch.setenv("CI", "true")
        with pytest.raises(pytest.fail.Exception, match="apt-get install"):
            servers.needed()
    finally:
        servers.lacking.cache_clear()
