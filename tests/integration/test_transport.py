"""The transaction against real servers on loopback, most of them misbehaving at one exact point."""

import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.capture import CaptureServer
from pipeline.delivery import Accepted, Deferred, Lost, NotTried, Outcome, Rejected, Reply
from pipeline.errors import LetterFault, Misconfigured
from pipeline.transport import Offer, Phase, Relay, Session, Transport, look
from tests.relays import (
    DROP,
    HANG,
    PATIENCE,
    PLAIN_ANSWERS,
    TRICKLE,
    Certificates,
    WaywardRelay,
    make_certificates,
)

SENDER = "letters@ombudsman.example"
CHIEF = "chief@stevenage.example"
MESSAGE = b"Subject: x\r\n\r\n.\r\n..\r\n.dot\r\nDear Mr Partridge\r\n" + b"y" * 998 + b"\r\n"


def relay(port: int, **changes: Any) -> Relay:
    known: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": port,
        "timeout": PATIENCE,
        "command_timeout": PATIENCE,
        "connect_timeout": PATIENCE,
    }
    return Relay(**{**known, **changes})


@dataclass
class Intent:
    """Stands for the ledger: notes that it was asked, and what it saw."""

    grants: bool = True
    seen: list[Session] = None  # type: ignore[assignment] # set below

    def __post_init__(self) -> None:
        self.seen = []

    def __call__(self, session: Session) -> bool:
        self.seen.append(session)
        return self.grants


def send(server: WaywardRelay, data: bytes = MESSAGE, **changes: Any) -> tuple[Outcome, Intent]:
    intent = Intent()
    with Transport(relay(server.port, **changes)) as transport:
        return transport.send(SENDER, CHIEF, data, intent), intent


def stuffed(data: bytes) -> bytes:
    return b"".join(
        b"." + line if line.startswith(b".") else line for line in data.splitlines(keepends=True)
    )


# ------------------------------------------------------------------------------- the plain course


def test_a_message_is_handed_over_and_its_queue_id_read() -> None:
    with WaywardRelay() as server:
        outcome, intent = send(server)
        assert outcome == Accepted(
            reply=Reply(code=250, text="2.0.0 Ok: queued as 4XyZ12abc"), queue_id="4XyZ12abc"
        )
        server.wait_for_client_gone()
        assert server.messages == [stuffed(MESSAGE)]
        assert server.verbs == ["EHLO", "MAIL", "RCPT", "DATA", "QUIT"]
        assert server.commands[1:3] == [
            f"MAIL FROM:<{SENDER}> SIZE={len(MESSAGE)}",
            f"RCPT TO:<{CHIEF}>",
        ]
    assert len(intent.seen) == 1


def test_the_whole_body_is_with_the_relay_before_the_intent_and_the_dot_is_not() -> None:
    with WaywardRelay() as server, Transport(relay(server.port)) as transport:
        seen: list[bytes] = []
        sessions: list[Session] = []

        def intent(session: Session) -> bool:
            seen.append(server.wait_for_body(stuffed(MESSAGE)))
            assert server.messages == []
            sessions.append(session)
            return True

        outcome = transport.send(SENDER, CHIEF, MESSAGE, intent)
        assert isinstance(outcome, Accepted)
        assert seen == [stuffed(MESSAGE)]
        (session,) = sessions
        assert session.phase is Phase.BODY
        assert (session.host, session.port) == ("127.0.0.1", server.port)
        assert session.local_port not in (0, server.port)
        assert session.greeting == "220 relay.test ESMTP"
        assert "SIZE 10000000" in session.ehlo
        assert session.tls is None


def test_one_connection_is_kept_for_many_messages() -> None:
    with WaywardRelay() as server, Transport(relay(server.port)) as transport:
        for number in range(5):
            data = MESSAGE + b"%d\r\n" % number
            assert isinstance(transport.send(SENDER, CHIEF, data, Intent()), Accepted)
        assert server.connections == 1
        assert server.messages == [stuffed(MESSAGE + b"%d\r\n" % each) for each in range(5)]


def test_a_refused_recipient_does_not_cost_the_connection() -> None:
    with WaywardRelay({"RCPT": b"550 5.1.1 unknown\r\n"}) as server:
        with Transport(relay(server.port)) as transport:
            first = transport.send(SENDER, CHIEF, MESSAGE, Intent())
            server.answers["RCPT"] = PLAIN_ANSWERS["RCPT"]
            second = transport.send(SENDER, CHIEF, MESSAGE, Intent())
        assert isinstance(first, Rejected)
        assert isinstance(second, Accepted)
        assert server.connections == 1


