"""Access tokens: real endpoints, commands, relays and mailboxes that want them."""

import base64
import contextlib
import hashlib
import json
import os
import pwd
import select
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from pipeline import bootstrap, log, schema
from pipeline.archive import Archive
from pipeline.checks import mail
from pipeline.checks.found import Check, Kind
from pipeline.checks.program import settings_read
from pipeline.database import Database
from pipeline.delivery import Accepted, Mode, NotTried, Outcome, Rejected, State
from pipeline.dispatch import Outbox, dispatch
from pipeline.errors import LettersError, Misconfigured, Unavailable
from pipeline.ledger.messages import Sender
from pipeline.ledger.runs import Run
from pipeline.mailbox import Imap, Mail
from pipeline.oauth import AccessTokens, Command, Endpoint, RefreshToken
from pipeline.settings import Settings
from pipeline.transport import Relay, Session, Transport
from tests import servers
from tests.dovecot import TOKEN, running_dovecot
from tests.dovecot import USER as READER
from tests.integration.test_checks import finished, site
from tests.integration.test_ledger import letter, opened, prepare_all
from tests.oauth import (
    PATIENCE,
    SCOPE,
    USER,
    Answer,
    TokenEndpoint,
    TokenRelay,
    token_endpoint,
    token_relay,
)
from tests.postgres import free_port
from tests.relays import DROP, Certificates, WaywardRelay, make_certificates

SECRET = "swordfish-of-the-client"  # noqa: S105
REFRESH = "refresh-token-of-the-mailbox"
MESSAGE = b"Subject: x\r\n\r\nDear Mr Partridge\r\n"
CHIEF = "chief@stevenage.example"
PDF = b"%PDF-1.7 a letter"
WORDING = {"subject": "Letter", "text": "Enclosed.", "html": "<p>Enclosed.</p>"}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def endpoint() -> Iterator[TokenEndpoint]:
    with token_endpoint() as running:
        yield running


@pytest.fixture
def relay(endpoint: TokenEndpoint, certificates: Certificates) -> Iterator[TokenRelay]:
    with token_relay(endpoint.good, certificates.trusted) as running:
        yield running


def asking(endpoint: TokenEndpoint, **more: Any) -> Endpoint:
    known: dict[str, Any] = {
        "url": endpoint.url,
        "client_id": "letters",
        "scope": SCOPE,
        "secret": lambda: SECRET,
        "timeout": PATIENCE,
    }
    return Endpoint(**{**known, **more})


def kept(file: Path) -> RefreshToken:
    return RefreshToken(file, lambda: file.read_text("ascii").strip())


@pytest.fixture
def refresh(tmp_path: Path) -> Path:
    file = tmp_path / "refresh-token"
    file.write_text(REFRESH, "ascii")
    file.chmod(0o640)
    return file


# ---- An endpoint


def test_the_client_s_own_credentials_give_a_token_that_is_kept(endpoint: TokenEndpoint) -> None:
    assert AccessTokens(asking(endpoint)).until is None
    tokens = AccessTokens(asking(endpoint))
    before = datetime.now(UTC)
    assert tokens() == "TOKEN-1-of-the-endpoint"
    assert tokens() == "TOKEN-1-of-the-endpoint"
    assert endpoint.asked == [
        {
            "grant_type": "client_credentials",
            "client_id": "letters",
            "client_secret": SECRET,
            "scope": SCOPE,
        }
    ]
    until = tokens.until
    assert until is not None
    assert before + timedelta(hours=1) <= until <= datetime.now(UTC) + timedelta(hours=1)


def test_a_refresh_token_gives_a_token(endpoint: TokenEndpoint, refresh: Path) -> None:
    tokens = AccessTokens(asking(endpoint, refresh=kept(refresh), secret=lambda: None, scope=""))
    assert tokens() == "TOKEN-1-of-the-endpoint"
    assert endpoint.asked == [
        {"grant_type": "refresh_token", "client_id": "letters", "refresh_token": REFRESH}
    ]
    assert refresh.read_text("ascii") == REFRESH


@pytest.mark.parametrize(
    ("lifetime", "asked"),
    [(0, 2), ("0", 2), (-5, 2), ("3599", 1), (3599.0, 1), (None, 1), ("soon", 1), (1e300, 1)],
)
def test_a_token_that_has_ended_is_not_given_out(
    endpoint: TokenEndpoint, lifetime: Any, asked: int
) -> None:
    endpoint.lifetime = lifetime
    tokens = AccessTokens(asking(endpoint))
    assert [tokens(), tokens()][-1] == f"TOKEN-{asked}-of-the-endpoint"
    assert len(endpoint.asked) == asked


def test_whoever_was_refused_gets_another_and_the_others_share_it(endpoint: TokenEndpoint) -> None:
    tokens = AccessTokens(asking(endpoint))
    first = tokens()
    second = tokens(first)
    assert second != first
    # Another thread hears later that the same one was refused.
    assert tokens(first) == second
    assert tokens() == second
    assert len(endpoint.asked) == 2