def test_a_connection_closed_between_two_messages_is_opened_again_without_doubt() -> None:
    with WaywardRelay(hang_up_after=1) as server, Transport(relay(server.port)) as transport:
        for number in range(1, 4):
            assert isinstance(transport.send(SENDER, CHIEF, MESSAGE, Intent()), Accepted)
            server.wait_for_client_gone(number)
        assert server.connections == 3
        assert len(server.messages) == 3


def test_a_parting_421_between_two_messages_is_no_answer_to_the_next() -> None:
    answers = {"DOT": PLAIN_ANSWERS["DOT"] + b"421 4.4.2 idle too long\r\n"}
    with WaywardRelay(answers, hang_up_after=1) as server:
        with Transport(relay(server.port)) as transport:
            for _ in range(2):
                assert isinstance(transport.send(SENDER, CHIEF, MESSAGE, Intent()), Accepted)
        assert server.connections == 2


def test_a_transport_may_be_used_again_after_closing() -> None:
    with WaywardRelay() as server:
        transport = Transport(relay(server.port))
        for _ in range(2):
            assert isinstance(transport.send(SENDER, CHIEF, MESSAGE, Intent()), Accepted)
            transport.close()
        assert server.connections == 2


def test_an_international_domain_goes_to_the_relay_in_plain_letters() -> None:
    with WaywardRelay() as server, Transport(relay(server.port)) as transport:
        transport.send(SENDER, "prif@cyngor-môn.example", MESSAGE, Intent())
        assert "RCPT TO:<prif@xn--cyngor-mn-n7a.example>" in server.commands


def test_a_server_without_ehlo_is_greeted_the_old_way() -> None:
    with WaywardRelay({"EHLO": b"502 5.5.1 what?\r\n"}) as server:
        outcome, _ = send(server)
        assert isinstance(outcome, Accepted)
        assert f"MAIL FROM:<{SENDER}>" in server.commands


@pytest.mark.parametrize(
    ("said", "queue_id"),
    [
        ("2.0.0 Ok: queued as 4bQ0Jx1Z2yz9", "4bQ0Jx1Z2yz9"),
        ("OK id=1pABcd-000123-Xy", "1pABcd-000123-Xy"),
        ("2.6.0 <a@b.test> [InternalId=9431, Hostname=x.test] Queued mail for delivery", "9431"),
        ("2.0.0 3AB1cDeF012345 Message accepted for delivery", "3AB1cDeF012345"),
        ("ok 1689000000 qp 12345", "12345"),
        ("thank you", None),
    ],
)
def test_queue_ids_of_various_relays(said: str, queue_id: str | None) -> None:
    with WaywardRelay({"DOT": f"250 {said}\r\n".encode()}) as server:
        outcome, _ = send(server)
    assert outcome == Accepted(reply=Reply(code=250, text=said), queue_id=queue_id)


# ----------------------------------------------------------------------- before the dot: no doubt


@pytest.mark.parametrize("point", ["MAIL", "RCPT", "DATA"])
def test_4xx_before_the_dot_is_deferred(point: str) -> None:
    with WaywardRelay({point: b"450-4.2.0 come\r\n450 4.2.0 back later\r\n"}) as server:
        outcome, intent = send(server)
        assert outcome == Deferred(reply=Reply(code=450, text="4.2.0 come 4.2.0 back later"))
        assert intent.seen == []
        assert server.messages == []


@pytest.mark.parametrize("point", ["RCPT", "DATA"])
def test_5xx_about_the_recipient_or_the_message_is_rejected(point: str) -> None:
    with WaywardRelay({point: b"550 5.1.1 no such user\r\n"}) as server:
        outcome, intent = send(server)
        assert outcome == Rejected(reply=Reply(code=550, text="5.1.1 no such user"))
        assert intent.seen == []
        assert server.messages == []


@pytest.mark.parametrize(
    ("point", "said"),
    [
        ("GREETING", b"421 4.3.2 not now\r\n"),
        ("GREETING", b"554 5.7.1 go away\r\n"),
        ("GREETING", b"HTTP/1.1 400 Bad Request\r\n"),
        ("GREETING", DROP),
        ("EHLO", b"421 4.3.2 not now\r\n"),
        ("EHLO", DROP),
        ("MAIL", b"421 4.7.0 too many messages\r\n"),
        ("MAIL", b"451 4.7.500 server busy, throttled\r\n"),
        ("MAIL", b"530 5.7.0 authentication required\r\n"),
        ("MAIL", b"553 5.7.1 sender address not owned by user\r\n"),
        ("RCPT", b"421 4.3.0 shutting down\r\n"),
        ("DATA", b"421 4.3.0 shutting down\r\n"),
        ("DATA", b"250 whatever\r\n"),
    ],
)
def test_what_concerns_every_letter_is_trouble(point: str, said: bytes) -> None:
    with WaywardRelay({point: said}) as server:
        outcome, intent = send(server)
        assert isinstance(outcome, NotTried)
        assert outcome.trouble
        assert intent.seen == []
        assert server.messages == []
        # whole sentences: which relay, what it said, what to do
        assert outcome.reason.startswith(f"The relay 127.0.0.1 port {server.port} ")
        assert said is DROP or said.decode().strip().removeprefix("HTTP/1.1") in outcome.reason
        assert outcome.reason.endswith("waits, and goes out when this is run again.")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            "553 5.7.1 not yours",
            f"refused the sender {SENDER} at MAIL FROM: 553 5.7.1 not yours. Let",
        ),
        (
            "530 5.7.0 who are you?",
            "wants a login at MAIL FROM: 530 5.7.0 who are you? Set smtp.us",
        ),
        ("451 4.7.5 busy", "takes nothing at present; it said at MAIL FROM: 451 4.7.5 busy. If it"),
    ],
)
def test_what_a_relay_says_of_our_sender_is_told_with_what_to_do(said: str, told: str) -> None:
    with WaywardRelay({"MAIL": f"{said}\r\n".encode()}) as server:
        outcome, _ = send(server)
    assert isinstance(outcome, NotTried)
    assert outcome.reason.startswith(f"The relay 127.0.0.1 port {server.port} {told}")


def test_a_sender_refused_for_the_message_s_size_is_the_message_s_own_affair() -> None:
    with WaywardRelay({"MAIL": b"552 5.3.4 too big\r\n"}) as server:
        outcome, _ = send(server)
        assert outcome == Rejected(reply=Reply(code=552, text="5.3.4 too big"))


def test_nobody_listening_is_trouble() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with Transport(relay(port)) as transport:
        outcome = transport.send(SENDER, CHIEF, MESSAGE, Intent())
    assert isinstance(outcome, NotTried)
    assert outcome.trouble
    assert outcome.reason.startswith(f"The relay 127.0.0.1 port {port} cannot be reached: ")
    assert "Check smtp.host and smtp.port" in outcome.reason
    assert outcome.reason.endswith("waits, and goes out when this is run again.")


def test_a_host_that_does_not_exist_is_trouble() -> None:
    with Transport(relay(25, host="no-such-relay.invalid")) as transport:
        outcome = transport.send(SENDER, CHIEF, MESSAGE, Intent())
    assert isinstance(outcome, NotTried)
    assert outcome.trouble


@pytest.mark.parametrize("point", ["MAIL", "RCPT", "DATA", "EARLY"])
@pytest.mark.parametrize("how", [DROP, b"gibberish\r\n", b"2x0 ok\r\n", b"250-x\r\n550 y\r\n"])
def test_breaking_off_before_the_dot_is_certainly_unsent(point: str, how: bytes) -> None:
    with WaywardRelay({point: how}) as server:
        with Transport(relay(server.port)) as transport:
            intent = Intent()
            # Large enough to be still on its way when the relay hangs up.
            outcome = transport.send(SENDER, CHIEF, MESSAGE * 5000, intent)
        assert isinstance(outcome, NotTried)
        assert not outcome.trouble
        assert intent.seen == []
        assert server.messages == []


def test_a_relay_that_answers_twice_is_left_before_its_answers_are_confused() -> None:
    with WaywardRelay({"RCPT": b"250 2.1.5 ok\r\n354 go on\r\n"}) as server:
        outcome, intent = send(server)
        assert isinstance(outcome, NotTried)
        assert intent.seen == []
        server.wait_for_client_gone()
        assert "DATA" not in server.commands