def test_several_threads_ask_once(endpoint: TokenEndpoint) -> None:
    tokens = AccessTokens(asking(endpoint))
    endpoint.held.clear()
    with ThreadPoolExecutor(4) as threads:
        asking_ = [threads.submit(tokens) for _ in range(4)]
        assert endpoint.arrived.wait(PATIENCE)
        assert not any(one.done() for one in asking_)
        endpoint.held.set()
        assert {one.result() for one in asking_} == {"TOKEN-1-of-the-endpoint"}
    assert len(endpoint.asked) == 1


def test_a_new_refresh_token_takes_the_place_of_the_old_one(
    endpoint: TokenEndpoint, refresh: Path, tmp_path: Path
) -> None:
    link = tmp_path / "link"
    link.symlink_to(refresh.name)
    endpoint.rotated, endpoint.lifetime = "another-refresh-token", 0
    tokens = AccessTokens(asking(endpoint, refresh=kept(link)))
    tokens()
    assert refresh.read_text("ascii") == "another-refresh-token\n"
    assert refresh.stat().st_mode & 0o777 == 0o640
    assert link.is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "refresh-token"]
    tokens()
    assert [form["refresh_token"] for form in endpoint.asked] == [REFRESH, "another-refresh-token"]


def test_a_new_refresh_token_is_kept_whatever_it_came_with(
    endpoint: TokenEndpoint, refresh: Path
) -> None:
    useless = {"access_token": "", "refresh_token": "another-refresh-token"}
    endpoint.answers = [Answer(useless)]
    tokens = AccessTokens(asking(endpoint, refresh=kept(refresh)))
    with pytest.raises(Unavailable, match="no bearer token"):
        tokens()
    tokens()
    assert [form["refresh_token"] for form in endpoint.asked] == [REFRESH, "another-refresh-token"]


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """As a user who may not write everywhere, should we be one who may."""
    if os.geteuid():
        yield
        return
    os.seteuid(pwd.getpwnam("nobody").pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_new_refresh_token_that_cannot_be_written_is_kept_in_memory_and_told(
    endpoint: TokenEndpoint, capsys: pytest.CaptureFixture[str]
) -> None:
    endpoint.rotated, endpoint.lifetime = "another-refresh-token", 0
    with servers.folder("letters-oauth-") as place:
        file = place / "refresh-token"
        file.write_text(REFRESH, "ascii")
        file.chmod(0o444)
        lines = file.with_name("letters.log")
        log.begin(log.Log(level=log.Level.WARNING, form=log.Form.JSON, file=lines))
        lines.chmod(0o666)
        place.chmod(0o555)
        tokens = AccessTokens(asking(endpoint, refresh=kept(file)))
        with as_nobody():
            tokens()
            tokens()
        log.begin(None)
        assert file.read_text("ascii") == REFRESH
        [told] = capsys.readouterr().err.splitlines()
        assert f"cannot be written to {file}: " in told
        assert "refresh-token-of" not in told
        assert "another" not in told
        [logged] = lines.read_text("utf-8").splitlines()
        assert json.loads(logged)["event"] == "oauth2.token_not_kept"
        assert "another" not in logged
        # What a person puts there afterwards is newer than what is in memory.
        place.chmod(0o755)
        file.chmod(0o644)
        file.write_text("by-hand", "ascii")
        tokens()
        assert file.read_text("ascii") == "another-refresh-token\n"
    used = [form["refresh_token"] for form in endpoint.asked]
    assert used == [REFRESH, "another-refresh-token", "by-hand"]


def test_a_refresh_token_that_another_process_has_replaced_meanwhile(
    endpoint: TokenEndpoint, refresh: Path
) -> None:
    endpoint.answers.append(Answer({"error": "invalid_grant"}, 400))
    endpoint.held.clear()
    tokens = AccessTokens(asking(endpoint, refresh=kept(refresh)))
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(tokens)
        assert endpoint.arrived.wait(PATIENCE)
        refresh.write_text("newer", "ascii")
        endpoint.held.set()
        assert asked.result() == "TOKEN-2-of-the-endpoint"
    assert [form["refresh_token"] for form in endpoint.asked] == [REFRESH, "newer"]


HTML = Answer("<html><body>Sign in</body></html>", kind="text/html; charset=utf-8")
ENDED = (
    "AADSTS700082: The refresh token has expired due to inactivity.\r\nTrace ID: 0815\r\n"
    "Correlation ID: 4711"
)


@pytest.mark.parametrize(
    ("answer", "kind", "said", "fix"),
    [
        (
            Answer({"error": "invalid_grant", "error_description": ENDED}, 400),
            Misconfigured,
            "gave no token: invalid_grant (AADSTS700082: The refresh token has expired due to "
            "inactivity).",
            "the file that oauth2.refresh_token_file names.",
        ),
        (
            Answer(
                {"error": "invalid_client", "error_description": f"bad secret {SECRET[:20]}..."},
                401,
            ),
            Misconfigured,
            "gave no token: invalid_client (bad secret ***).",
            "what the file in oauth2.client_secret_file holds",
        ),
        (
            Answer({"error": "invalid_scope", "error_description": f"\x1b[31m{REFRESH}"}, 400),
            Misconfigured,
            "gave no token: invalid_scope ([31m***).",
            "Correct oauth2.scope.",
        ),
        (Answer({"error": "invalid_request"}, 400), Misconfigured, "invalid_request", "[oauth2]"),
        (Answer({"error": "unauthorized_client"}, 400), Misconfigured, "unauthorized", "allow"),
        (
            Answer({"error": "temporarily_unavailable"}, 503),
            Unavailable,
            "gave no token: temporarily_unavailable.",
            "Try again later.",
        ),
        (Answer({"error": "whatever"}, 429), Unavailable, "whatever", "Try again later."),
        (
            HTML,
            Unavailable,
            "the status 200 and no token in JSON, but text/html.",
            "a sign-in page",
        ),
        (replace(HTML, status=404), Unavailable, "the status 404", "Check oauth2.token_url"),
        (
            Answer("", 302, headers={"Location": "https://elsewhere.test/"}),
            Unavailable,
            "the status 302",
            "Check oauth2.token_url",
        ),
        (Answer([1]), Unavailable, "no token in JSON, but application/json", "token_url"),
        (Answer("{" * 100_000), Unavailable, "answers without end", "token_url"),
        (Answer("[" * 60_000), Unavailable, "no token in JSON", "token_url"),
        (Answer({"access_token": "a\r\nb"}), Unavailable, "no bearer token", "token_url"),
        (Answer({"access_token": ""}), Unavailable, "no bearer token", "token_url"),
        (Answer({"access_token": 17}), Unavailable, "no bearer token", "token_url"),
        (
            Answer({"access_token": "mac-token", "token_type": "mac"}),
            Unavailable,
            "no bearer token",
            "token_url",
        ),
    ],
)
def test_an_endpoint_that_gives_no_token_says_why(
    endpoint: TokenEndpoint,
    refresh: Path,
    answer: Answer,
    kind: type[LettersError],
    said: str,
    fix: str,
) -> None:
    endpoint.answers.append(answer)
    tokens = AccessTokens(asking(endpoint, refresh=kept(refresh)))
    with pytest.raises(kind) as caught:
        tokens()
    told = str(caught.value)
    assert told.startswith(f"The token endpoint {endpoint.url} ")
    assert said in told
    assert fix in told
    for secret in ("swordfish", "refresh-token-of", "mac-token", "Trace"):
        assert secret not in told
    assert caught.value.__cause__ is None
    # The next one is asked for as if nothing had been.
    assert tokens() == "TOKEN-2-of-the-endpoint"


def test_an_endpoint_that_is_not_there() -> None:
    url = f"http://127.0.0.1:{free_port()}/token?tenant=x"
    with pytest.raises(Unavailable, match="does not answer: Connection refused") as caught:
        Endpoint(url=url, client_id="letters", secret=lambda: SECRET).fetch()
    assert "tenant" not in str(caught.value)


@pytest.mark.parametrize("trickles", [False, True])
def test_an_endpoint_that_is_slow_is_not_waited_for(
    endpoint: TokenEndpoint, trickles: bool
) -> None:
    endpoint.trickles = trickles
    if not trickles:
        endpoint.held.clear()
    with pytest.raises(Unavailable, match=r"no whole answer within 0\.3 seconds"):
        asking(endpoint, timeout=0.3).fetch()


def test_an_encrypted_endpoint_has_to_be_who_it_says(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    with token_endpoint(certificates.trusted) as endpoint:
        with pytest.raises(Unavailable, match=r"certificate of the token endpoint .* not trusted"):
            asking(endpoint).fetch()
        assert endpoint.asked == []
        monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority))
        assert asking(endpoint).fetch().value == "TOKEN-1-of-the-endpoint"
        with pytest.raises(Unavailable, match="not trusted"):
            asking(endpoint, url=endpoint.url.replace("127.0.0.1", "localhost")).fetch()