def test_a_relay_that_falls_silent_before_the_dot_is_left() -> None:
    with WaywardRelay({"RCPT": HANG}) as server:
        outcome, intent = send(server, command_timeout=0.3)
        assert isinstance(outcome, NotTried)
        assert "0.3 seconds" in outcome.reason
        assert intent.seen == []


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (b"552 5.3.4 enough\r\n", Rejected),
        (b"452 4.3.1 full\r\n", Deferred),
        (b"421 4.3.0 closing\r\n", NotTried),
        (b"250 2.0.0 Ok: queued as TOOEARLY\r\n", NotTried),
    ],
)
def test_what_the_relay_says_in_the_midst_of_the_body_is_no_answer_to_the_dot(
    said: bytes, kind: type[Outcome]
) -> None:
    with WaywardRelay({"EARLY": said}) as server:
        with Transport(relay(server.port)) as transport:
            intent = Intent()
            outcome = transport.send(SENDER, CHIEF, MESSAGE * 5000, intent)
        assert isinstance(outcome, kind)
        assert intent.seen == []
        server.wait_for_client_gone()
        assert server.messages == []


def test_without_the_intent_there_is_no_dot() -> None:
    with WaywardRelay() as server, Transport(relay(server.port)) as transport:
        outcome = transport.send(SENDER, CHIEF, MESSAGE, Intent(grants=False))
        assert isinstance(outcome, NotTried)
        assert not outcome.trouble
        server.wait_for_client_gone()
        assert server.messages == []
        assert "QUIT" not in server.commands
        # The next message is not harmed, and is the only one that arrives.
        assert isinstance(transport.send(SENDER, CHIEF, b"two\r\n", Intent()), Accepted)
        assert server.messages == [b"two\r\n"]


@pytest.mark.parametrize("error", [RuntimeError("the ledger is gone"), KeyboardInterrupt()])
def test_an_intent_that_fails_cuts_the_connection_and_is_passed_on(error: BaseException) -> None:
    def intent(_: Session) -> bool:
        raise error

    with WaywardRelay() as server, Transport(relay(server.port)) as transport:
        with pytest.raises(type(error)) as caught:
            transport.send(SENDER, CHIEF, MESSAGE, intent)
        assert caught.value is error
        server.wait_for_client_gone()
        assert server.messages == []


def test_too_large_a_message_is_not_begun() -> None:
    answers = {"EHLO": b"250-relay.test\r\n250 SIZE 1000\r\n"}
    with WaywardRelay(answers) as server:
        outcome, intent = send(server)
        assert isinstance(outcome, Rejected)
        assert outcome.reply.code == 552
        assert "1000" in outcome.reply.text
        assert intent.seen == []
        assert not [each for each in server.commands if each.startswith("MAIL")]


def test_a_size_of_nought_is_no_limit() -> None:
    with WaywardRelay({"EHLO": b"250-relay.test\r\n250 SIZE 0\r\n"}) as server:
        assert isinstance(send(server)[0], Accepted)


@pytest.mark.parametrize(
    "data",
    [b"", b"no end", b"a\nb\r\n", b"a\rb\r\n", "é\r\n".encode(), b"x" * 999 + b"\r\n"],
)
def test_a_message_that_smtp_would_change_is_a_fault(data: bytes) -> None:
    with Transport(relay(1)) as transport, pytest.raises(LetterFault, match="cannot be sent"):
        transport.send(SENDER, CHIEF, data, Intent())


@pytest.mark.parametrize("address", ["a@x.example>\r\nRCPT TO:<b@x.example", "siân@x.example", ""])
def test_an_address_that_smtp_cannot_carry_is_a_fault(address: str) -> None:
    with Transport(relay(1)) as transport:
        with pytest.raises(LetterFault):
            transport.send(SENDER, address, MESSAGE, Intent())
        with pytest.raises(LetterFault):
            transport.send(address, CHIEF, MESSAGE, Intent())


# --------------------------------------------------------------------------------- after the dot


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (b"451 4.3.0 try again\r\n", Deferred(reply=Reply(code=451, text="4.3.0 try again"))),
        (b"421 4.3.0 closing\r\n", Deferred(reply=Reply(code=421, text="4.3.0 closing"))),
        (b"554 5.6.0 no\r\n", Rejected(reply=Reply(code=554, text="5.6.0 no"))),
    ],
)
def test_a_refusal_after_the_dot_is_an_answer(said: bytes, expected: Outcome) -> None:
    with WaywardRelay({"DOT": said}) as server:
        outcome, intent = send(server)
        assert outcome == expected
        assert len(intent.seen) == 1


@pytest.mark.parametrize(
    "said",
    [
        DROP,
        b"\x00\xff\xfe\r\n",
        b"okay then\r\n",
        b"25 0\r\n",
        b" 250 ok\r\n",
        b"354 more?\r\n",
        b"250-and then\r\n550 or not\r\n",
        b"x" * 20000,
        b"250-a\r\n" * 300,
    ],
)
def test_no_readable_answer_after_the_dot_is_doubt(said: bytes) -> None:
    with WaywardRelay({"DOT": said}) as server:
        outcome, intent = send(server, timeout=2.0)
        assert isinstance(outcome, Lost)
        assert len(intent.seen) == 1
        assert server.messages == [stuffed(MESSAGE)]


@pytest.mark.parametrize("said", [HANG, TRICKLE, b"250-half an ans"])
def test_no_answer_in_time_is_doubt_and_the_next_message_has_a_new_connection(said: bytes) -> None:
    with WaywardRelay({"DOT": said}) as server:
        with Transport(relay(server.port, timeout=0.3)) as transport:
            outcome = transport.send(SENDER, CHIEF, MESSAGE, Intent())
            assert isinstance(outcome, Lost)
            assert "0.3 seconds" in outcome.reason
            server.answers["DOT"] = PLAIN_ANSWERS["DOT"]
            assert isinstance(transport.send(SENDER, CHIEF, MESSAGE, Intent()), Accepted)
        assert server.connections == 2


def test_a_relay_that_hangs_up_while_the_intent_is_committed_leaves_doubt() -> None:
    with WaywardRelay() as server, Transport(relay(server.port)) as transport:

        def intent(_: Session) -> bool:
            server.wait_for_body(stuffed(MESSAGE))
            for each in server._sockets:
                each.shutdown(socket.SHUT_RDWR)
            server.wait_for_client_gone()
            return True

        assert isinstance(transport.send(SENDER, CHIEF, MESSAGE, intent), Lost)
        assert server.messages == []


@pytest.mark.parametrize(
    ("said", "kind"),
    [(b"250 2.0.0 Ok: queued as TOOEARLY\r\n", Lost), (b"421 4.4.2 timeout\r\n", Deferred)],
)
def test_what_the_relay_says_while_the_intent_is_committed_is_no_acceptance(
    said: bytes, kind: type[Outcome]
) -> None:
    with WaywardRelay() as server, Transport(relay(server.port)) as transport:

        def intent(_: Session) -> bool:
            server.wait_for_body(stuffed(MESSAGE))
            server._sockets[0].sendall(said)
            return True

        assert isinstance(transport.send(SENDER, CHIEF, MESSAGE, intent), kind)
        server.wait_for_client_gone()
        assert server.messages == []


# ------------------------------------------------------------------------------------ TLS and AUTH


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is needed to make certificates for the test")
    return make_certificates(tmp_path_factory.mktemp("certificates"))


OFFERS_TLS: Final = {"EHLO": b"250-relay.test\r\n250-STARTTLS\r\n250 AUTH PLAIN LOGIN\r\n"}


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_trusted_certificate_is_accepted(certificates: Certificates, security: str) -> None:
    with WaywardRelay(
        OFFERS_TLS, tls=certificates.trusted, tls_at_once=security == "tls"
    ) as server:
        outcome, intent = send(server, security=security, ca_file=str(certificates.authority))
        assert isinstance(outcome, Accepted)
        assert server.messages == [stuffed(MESSAGE)]
        assert intent.seen[0].tls in {"TLSv1.2", "TLSv1.3"}


@pytest.mark.parametrize("security", ["starttls", "tls"])
@pytest.mark.parametrize("whose", ["stranger", "misnamed"])
def test_any_other_certificate_is_refused_and_nothing_is_sent(
    certificates: Certificates, security: str, whose: str
) -> None:
    with WaywardRelay(
        OFFERS_TLS, tls=getattr(certificates, whose), tls_at_once=security == "tls"
    ) as server:
        outcome, intent = send(server, security=security, ca_file=str(certificates.authority))
        assert isinstance(outcome, NotTried)
        assert outcome.trouble
        assert "certificate is not trusted" in outcome.reason
        assert intent.seen == []
        assert not [each for each in server.commands if each.startswith(("MAIL", "AUTH"))]


def test_on_this_machine_verification_may_be_switched_off(certificates: Certificates) -> None:
    with WaywardRelay(OFFERS_TLS, tls=certificates.stranger) as server:
        outcome, _ = send(server, security="starttls", verify=False)
        assert isinstance(outcome, Accepted)


def test_where_starttls_is_asked_for_and_not_offered_nothing_is_sent() -> None:
    with WaywardRelay() as server:
        outcome, intent = send(server, security="starttls", username="u", password="geheim")  # noqa: S106
        assert isinstance(outcome, NotTried)
        assert outcome.trouble
        assert "STARTTLS" in outcome.reason
        assert intent.seen == []
        assert [each.partition(" ")[0].upper() for each in server.commands] == ["EHLO"]