def test_an_endpoint_that_never_encrypts_is_not_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}/token"
        with pytest.raises(Unavailable, match=r"within 0\.3 seconds"):
            Endpoint(url=url, client_id="letters", timeout=0.3).fetch()


@pytest.mark.parametrize(
    "url",
    [
        "http://login.example/token",
        "ftp://127.0.0.1/token",
        "https:///token",
        "",
        "https://login.example:x/token",
    ],
)
def test_secrets_go_to_encrypted_endpoints_alone(url: str) -> None:
    with pytest.raises(Misconfigured, match=r"oauth2\.token_url must begin with https://"):
        Endpoint(url=url, client_id="letters")


def test_no_secret_is_in_what_python_shows_of_things(endpoint: TokenEndpoint) -> None:
    tokens = AccessTokens(asking(endpoint))
    shown = repr([asking(endpoint).fetch(), tokens, Command(words=(SECRET,), folder=Path())])
    assert "TOKEN-1" not in shown
    assert SECRET not in shown


# ---- A command


def python(text: str, **more: Any) -> Command:
    words = (sys.executable, "-c", text)
    return Command(words=words, folder=Path("/"), **{"timeout": PATIENCE, **more})


def test_a_command_prints_a_token_that_is_kept_a_while(tmp_path: Path) -> None:
    noted = tmp_path / "noted"
    text = f"open({str(noted)!r}, 'a').write('x'); print('printed-token')"
    tokens = AccessTokens(python(text))
    assert (tokens(), tokens()) == ("printed-token", "printed-token")
    assert noted.read_text("ascii") == "x"
    assert tokens.until is None
    assert tokens("printed-token") == "printed-token"
    assert noted.read_text("ascii") == "xx"


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ("print('one'); print('two')", Misconfigured, "must print one line"),
        ("print('two words')", Misconfigured, "must print one line"),
        ("", Misconfigured, "must print one line"),
        ("print('gehéim')", Misconfigured, "must print one line"),
        ("print('x' * 1000000)", Misconfigured, "must print one line"),
        ("import sys; print('geheim'); sys.exit('geheim')", Unavailable, "ended with 1."),
        ("import os; os.abort()", Unavailable, "was ended by the signal 6."),
    ],
)
def test_a_command_that_prints_no_token_says_so_and_no_more(
    text: str, kind: type[LettersError], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(kind, match=r"The command in oauth2\.command") as caught:
        python(text).fetch()
    assert said in str(caught.value)
    assert "geh" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "text", ["sleep 600", "exec >/dev/null; sleep 600", "sleep 600 & echo token", "exec sleep 600"]
)
def test_a_command_that_does_not_end_is_ended_with_all_that_it_started(
    text: str, tmp_path: Path
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        # Whoever is alive holds the other end of the pipe.
        words = ("/bin/sh", "-c", f"exec 9>{pipe}; {text}")
        with pytest.raises(Unavailable, match=r"did not end within 0\.5 seconds"):
            Command(words=words, folder=tmp_path, timeout=0.5).fetch()
        os.set_blocking(reader, True)
        assert select.select([reader], [], [], PATIENCE)[0]
        assert os.read(reader, 1) == b""
    finally:
        os.close(reader)


def test_a_command_that_is_not_there_is_not_repeated(tmp_path: Path) -> None:
    for word in ("no-such-geheim", "/etc/passwd"):
        with pytest.raises(Misconfigured, match=r"cannot be run: .*; none is used") as caught:
            Command(words=(word,), folder=tmp_path).fetch()
        assert word not in str(caught.value)


# ---- The relay


def settings_of(
    folder: Path,
    relay: TokenRelay | WaywardRelay,
    endpoint: TokenEndpoint,
    certificates: Certificates,
    **more: dict[str, Any],
) -> Settings:
    folder.mkdir(parents=True, exist_ok=True)
    secret = folder / "client-secret"
    secret.write_text(SECRET, "ascii")
    secret.chmod(0o600)
    known: dict[str, dict[str, Any]] = {
        "mail": {"mode": "live", "capture": str(folder / "captured"), "sender": USER},
        "smtp": {
            "host": "127.0.0.1",
            "port": relay.port,
            "security": "starttls",
            "username": USER,
            "ca_file": str(certificates.authority),
        },
        "oauth2": {
            "token_url": endpoint.url,
            "client_id": "letters",
            "client_secret_file": str(secret),
            "scope": SCOPE,
        },
    }
    for section, values in more.items():
        known[section] = {**known.get(section, {}), **values}
    return site(folder, **known)


def known_relay(settings: Settings) -> Relay:
    opened_ = bootstrap.outbox(settings).relay
    assert opened_ is not None
    return opened_()


def sent(transport: Transport, sender: str = USER) -> Outcome:
    return transport.send(sender, CHIEF, MESSAGE, lambda _: True)


def test_a_letter_goes_with_a_token_over_an_encrypted_connection(
    tmp_path: Path, relay: TokenRelay, endpoint: TokenEndpoint, certificates: Certificates
) -> None:
    settings = settings_of(tmp_path, relay, endpoint, certificates)
    seen: list[Session] = []

    def intend(session: Session) -> bool:
        seen.append(session)
        return True

    for _ in range(2):  # one token for both connections
        with Transport(known_relay(settings)) as transport:
            outcome = transport.send(USER, CHIEF, MESSAGE, intend)
            assert isinstance(outcome, Accepted), outcome
    assert relay.taken == [(USER, [CHIEF])] * 2
    assert relay.logins == ["TOKEN-1-of-the-endpoint"] * 2
    assert len(endpoint.asked) == 1
    assert seen[0].tls is not None
    assert bootstrap.access_tokens(settings) is known_relay(settings).token


def test_a_token_that_has_ended_is_replaced_once(
    tmp_path: Path, relay: TokenRelay, endpoint: TokenEndpoint, certificates: Certificates
) -> None:
    with Transport(known_relay(settings_of(tmp_path, relay, endpoint, certificates))) as transport:
        assert isinstance(sent(transport), Accepted)
        endpoint.good.clear()
        transport.close()
        assert isinstance(sent(transport), Accepted)
    first, second = "TOKEN-1-of-the-endpoint", "TOKEN-2-of-the-endpoint"
    assert relay.logins == [first, first, second]


def test_tokens_that_the_relay_does_not_want_are_trouble(
    tmp_path: Path, relay: TokenRelay, endpoint: TokenEndpoint, certificates: Certificates
) -> None:
    relay.good = set()
    relay.wants = "https://relay.test/another"
    with Transport(known_relay(settings_of(tmp_path, relay, endpoint, certificates))) as transport:
        outcome = sent(transport)
    assert isinstance(outcome, NotTried)
    assert outcome.trouble
    assert f"refused the access token of {USER}: 535 5.7.8" in outcome.reason
    assert "(the scope it wants is https://relay.test/another)." in outcome.reason
    assert "Check that smtp.username is the mailbox that the access token is for" in outcome.reason
    assert "TOKEN" not in outcome.reason
    assert len(relay.logins) == len(endpoint.asked) == 2


def test_a_command_that_gives_the_same_token_again_is_not_tried_again(
    certificates: Certificates, relay: TokenRelay
) -> None:
    known = Relay(
        host="127.0.0.1",
        port=relay.port,
        security="starttls",
        username=USER,
        token=AccessTokens(python("print('always-the-same')")),
        ca_file=str(certificates.authority),
    )
    with Transport(known) as transport:
        outcome = sent(transport)
    assert isinstance(outcome, NotTried)
    assert "refused the access token" in outcome.reason
    assert relay.logins == ["always-the-same"]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda given, _: given, "given back"),
        (lambda given, _: given[:40], "cut short"),
        (lambda _, token: token, "the token"),
        (lambda _, token: token[:30] + " and so on", "its beginning"),
        (lambda _, token: base64.b64encode(token.encode()).decode(), "in base64"),
    ],
)
def test_a_relay_that_repeats_a_token_does_not_put_it_on_record(
    make: Callable[[str, str], str], words: str
) -> None:
    token = "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9." + "geheim" * 400
    given = base64.b64encode(f"user={USER}\1auth=Bearer {token}\1\1".encode()).decode()
    said = make(given, token)
    answers = {
        "EHLO": b"250-relay.test\r\n250 AUTH XOAUTH2\r\n",
        "AUTH": f"535 5.7.3 no ({words}) {said}\r\n".encode(),
    }
    with WaywardRelay(answers) as server:
        known = Relay(host="127.0.0.1", port=server.port, username=USER, token=lambda _: token)
        with Transport(known) as transport:
            outcome = sent(transport)
    assert isinstance(outcome, NotTried)
    assert f"no ({words}) ***" in outcome.reason
    assert said[:20] not in outcome.reason
    assert "geheim" not in outcome.reason


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ({"EHLO": b"250-relay.test\r\n250 AUTH PLAIN\r\n"}, "does not offer the login XOAUTH2"),
        ({"AUTH": DROP}, "broke off"),
        ({"AUTH": b"454 4.7.0 later\r\n"}, "refused the access token of"),
        ({"AUTH": b"334 \xff\xff\r\n"}, "refused the access token of"),
        ({"AUTH": b"334 bm8ganNvbg==\r\n"}, "refused the access token of"),
        ({"AUTH": b"334 W10=\r\n"}, "refused the access token of"),
    ],
)
def test_a_relay_that_has_no_ear_for_tokens_is_trouble(
    answers: dict[str, bytes], said: str
) -> None:
    asked: list[str | None] = []

    def give(refused: str | None) -> str:
        asked.append(refused)
        return "a-token"

    offer = {"EHLO": b"250-relay.test\r\n250 AUTH XOAUTH2\r\n"}
    with WaywardRelay({**offer, **answers}) as server:
        known = Relay(host="127.0.0.1", port=server.port, username=USER, token=give)
        with Transport(known) as transport:
            outcome = sent(transport)
        assert "MAIL" not in server.verbs
    assert isinstance(outcome, NotTried)
    assert outcome.trouble
    assert said in outcome.reason
    assert asked in ([], [None])