# The client cuts the connection while the test's relay may be on its way into TLS; wrap_socket then
# fails on the reset connection and lets go of its own socket unclosed (CPython, SSLSocket._create).
@pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")
@pytest.mark.parametrize("said", [b"454 4.7.0 not now\r\n", b"220 go\r\n250 smuggled\r\n", DROP])
def test_starttls_that_goes_wrong_is_trouble(certificates: Certificates, said: bytes) -> None:
    answers = {**OFFERS_TLS, "STARTTLS": said}
    with WaywardRelay(answers, tls=certificates.trusted) as server:
        outcome, _ = send(server, security="starttls", ca_file=str(certificates.authority))
        assert isinstance(outcome, NotTried)
        assert outcome.trouble


@pytest.mark.parametrize(
    ("offered", "said"),
    [
        (b"XOAUTH2 PLAIN LOGIN", ["AUTH PLAIN AGxldHRlcnMAZ2Vow6lpbQ=="]),
        (b"LOGIN", ["AUTH LOGIN", "bGV0dGVycw==", "Z2Vow6lpbQ=="]),
    ],
)
def test_the_relay_is_logged_in_to(
    certificates: Certificates, offered: bytes, said: list[str]
) -> None:
    answers = {"EHLO": b"250-relay.test\r\n250-STARTTLS\r\n250 AUTH " + offered + b"\r\n"}
    if offered == b"LOGIN":
        answers |= {"AUTH": b"334 VXNlcm5hbWU6\r\n", "BGV0DGVYCW==": b"334 UGFzc3dvcmQ6\r\n"}
        answers |= {"Z2VOW6LPBQ==": b"235 2.7.0 welcome\r\n"}
    with WaywardRelay(answers, tls=certificates.trusted) as server:
        outcome, _ = send(
            server,
            security="starttls",
            ca_file=str(certificates.authority),
            username="letters",
            password="gehéim",  # noqa: S106
        )
        assert isinstance(outcome, Accepted)
        # STARTTLS, EHLO again, and only then the login.
        assert server.commands[3 : 3 + len(said)] == said
        assert server.commands[1] == "STARTTLS"


def test_a_refused_login_is_trouble_and_never_shows_the_password() -> None:
    secret = "correct horse"  # noqa: S105
    echo = b"535 5.7.8 no: correct horse AHUAY29ycmVjdCBob3JzZQ== Y29ycmVjdCBob3JzZQ==\r\n"
    answers = {"EHLO": b"250-relay.test\r\n250 AUTH PLAIN\r\n", "AUTH": echo}
    with WaywardRelay(answers) as server:
        known = relay(server.port, username="u", password=secret)
        with Transport(known) as transport:
            outcome = transport.send(SENDER, CHIEF, MESSAGE, Intent())
        assert isinstance(outcome, NotTried)
        assert outcome.trouble
        assert "535" in outcome.reason
        for form in (secret, "AHUAY29ycmVjdCBob3JzZQ==", "Y29ycmVjdCBob3JzZQ=="):
            assert form not in outcome.reason
        assert secret not in repr(known)
        assert not [each for each in server.commands if each.startswith("MAIL")]


def test_a_relay_that_offers_no_login_gets_no_password() -> None:
    with WaywardRelay() as server:
        outcome, _ = send(server, username="u", password="geheim")  # noqa: S106
        assert isinstance(outcome, NotTried)
        assert outcome.trouble
        assert not [each for each in server.commands if each.startswith("AUTH")]


@pytest.mark.parametrize(
    "settings_",
    [
        {"host": "relay.example", "verify": False, "security": "tls"},
        {"host": "relay.example", "username": "u", "password": "p"},
        {"host": "relay.example", "security": "tls", "username": "u"},
        {"host": "127.0.0.1", "password": "p"},
    ],
)
def test_settings_that_would_give_something_away_are_refused(settings_: dict[str, Any]) -> None:
    with pytest.raises(Misconfigured):
        Relay(**settings_)


def test_certificates_that_cannot_be_read_are_a_matter_for_a_person(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"nowhere\.pem"):
        Transport(relay(25, security="tls", ca_file=str(tmp_path / "nowhere.pem")))


# -------------------------------------------------------------------------------- looking, no more