@pytest.mark.parametrize(
    "wrong",
    [
        {"host": "relay.example", "username": "u"},
        {"username": "u", "password": "p", "security": "tls", "host": "relay.example"},
        {"username": None},
    ],
)
def test_a_token_is_not_given_unencrypted_or_beside_a_password(wrong: dict[str, Any]) -> None:
    with pytest.raises(Misconfigured):
        Relay(**{"host": "127.0.0.1", "token": lambda _: "x", **wrong})


# ---- Dispatch: whatever goes wrong with tokens is no letter's fault


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(str(tmp_path / "archive"))


@pytest.fixture
def run(db: Database, archive: Archive) -> Run:
    """Two letters to one person each, made and archived."""
    made = opened(
        db, *(replace(one, recipients=one.recipients[:1]) for one in (letter("A"), letter("B")))
    )
    prepare_all(db, made)
    for code in "AB":
        archive.put(f"2020/{code}.pdf", PDF)
    with db.write() as connection:
        sha256 = hashlib.sha256(PDF).hexdigest()
        connection.execute(sa.update(schema.letters).values(pdf_sha256=sha256))
        connection.execute(sa.update(schema.runs).values(wording=WORDING))
    return made


def out(settings: Settings, tmp_path: Path, sender: str = USER) -> Outbox:
    return Outbox(
        sender=Sender(address=USER, mode=Mode.LIVE, mailbox=f"Ombudsman <{USER}>", envelope=sender),
        relay=partial(known_relay, settings),
        maildir=tmp_path / "captured",
        connections=1,
    )


def states(db: Database) -> list[tuple[str, int]]:
    d = schema.deliveries
    with db.read() as connection:
        rows = connection.execute(sa.select(d.c.state, d.c.deferrals).order_by(d.c.id))
        return sorted((row.state, row.deferrals) for row in rows)


def test_an_endpoint_that_goes_away_in_the_middle_burns_no_letter(
    db: Database,
    archive: Archive,
    run: Run,
    tmp_path: Path,
    certificates: Certificates,
    endpoint: TokenEndpoint,
) -> None:
    answers = {
        "EHLO": b"250-relay.test\r\n250-STARTTLS\r\n250 AUTH XOAUTH2\r\n",
        # It is away when the second letter needs a new connection and the token has ended.
    }
    endpoint.lifetime = 0
    tls = certificates.trusted
    with WaywardRelay(answers, tls=tls, hang_up_after=1) as server:
        settings = settings_of(tmp_path, server, endpoint, certificates)
        gone = {"error": "temporarily_unavailable"}

        def settled() -> None:
            endpoint.answers.append(Answer(gone, 503))

        with pytest.raises(Unavailable, match="there is no access token for its login") as caught:
            dispatch(db, archive, run, out(settings, tmp_path), settled=settled)
        assert "temporarily_unavailable" in str(caught.value)
        assert "What has not been sent waits" in str(caught.value)
        assert states(db) == [(State.ACCEPTED.value, 0), (State.QUEUED.value, 0)]
        endpoint.answers.clear()
        dispatch(db, archive, run, out(settings, tmp_path))
        assert states(db) == [(State.ACCEPTED.value, 0)] * 2
        assert len(server.messages) == 2