LOOKED_AT: Final = {
    "EHLO": (
        b"250-relay.test at your service\r\n250-SIZE 10000000\r\n250-STARTTLS\r\n250-DSN\r\n"
        b"250-PIPELINING\r\n250-X-ODD \x1b[31mred\x9b\r\n250 AUTH LOGIN PLAIN\r\n"
    )
}


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_look_tells_what_the_relay_offers_and_names_no_sender(
    certificates: Certificates, security: str
) -> None:
    with WaywardRelay(LOOKED_AT, tls=certificates.trusted, tls_at_once=security == "tls") as server:
        offer = look(
            relay(
                server.port,
                security=security,
                ca_file=str(certificates.authority),
                username="letters",
                password="geheim",  # noqa: S106
            )
        )
        server.wait_for_client_gone()
        assert isinstance(offer, Offer)
        assert offer.refusal is None
        assert offer.extensions == {
            "SIZE": "10000000",
            "STARTTLS": "",
            "DSN": "",
            "PIPELINING": "",
            "X-ODD": "[31mred\ufffd",
            "AUTH": "LOGIN PLAIN",
        }
        assert offer.session.tls in {"TLSv1.2", "TLSv1.3"}
        assert offer.session.greeting == "220 relay.test ESMTP"
        ends = offer.certificate_until
        assert ends is not None
        assert timedelta(days=2) < ends - datetime.now(UTC) <= timedelta(days=3)
        hello = ["EHLO", "STARTTLS", "EHLO"] if security == "starttls" else ["EHLO"]
        assert server.verbs == [*hello, "AUTH", "QUIT"]


def test_a_look_without_encryption_or_login() -> None:
    with WaywardRelay() as server:
        offer = look(relay(server.port))
        server.wait_for_client_gone()
        assert isinstance(offer, Offer)
        assert offer.extensions == {"SIZE": "10000000", "8BITMIME": ""}
        assert (offer.session.tls, offer.certificate_until, offer.refusal) == (None, None, None)
        assert server.verbs == ["EHLO", "QUIT"]


def test_a_look_still_tells_what_is_offered_where_the_login_is_refused() -> None:
    secret = "correct horse"  # noqa: S105
    answers = {**LOOKED_AT, "AUTH": b"535 5.7.8 no: correct horse\r\n"}
    with WaywardRelay(answers) as server:
        offer = look(relay(server.port, username="u", password=secret))
        server.wait_for_client_gone()
        assert isinstance(offer, Offer)
        assert "DSN" in offer.extensions
        assert offer.refusal is not None
        assert "refused the login of u: 535" in offer.refusal
        assert secret not in repr(offer)
        assert server.verbs == ["EHLO", "AUTH", "QUIT"]


@pytest.mark.parametrize(
    ("answers", "changes", "expected"),
    [
        ({"GREETING": b"554 go away\r\n"}, {}, "greeted with 554"),
        ({"GREETING": DROP}, {}, "closed the connection"),
        ({"GREETING": HANG}, {"command_timeout": 0.2}, "within 0.2 seconds"),
        ({"EHLO": TRICKLE}, {"command_timeout": 0.3}, "within 0.3 seconds"),
        ({}, {"security": "starttls"}, "does not offer STARTTLS"),
        ({"AUTH": DROP}, {"username": "u", "password": "geheim"}, "offers neither of the logins"),
        (
            {**LOOKED_AT, "AUTH": DROP},
            {"username": "u", "password": "geheim"},
            "closed the connection",
        ),
    ],
)
def test_a_look_that_fails_says_where_and_why(
    answers: dict[str, bytes], changes: dict[str, Any], expected: str
) -> None:
    with WaywardRelay(answers) as server:
        seen = look(relay(server.port, **changes))
        reason = seen.reason if isinstance(seen, NotTried) else seen.refusal
        assert reason is not None
        assert expected in reason
        assert f"The relay 127.0.0.1 port {server.port} " in reason
        assert reason.endswith(".")
        assert not reason.endswith("..")
        assert "MAIL" not in server.verbs