def test_a_revoked_refresh_token_burns_no_letter(
    db: Database,
    archive: Archive,
    run: Run,
    tmp_path: Path,
    refresh: Path,
    certificates: Certificates,
    endpoint: TokenEndpoint,
    relay: TokenRelay,
) -> None:
    endpoint.answers += [Answer({"error": "invalid_grant", "error_description": "revoked"}, 400)]
    oauth2 = {"refresh_token_file": str(refresh)}
    settings = settings_of(tmp_path / "site", relay, endpoint, certificates, oauth2=oauth2)
    with pytest.raises(Unavailable, match=r"invalid_grant \(revoked\)\. Let the owner") as caught:
        dispatch(db, archive, run, out(settings, tmp_path))
    assert REFRESH not in str(caught.value)
    assert SECRET not in str(caught.value)
    assert states(db) == [(State.QUEUED.value, 0)] * 2
    dispatch(db, archive, run, out(settings, tmp_path))
    assert states(db) == [(State.ACCEPTED.value, 0)] * 2


REFUSALS = [
    ("MAIL", "550 5.7.60 SMTP; Client does not have permissions to send as this sender"),
    ("MAIL", "501 5.1.7 Invalid address"),
    ("MAIL", "501 sender must be the account"),
    ("RCPT", f"553 5.7.1 <bounces@ombudsman.test>: Sender address rejected: not owned by {USER}"),
    ("RCPT", "450 4.1.8 <bounces@ombudsman.test>: Sender address rejected: Domain not found"),
    ("DATA", f"554 5.2.252 SendAsDenied; {USER} not allowed to send as bounces@ombudsman.test"),
    (
        "DATA",
        "554 5.2.0 STOREDRV.Submission.Exception:SendAsDeniedException.MapiExceptionSendAsDenied; "
        "Failed to process message",
    ),
]


@pytest.mark.parametrize(("point", "said"), REFUSALS)
def test_a_relay_that_insists_on_its_own_sender_marks_no_letter_as_refused(
    db: Database,
    archive: Archive,
    run: Run,
    tmp_path: Path,
    certificates: Certificates,
    endpoint: TokenEndpoint,
    relay: TokenRelay,
    point: str,
    said: str,
) -> None:
    relay.refuses, relay.refusal = point, said
    settings = settings_of(tmp_path, relay, endpoint, certificates)
    with pytest.raises(Unavailable) as caught:
        dispatch(db, archive, run, out(settings, tmp_path, "bounces@ombudsman.test"))
    assert said in str(caught.value)
    told = str(caught.value)
    assert (
        f"The relay 127.0.0.1 port {relay.port} refused the sender bounces@ombudsman.test" in told
    )
    assert "the account in smtp.username, to send as that address; or set mail.sender" in told
    assert states(db) == [(State.QUEUED.value, 0)] * 2
    # Once the account may, the same letters go.
    relay.refuses = ""
    dispatch(db, archive, run, out(settings, tmp_path, "bounces@ombudsman.test"))
    assert states(db) == [(State.ACCEPTED.value, 0)] * 2
    assert sorted(recipients[0] for _, recipients in relay.taken) == [
        "chief@a.example",
        "chief@b.example",
    ]


def test_the_account_s_own_address_is_the_envelope_s_sender_without_other_settings(
    tmp_path: Path, certificates: Certificates, endpoint: TokenEndpoint, relay: TokenRelay
) -> None:
    settings = settings_of(tmp_path, relay, endpoint, certificates)
    assert bootstrap.outbox(settings).sender.marked("token") == USER


@pytest.mark.parametrize(
    "said",
    [
        "550 5.1.1 <x@y.example>: Recipient address rejected: undeliverable address: host "
        "mx.y.example said: 553 5.7.1 Sender address rejected: we know you",
        "550 5.7.1 you may not write to them",
        "550 5.1.10 RESOLVER.ADR.RecipientNotFound",
    ],
)
@pytest.mark.parametrize("point", ["RCPT", "DOT"])
def test_what_a_relay_says_of_a_recipient_is_that_letter_s_affair(said: str, point: str) -> None:
    with (
        WaywardRelay({point: f"{said}\r\n".encode()}) as server,
        Transport(Relay(host="127.0.0.1", port=server.port)) as transport,
    ):
        assert isinstance(sent(transport), Rejected)


# ---- The check


def checked(settings: Settings) -> dict[str, Check]:
    return {one.check: one for one in finished(mail.relay(settings, datetime.now(UTC)))}


def test_the_check_logs_in_with_a_token_and_says_until_when_it_is_good(
    tmp_path: Path, certificates: Certificates, endpoint: TokenEndpoint, relay: TokenRelay
) -> None:
    found = checked(settings_of(tmp_path, relay, endpoint, certificates))
    assert found["relay login"].state is Kind.OK
    said = found["relay login"].found
    assert said.startswith(f"It lets {USER} in with an access token that is good until ")
    assert said.endswith(", London time.")
    assert relay.taken == []
    assert relay.logins == ["TOKEN-1-of-the-endpoint"]


def test_the_check_says_what_is_wrong_with_tokens(
    tmp_path: Path, certificates: Certificates, endpoint: TokenEndpoint, relay: TokenRelay
) -> None:
    endpoint.answers.append(Answer({"error": "invalid_client"}, 401))
    settings = settings_of(tmp_path, relay, endpoint, certificates)
    one = checked(settings)["relay login"]
    assert one.state is Kind.FAULT
    assert "there is no access token for its login" in one.found
    assert "invalid_client" in one.fix
    assert "oauth2.client_secret_file" in one.fix
    relay.good = set()
    one = checked(settings)["relay login"]
    assert "refused the access token" in one.found
    assert f"(the scope it wants is {SCOPE})" in one.found
    assert "oauth2.scope" in one.fix
    (tmp_path / "client-secret").unlink()
    one = checked(settings)["relay login"]
    assert f"The client secret file {tmp_path}/client-secret, which oauth2" in one.fix
    assert SECRET not in repr(one)


def test_the_check_says_where_a_new_refresh_token_is_kept_if_not_in_its_file(
    certificates: Certificates, endpoint: TokenEndpoint, relay: TokenRelay
) -> None:
    with servers.folder("letters-oauth-") as place:
        file = place / "refresh-token"
        file.write_text(REFRESH, "ascii")
        authority = place / "ca.pem"
        authority.write_bytes(certificates.authority.read_bytes())
        more: dict[str, Any] = {
            "smtp": {"ca_file": str(authority)},
            "oauth2": {"refresh_token_file": str(file), "client_secret_file": ""},
        }
        settings = settings_of(place / "site", relay, endpoint, certificates, **more)
        assert "refresh token" not in checked(settings)
        file.chmod(0o444)
        place.chmod(0o555)
        with as_nobody():
            told = checked(settings)["refresh token"]
        place.chmod(0o755)
    assert told.state is Kind.NOTE
    assert told.found.startswith(f"This program may not write {file} and its folder, so a new one")


def test_a_token_may_come_from_a_command_in_the_project_s_folder(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    certificates: Certificates,
    endpoint: TokenEndpoint,
    relay: TokenRelay,
) -> None:
    monkeypatch.setenv("LETTERS_HOME", str(tmp_path))
    program = tmp_path / "give token"
    program.write_text('#!/bin/sh\necho "$1"; echo geheim >&2\n', "ascii")
    program.chmod(0o755)
    relay.good = {"a-$b-token"}
    oauth2 = dict.fromkeys(("token_url", "client_id", "client_secret_file", "scope"), "")
    oauth2["command"] = "'./give token' 'a-$b-token'"
    settings = settings_of(tmp_path, relay, endpoint, certificates, oauth2=oauth2)
    found = checked(settings)
    assert found["relay login"].found == f"It lets {USER} in with an access token."
    [said] = [one.found for one in settings_read(settings) if one.check == "settings"]
    assert "oauth2.command = (not shown" in said
    assert "b-token" not in said
    assert endpoint.asked == []


def test_a_password_file_goes_before_tokens(
    tmp_path: Path, certificates: Certificates, endpoint: TokenEndpoint, relay: TokenRelay
) -> None:
    password = tmp_path / "password"
    password.write_text("p", "ascii")
    smtp = {"password_file": str(password)}
    known = known_relay(settings_of(tmp_path, relay, endpoint, certificates, smtp=smtp))
    assert (known.password, known.token) == ("p", None)


# ---- The mailbox