@pytest.mark.parametrize(
    ("answers", "changes", "expected", "fix"),
    [
        ({"GREETING": b"554 go away.\r\n"}, {}, "cannot be used: it greeted with 554", "smtp.port"),
        ({"GREETING": DROP}, {}, "broke off: the relay closed the connection", "smtp.port"),
        ({}, {"security": "starttls"}, "does not offer STARTTLS", "Correct smtp.security"),
        (
            {},
            {"username": "u", "password": "geheim"},
            "offers neither of the logins",
            "Correct smtp.security",
        ),
        (
            {**LOOKED_AT, "AUTH": b"535 5.7.8 no\r\n"},
            {"username": "u", "password": "geheim"},
            "refused the login of u: 535",
            "Correct smtp.username and what the file in smtp.password_file holds.",
        ),
    ],
)
def test_a_relay_that_cannot_be_used_is_said_once_with_the_fix(
    answers: dict[str, bytes], changes: dict[str, Any], expected: str, fix: str
) -> None:
    with WaywardRelay(answers) as server:
        with Transport(relay(server.port, **changes)) as transport:
            outcome = transport.send(SENDER, CHIEF, MESSAGE, Intent())
        assert isinstance(outcome, NotTried)
        assert outcome.trouble
        what, _, rest = outcome.reason.partition(". ")
        assert expected in what
        assert fix in rest
        assert rest.endswith("What has not been sent waits, and goes out when this is run again.")
        assert ".." not in outcome.reason
        seen = look(relay(server.port, **changes))
        # whoever looks says by itself what to do
        assert (seen.reason if isinstance(seen, NotTried) else seen.refusal) == f"{what}."


@pytest.mark.parametrize("whose", ["stranger", "misnamed"])
def test_a_look_does_not_trust_any_other_certificate(
    certificates: Certificates, whose: str
) -> None:
    with WaywardRelay(LOOKED_AT, tls=getattr(certificates, whose)) as server:
        seen = look(relay(server.port, security="starttls", ca_file=str(certificates.authority)))
        assert isinstance(seen, NotTried)
        assert "certificate is not trusted" in seen.reason
        assert server.verbs == ["EHLO", "STARTTLS"]


def test_a_look_at_a_relay_that_is_not_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    seen = look(relay(port))
    assert isinstance(seen, NotTried)
    assert f"127.0.0.1 port {port} cannot be reached" in seen.reason


# ---------------------------------------------------------------------------- with a whole server


@pytest.fixture(scope="module")
def server_for_many() -> Iterator[WaywardRelay]:
    with WaywardRelay() as server:
        yield server


lines = st.lists(
    st.text(st.characters(min_codepoint=1, max_codepoint=127, exclude_characters="\r\n"))
    | st.sampled_from([".", "..", ".a", "", "RSET", "x" * 998]),
    min_size=1,
    max_size=12,
)


@settings(deadline=None)
@given(lines=lines)
def test_every_octet_arrives_as_it_was_sent(
    server_for_many: WaywardRelay, lines: list[str]
) -> None:
    data = "".join(f"{line}\r\n" for line in lines).encode("ascii")
    # Two in a row over one connection: nothing of the first may run into the second.
    with Transport(relay(server_for_many.port)) as transport:
        for copy in (data, b"again\r\n" + data):
            assert isinstance(transport.send(SENDER, CHIEF, copy, Intent()), Accepted)
            assert server_for_many.messages.pop() == stuffed(copy)
            assert server_for_many.messages == []


def test_the_capture_server_keeps_every_octet(tmp_path: Path) -> None:
    with CaptureServer(tmp_path) as server, Transport(relay(server.port)) as transport:
        outcome = transport.send(SENDER, CHIEF, MESSAGE, Intent())
    assert isinstance(outcome, Accepted)
    assert outcome.queue_id is not None
    kept = (tmp_path / "new" / outcome.queue_id).read_bytes()
    assert kept == f"Return-Path: <{SENDER}>\r\nDelivered-To: {CHIEF}\r\n".encode() + MESSAGE


def test_several_threads_send_at_once_each_over_its_own_connection(tmp_path: Path) -> None:
    outcomes: list[Outcome] = []

    def work(port: int, number: int) -> None:
        with Transport(relay(port)) as transport:
            for index in range(10):
                data = b"Message-ID: <%d.%d@o.example>\r\n\r\nx\r\n" % (number, index)
                outcomes.append(transport.send(SENDER, CHIEF, data, Intent()))

    with CaptureServer(tmp_path) as server:
        threads = [threading.Thread(target=work, args=(server.port, each)) for each in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [type(outcome) for outcome in outcomes] == [Accepted] * 40
    assert len({path.read_bytes() for path in (tmp_path / "new").iterdir()}) == 40
    assert list((tmp_path / "tmp").iterdir()) == []


def test_callbacks_may_be_any_callable() -> None:
    granted: Callable[[Session], bool] = lambda session: session.local_port > 0  # noqa: E731
    with WaywardRelay() as server, Transport(relay(server.port)) as transport:
        assert isinstance(transport.send(SENDER, CHIEF, MESSAGE, granted), Accepted)