def test_a_mailbox_is_read_with_a_token_and_once_more_with_another() -> None:
    asked: list[str | None] = []

    def give(refused: str | None) -> str:
        asked.append(refused)
        return "one-that-has-ended" if refused is None else TOKEN

    with running_dovecot() as dovecot:
        dovecot.put(b"Subject: report\n\nx\n", "1.a.host")
        known: dict[str, Any] = {
            "host": dovecot.host,
            "port": dovecot.port,
            "username": READER,
            "security": "starttls",
            "ca_file": str(dovecot.authority),
        }
        (found,) = Imap(**known, token=give).read()
        assert isinstance(found, Mail)
        assert b"report" in found.data
        assert asked == [None, "one-that-has-ended"]

        def away(_: str | None) -> str:
            raise Unavailable("The token endpoint is away.")

        with pytest.raises(Unavailable, match="The token endpoint is away"):
            list(Imap(**known, token=away).read())
        asked.clear()

        def never(refused: str | None) -> str:
            asked.append(refused)
            return f"wrong-token-{len(asked)}"

        with pytest.raises(Misconfigured, match="refused the login of") as caught:
            list(Imap(**known, token=never).read())
        assert asked == [None, "wrong-token-1"]
        assert "wrong-token" not in str(caught.value)
        assert "oauth2.scope" in str(caught.value)


def test_a_mail_server_that_repeats_a_token_does_not_put_it_on_record() -> None:
    token = "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9." + "geheim" * 200

    def serve(listener: socket.socket) -> None:
        for _ in range(2):
            connection, _address = listener.accept()
            with connection, connection.makefile("rwb", buffering=0) as lines:
                lines.write(b"* OK [CAPABILITY IMAP4rev1 AUTH=XOAUTH2] ready\r\n")
                while line := lines.readline():
                    tag, verb, *_rest = line.split()
                    if verb == b"AUTHENTICATE":
                        lines.write(b"+ \r\n")
                        given = lines.readline().strip()
                        lines.write(b"+ eyJzdGF0dXMiOiI0MDAifQ==\r\n")
                        assert lines.readline() == b"\r\n"
                        lines.write(
                            tag + b" NO bad " + given[:90] + b" " + token.encode() + b"\r\n"
                        )
                    elif verb == b"CAPABILITY":
                        lines.write(
                            b"* CAPABILITY IMAP4rev1 AUTH=XOAUTH2\r\n" + tag + b" OK done\r\n"
                        )
                    else:
                        lines.write(b"* BYE\r\n" + tag + b" OK done\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = threading.Thread(target=serve, args=(listener,), daemon=True)
        serving.start()
        mailbox = Imap(
            host="127.0.0.1",
            port=listener.getsockname()[1],
            username=USER,
            security="none",
            token=lambda refused: token if refused is None else token + "2",
        )
        with pytest.raises(Misconfigured, match=r"it said: bad \*\*\* \*\*\*\. Check") as caught:
            list(mailbox.read())
        serving.join(PATIENCE)
    assert "geheim" not in str(caught.value)


# ---- Settings


@pytest.mark.parametrize(
    ("oauth2", "said"),
    [
        ({"client_id": "x"}, "oauth2.client_id is set, so oauth2.token_url must name the endpoint"),
        (
            {"token_url": "https://login.example/token"},
            "oauth2.token_url is set, so oauth2.client_id must say as whom to ask.",
        ),
        (
            {"token_url": "https://login.example/token", "client_id": "x"},
            "oauth2.refresh_token_file or oauth2.client_secret_file must name a file",
        ),
        ({"token_url": "http://login.example/token"}, "must be a whole URL that begins with"),
        ({"token_url": "https://me:geheim@login.example/"}, "must be a whole URL that begins with"),
        ({"token_url": "login.example"}, "must be a whole URL that begins with"),
        ({"token_url": "https://login.example:99999/"}, "must be a whole URL that begins with"),
        ({"command": "give", "scope": "x"}, "so the other keys of [oauth2] must be empty"),
        ({"command": "give 'token"}, "with its quotes in pairs"),
        ({"command": " "}, "with its quotes in pairs"),
        ({"client_secret_file": "~geheim/x"}, "Its ~ stands for nobody's home folder"),
    ],
)
def test_settings_of_tokens_that_do_not_go_together(
    tmp_path: Path, oauth2: dict[str, str], said: str
) -> None:
    with pytest.raises(Misconfigured) as caught:
        site(tmp_path, oauth2=oauth2)
    assert said in str(caught.value)
    assert "geheim" not in str(caught.value)


def test_a_username_needs_a_password_or_tokens(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"smtp\.username is set, so smtp\.password_file"):
        site(tmp_path, smtp={"username": "u"})
    assert site(tmp_path, smtp={"username": "u"}, oauth2={"command": "give"}).oauth2.command
    assert bootstrap.access_tokens(site(tmp_path / "without")) is None


def test_certificates_of_the_relay_that_cannot_be_read(tmp_path: Path) -> None:
    smtp = {"ca_file": str(tmp_path / "no.pem"), "security": "tls"}
    settings = site(tmp_path, mail={"mode": "live"}, smtp=smtp)
    with pytest.raises(
        Misconfigured, match=r"no\.pem, which smtp\.ca_file names, cannot be read: No such"
    ):
        Transport(known_relay(settings))
