"""One SMTP transaction, phase by phase, so that it is always known on which side of the dot we are.

A server may not deliver before the final dot. So the whole body is written first, then the caller
commits its intent, and only then is the dot written. Whatever goes wrong before the dot is
certainly unsent (`NotTried`, `Deferred`, `Rejected`); whatever goes wrong from the first octet of
the dot on is in doubt (`Lost`) unless the relay said something readable. Exceptions cannot tell
the two apart, smtplib raises the same ones on both sides; the position in the code does.

The answer is a value from `pipeline.delivery`, never an exception. `NotTried` with `trouble` is
what concerns every letter alike: no connection, TLS, authentication, 421, throttling, and a relay
that refuses our sender, which must not mark a whole year's letters as refused one by one. Some say
that only after the dot; then the dot was written, and the relay says that it took nothing.
"""

import base64
import contextlib
import json
import re
import smtplib
import socket
import ssl
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from types import TracebackType
from typing import Final, Literal, Self

from pipeline.address import ascii_address, is_loopback
from pipeline.delivery import Accepted, Deferred, Lost, NotTried, Outcome, Rejected, Reply
from pipeline.envelope import xtext
from pipeline.errors import LetterFault, LettersError, Misconfigured
from pipeline.masking import masked, printable

_REPLY_LINE: Final = re.compile(rb"([2-5][0-9][0-9])(?:([ -])(.*))?", re.DOTALL)
_REPLY_LINE_LIMIT: Final = 8192
_REPLY_LINES_LIMIT: Final = 200
_REPLY_TEXT_LIMIT: Final = 2000
_LINE_LIMIT: Final = 998
_QUIT_SECONDS: Final = 5.0
_LAST_WORDS_SECONDS: Final = 1.0
_ENHANCED: Final = re.compile(r"[245]\.(\d{1,3})\.(\d{1,3})\b")

# What a relay says about us at whatever point, not about the recipient or the message: the sender's
# address is a bad one (RFC 3463), Exchange's words for one that the account may not use, which come
# after the dot, and Postfix's, which come at RCPT. Only at the beginning: a relay that asks the
# recipients' servers repeats theirs further on.
_ABOUT_SENDER: Final = re.compile(
    r"[45]\.(?:1\.[78]|7\.60|2\.252)\b"
    r"|(?:[45]\.\d{1,3}\.\d{1,3} )?"
    r"(?:SendAsDenied|STOREDRV\.Submission\.Exception:SendAsDenied"
    r"|(?:<[^>]*>: )?Sender address rejected: )",
    re.IGNORECASE,
)

# What to put right about a relay that cannot be used, in the words of the settings.
_REACH: Final = (
    "Check smtp.host and smtp.port, that the relay runs, and that no firewall stands between."
)
_SPEAK: Final = (
    "Check that smtp.port and smtp.security go together (tls with 465, starttls or none with 25 or "
    "587), and ask whoever runs the relay if it goes on."
)
_OFFERED: Final = "Correct smtp.security (none, starttls or tls) or smtp.port (25, 587 or 465)."
_TRUST: Final = (
    "Name the relay in smtp.host as its certificate does, or let whoever runs it renew a "
    "certificate that has ended or is nobody's; one that was signed by your own authority is "
    "trusted with that authority's certificate in the file that smtp.ca_file names."
)
_LOGIN: Final = "Correct smtp.username and what the file in smtp.password_file holds."
_REFUSED: Final = (
    "Check that smtp.username is the mailbox that the access token is for, that oauth2.scope is "
    "what the relay wants, and that the mailbox may send by SMTP."
)
_LOGINS_BY_OAUTH: Final = (
    "Correct smtp.host, smtp.security and smtp.port, as many relays offer a login only once the "
    "connection is encrypted, or name a file with a password in smtp.password_file."
)
_SENDER: Final = (
    "Let whoever runs the relay allow this machine, or the account in smtp.username, to send as "
    "that address; or set mail.sender, and reports.address if it is set, to one that it takes. If "
    "it may only send as mail.sender, leave reports.address and reports.key_file empty. Deliveries "
    "that are planned already keep the sender they have, so then give the run up (letters cancel) "
    "and begin it anew."
)
_ASKED_FOR_LOGIN: Final = (
    "Set smtp.username, a login for it (smtp.password_file or [oauth2]) and smtp.security as "
    "whoever runs the relay says."
)
_ASK: Final = "If it goes on saying so, ask whoever runs the relay."
_LOGINS: Final = (
    "Correct smtp.security and smtp.port, as many relays offer a login only once the connection is "
    "encrypted, or leave smtp.username empty."
)
_GO_ON: Final = "What has not been sent waits, and goes out when this is run again."

_QUEUE_IDS: Final = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"\bqueued as ([^\s;,>)]+)",  # Postfix, and the capture server
        r"\bid=([^\s;,>)]+)",  # Exim
        r"\bInternalId=(\d+)",  # Exchange
        r"^(?:2\.\d\.\d )?([A-Za-z0-9]{8,}) Message accepted",  # Sendmail
        r"\bok \d+ qp (\d+)",  # qmail
    )
)


class Phase(StrEnum):
    """How far a transaction has come; from `DOT` on, what breaks off is in doubt."""

    IDLE = "idle"
    CONNECT = "connect"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    BODY = "body"
    DOT = "dot"
    ANSWERED = "answered"


_WHERE: Final = {
    Phase.IDLE: "unasked",
    Phase.CONNECT: "at the connection",
    Phase.MAIL: "at MAIL FROM",
    Phase.RCPT: "at RCPT TO",
    Phase.DATA: "at DATA",
    Phase.BODY: "in the message",
    Phase.DOT: "at the dot",
    Phase.ANSWERED: "after the dot",
}
"""How far a transaction has come, as people say it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Relay:
    """Where mail is handed over; times in seconds.

    With `token` the login is by an access token (XOAUTH2), else by `password`. It is called for
    each login, with None or with the token that the relay has just refused, and raises a
    LettersError where it has none to give.

    `timeout` is the wait for the answer to the dot (RFC 5321 section 4.5.3.2.6 asks for ten
    minutes), `command_timeout` for every other answer. `ca_file` replaces the system's trusted
    certificates. `verify` may be switched off for a relay on this machine only. `local_hostname`
    is what EHLO says; without it, this machine's full name or else its address.
    Raises `Misconfigured` for settings that would let the password or a letter be overheard.
    """

    host: str
    port: int = 25
    security: Literal["none", "starttls", "tls"] = "none"
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    token: Callable[[str | None], str] | None = field(default=None, repr=False)
    timeout: float = 600.0
    command_timeout: float = 300.0
    connect_timeout: float = 30.0
    local_hostname: str | None = None
    ca_file: str | None = None
    verify: bool = True

    def __post_init__(self) -> None:
        given = [each for each in (self.password, self.token) if each is not None]
        if len(given) != (0 if self.username is None else 1):
            raise Misconfigured(
                f"The relay {self.host} needs a username and a password, or a username and access "
                "tokens, or nothing of all that."
            )
        if self.loopback:
            return
        if not self.verify:
            raise Misconfigured(
                f"The certificate of the relay {self.host} must be verified; only a relay on this "
                "machine may go without."
            )
        if self.security == "none" and self.username is not None:
            raise Misconfigured(
                f"The login at the relay {self.host} would be sent unencrypted; set the "
                "security to starttls or tls."
            )

    @property
    def place(self) -> str:
        """The relay as people name it."""
        return f"{self.host} port {self.port}"

    @property
    def loopback(self) -> bool:
        """Whether the relay is on this machine."""
        return is_loopback(self.host)


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """The connection a transaction runs over, for the record and for evidence afterwards.

    `local_host` and `local_port` are this end's address, which a relay's log names. `greeting` and
    `ehlo` are the relay's own words, `tls` the protocol version or None.
    """

    host: str
    port: int
    peer_host: str
    local_host: str
    local_port: int
    greeting: str
    ehlo: str
    tls: str | None
    phase: Phase


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What a relay was found to offer, by looking alone.

    `extensions` are EHLO's keywords in capitals with what stands behind them, the last ones that
    were offered: after the encryption, where there is any. `certificate_until` is when its
    certificate ends, None where there is none or it was not verified. `refusal` says why the login
    failed and `fix` what to do about it; they are None where it succeeded, or where none is set.
    """

    session: Session
    extensions: Mapping[str, str]
    certificate_until: datetime | None
    refusal: str | None
    fix: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reports:
    """What reports are asked for, in the words of RFC 3461."""

    envelope_id: str | None
    notify: Sequence[str]

    def of_message(self) -> str:
        """The parameters of MAIL."""
        named = f" ENVID={xtext(self.envelope_id)}" if self.envelope_id else ""
        return f" RET=HDRS{named}" if named or self.notify else ""

    def of_recipient(self, recipient: str) -> str:
        """The parameters of RCPT."""
        if not self.notify:
            return ""
        return f" NOTIFY={','.join(self.notify)} ORCPT=rfc822;{xtext(recipient)}"


class _BrokenError(Exception):
    """The connection has ended, timed out, or cannot be understood any more."""


class _TroubleError(Exception):
    """The relay cannot be used just now, for any letter; `fix` is a sentence for a person."""

    def __init__(self, what: str, fix: str = _SPEAK) -> None:
        super().__init__(what)
        self.fix = fix


class _StaleTokenError(_TroubleError):
    """The relay refused an access token, which may have ended."""

    def __init__(self, token: str, what: str) -> None:
        super().__init__(what, _REFUSED)
        self.token = token


class Transport:
    """A connection to one relay, opened when first needed and kept from message to message.

    Use it as a context manager, from one thread at a time.
    """

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.phase = Phase.IDLE
        self._sender = ""
        self._client: _Client | None = None
        self._tls = _tls_context(relay) if relay.security != "none" else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take leave of the relay if there is a connection. The transport may be used again."""
        client, self._client = self._client, None
        self.phase = Phase.IDLE
        if client is not None:
            client.take_leave()

    def break_off(self) -> None:
        """From another thread: end the connection, so that nobody waits for an answer any more.

        What was on its way is then reported as it stands: not tried before the dot, lost after it.
        """
        client = self._client
        if client is not None:
            client.break_off()

    def send(
        self,
        sender: str,
        recipient: str,
        data: bytes,
        commit_intent: Callable[[Session], bool],
        *,
        envelope_id: str | None = None,
        notify: Sequence[str] = (),
    ) -> Outcome:
        """Hand over one message for one recipient; return what became of it.

        Where the relay offers it, reports are asked for (RFC 3461): of what `notify` says (SUCCESS,
        FAILURE, DELAY), with the header alone, and under the name `envelope_id`.

        `data` is the message with CRLF line endings, sent as it is. `commit_intent` is called once,
        after the whole body has been written and before the dot: the dot follows only if it
        returns True. If it returns False or raises, the connection is cut without a dot, and what
        it raised is passed on. Raises `LetterFault` if the message or an address cannot be sent by
        SMTP as it stands; then nothing was sent.
        """
        _refuse_unsendable(data)
        mail_from, rcpt_to = ascii_address(sender), ascii_address(recipient)
        try:
            reports = _Reports(envelope_id=envelope_id, notify=notify)
            outcome = self._transaction(mail_from, rcpt_to, data, commit_intent, reports)
        except BaseException:
            self._cut()
            raise
        if isinstance(outcome, Lost | NotTried) or self._is_closing(outcome.reply):
            self._cut()
        return outcome

    def _transaction(
        self,
        sender: str,
        recipient: str,
        data: bytes,
        commit_intent: Callable[[Session], bool],
        reports: "_Reports",
    ) -> Outcome:
        self.phase, self._sender = Phase.CONNECT, sender
        try:
            client = self._connected()
        except _TroubleError as trouble:
            return NotTried(reason=str(trouble), trouble=True)
        try:
            refusal = self._announce(client, sender, recipient, data, reports)
            refusal = refusal or self._body(client, data)
        except _BrokenError as broken:
            return NotTried(
                reason=f"The relay {self.relay.place} broke off {_WHERE[self.phase]}, before the "
                f"dot: {broken}",
                trouble=False,
            )
        if refusal is not None:
            return refusal
        if not commit_intent(client.session(self.phase)):
            return NotTried(
                reason="The intent to send was not granted; the connection was cut before the dot.",
                trouble=False,
            )
        return self._dot(client)

    def _dot(self, client: "_Client") -> Outcome:
        self.phase = Phase.DOT
        client.patience = self.relay.timeout
        try:
            # What it says before it can have seen the dot is no answer to the dot.
            early = client.has_spoken()
            if not early:
                client.write(b".\r\n")
            reply = client.reply()
        except _BrokenError as broken:
            return Lost(reason=f"After the dot: {broken}")
        finally:
            client.patience = self.relay.command_timeout
        self.phase = Phase.ANSWERED
        match reply.code // 100:
            case 2 if not early:
                return Accepted(reply=reply, queue_id=_queue_id(reply.text))
            case 4:
                return Deferred(reply=reply)
            case 5 if _ABOUT_SENDER.match(reply.text):
                # It has the message and says that it did not take it, nor would it take another.
                return self._trouble(reply)
            case 5:
                return Rejected(reply=reply)
            case _:
                return Lost(reason=f"After the dot the relay said something out of turn: {reply}")

    def _announce(
        self, client: "_Client", sender: str, recipient: str, data: bytes, reports: "_Reports"
    ) -> Outcome | None:
        """MAIL, RCPT and DATA; return why it ends here, or None if the body may follow."""
        self.phase = Phase.MAIL
        parameters = ""
        if client.has_extn("size"):
            limit = client.esmtp_features["size"].partition(" ")[0]
            if limit.isdigit() and 0 < int(limit) < len(data):
                return Rejected(
                    reply=Reply(
                        code=552,
                        text=f"5.3.4 Not sent: the message has {len(data)} octets, and the relay "
                        f"says it takes {limit}; ask whoever runs the relay to take more, or let "
                        "the edition enclose less",
                    )
                )
            parameters = f" SIZE={len(data)}"
        wanted = client.has_extn("dsn")
        if wanted:
            parameters += reports.of_message()
        reply = client.command("MAIL", f"FROM:<{sender}>{parameters}")
        if reply.code // 100 != 2:
            return self._refusal(reply)
        self.phase = Phase.RCPT
        about = reports.of_recipient(recipient) if wanted else ""
        reply = client.command("RCPT", f"TO:<{recipient}>{about}")
        if reply.code // 100 != 2:
            return self._refusal(reply)
        self.phase = Phase.DATA
        reply = client.command("DATA")
        if reply.code != 354:
            return self._refusal(reply)
        return None

    def _body(self, client: "_Client", data: bytes) -> Outcome | None:
        """Write all but the dot; return why it ends here, or None if the dot may follow."""
        self.phase = Phase.BODY
        try:
            client.write(_stuffed(data))
        except _BrokenError:
            # A relay that has had enough says why before it hangs up: worth more than "reset".
            if (reply := client.last_words()) is None:
                raise
            return self._refusal(reply)
        return self._refusal(client.reply()) if client.has_spoken() else None

    def _refusal(self, reply: Reply) -> Outcome:
        """What a reply means that ends the transaction before the dot."""
        if self._is_trouble(reply):
            return self._trouble(reply)
        match reply.code // 100:
            case 4:
                return Deferred(reply=reply)
            case 5:
                return Rejected(reply=reply)
            case _:
                return NotTried(
                    reason=f"The relay {self.relay.place} said something out of turn "
                    f"{_WHERE[self.phase]}: {_sentence(reply)} {_SPEAK} {_GO_ON}",
                    trouble=True,
                )

    def _trouble(self, reply: Reply) -> NotTried:
        place, where, said = self.relay.place, _WHERE[self.phase], _sentence(reply)
        if _ABOUT_SENDER.match(reply.text) or (
            self.phase is Phase.MAIL and reply.code in {501, 550, 551, 553, 554}
        ):
            told = f"The relay {place} refused the sender {self._sender} {where}: {said} {_SENDER}"
        elif reply.code in {530, 534, 538}:
            told = f"The relay {place} wants a login {where}: {said} {_ASKED_FOR_LOGIN}"
        elif reply.code == 535:
            told = f"The relay {place} refused the login {where}: {said} {_LOGIN}"
        else:
            told = f"The relay {place} takes nothing at present; it said {where}: {said} {_ASK}"
        return NotTried(reason=f"{told} {_GO_ON}", trouble=True)

    def _is_trouble(self, reply: Reply) -> bool:
        if reply.code in {421, 454, 530, 534, 535, 538} or _ABOUT_SENDER.match(reply.text):
            return True
        if self.phase is not Phase.MAIL:
            return False
        # MAIL is about us, not about the recipient; only the size is the message's own affair.
        enhanced = _ENHANCED.match(reply.text)
        subject = enhanced.groups() if enhanced else ("", "")
        if reply.code // 100 == 5:
            return reply.code != 552 and subject not in {("3", "4"), ("2", "3")}
        return subject[0] == "7"

    def _is_closing(self, reply: Reply) -> bool:
        # After a reply out of turn, or once DATA was answered with 354, only the dot ends it well.
        return reply.code == 421 or self.phase is Phase.BODY

    def _connected(self) -> "_Client":
        if self._client is not None:
            try:
                if self._client.command("RSET").code == 250:
                    return self._client
            except _BrokenError:
                pass  # an idle connection was closed; nothing was under way, so start afresh
            self._cut()
        try:
            return self._introduced(None)
        except _StaleTokenError as stale:
            self.close()
            return self._introduced(stale)

    def _introduced(self, stale: _StaleTokenError | None) -> "_Client":
        self.phase = Phase.CONNECT
        try:
            client = _Client(self.relay, self._tls)
        except _BrokenError as broken:
            raise _TroubleError(f"{_unreached(self.relay, broken)} {_REACH} {_GO_ON}") from broken
        self._client = client
        try:
            client.introduce(stale)
        except _BrokenError as broken:
            self._cut()
            raise _TroubleError(f"{_broken_off(self.relay, broken)} {_SPEAK} {_GO_ON}") from broken
        except _StaleTokenError:
            raise
        except _TroubleError as trouble:
            self._cut()
            raise _TroubleError(
                f"{_unusable(self.relay, trouble)} {trouble.fix} {_GO_ON}"
            ) from trouble
        return client

    def _cut(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.cut()


def look(relay: Relay) -> Offer | NotTried:
    """Connect, say EHLO, encrypt, log in and take leave: no sender is named and nothing is sent.

    Returns what the relay offers, or why it cannot be used, and leaves it to the caller to say what
    to do about that. Raises `Misconfigured` for certificates that cannot be read.
    """
    tls = _tls_context(relay) if relay.security != "none" else None
    try:
        return _looked(relay, tls, None)
    except _StaleTokenError as stale:
        return _looked(relay, tls, stale)


def _looked(
    relay: Relay, tls: ssl.SSLContext | None, stale: _StaleTokenError | None
) -> Offer | NotTried:
    try:
        client = _Client(relay, tls)
    except _BrokenError as broken:
        return NotTried(reason=_unreached(relay, broken), trouble=True)
    try:
        client.greet()
        refusal = fix = None
        try:
            client.log_in(stale)
        except _StaleTokenError:
            client.take_leave()
            raise
        except _TroubleError as trouble:
            refusal, fix = _unusable(relay, trouble), trouble.fix
        offer = client.offer(refusal, fix)
        client.take_leave()
    except _BrokenError as broken:
        return NotTried(reason=_broken_off(relay, broken), trouble=True)
    except _StaleTokenError:
        raise
    except _TroubleError as trouble:
        return NotTried(reason=_unusable(relay, trouble), trouble=True)
    else:
        return offer
    finally:
        client.close()


def _unreached(relay: Relay, broken: _BrokenError) -> str:
    return f"The relay {relay.place} cannot be reached: {broken}"


def _broken_off(relay: Relay, broken: _BrokenError) -> str:
    return f"The relay {relay.place} broke off: {broken}"


def _unusable(relay: Relay, trouble: _TroubleError) -> str:
    return f"The relay {relay.place} cannot be used: {str(trouble).rstrip('.')}."


class _Client(smtplib.SMTP):
    """smtplib's client with a strict, patient reader and every phase written out.

    smtplib's own reader takes "25x" and " 25" for codes, waits anew for every octet, and would
    read a reply left over from an earlier command as the answer to the dot.
    """

    def __init__(self, relay: Relay, tls: ssl.SSLContext | None) -> None:
        super().__init__(local_hostname=relay.local_hostname or "", timeout=relay.connect_timeout)
        self.relay = relay
        self.tls = tls
        self.patience = relay.command_timeout
        self.greeting = ""
        self._tokens: list[str] = []
        self._unread = bytearray()
        try:
            self.sock: socket.socket = socket.create_connection(
                (relay.host, relay.port), relay.connect_timeout
            )
            # The dot is a small write after a large one: without this it waits 40 ms for an
            # acknowledgement of the body.
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.peer_host = str(self.sock.getpeername()[0])
            self.own_host, self.own_port = self.sock.getsockname()[:2]
        except (OSError, UnicodeError) as error:
            raise _BrokenError(_named(error)) from error
        if not self.local_hostname:
            self.local_hostname = self._own_name()

    def introduce(self, stale: _StaleTokenError | None) -> None:
        """Greeting, EHLO, TLS and login; raise `_TroubleError` if any of them fails."""
        self.greet()
        self.log_in(stale)

    def greet(self) -> None:
        """Greeting, EHLO and TLS; raise `_TroubleError` if any of them fails."""
        if self.relay.security == "tls":
            self._encrypt()
        greeting = self.reply()
        self.greeting = str(greeting)
        if greeting.code != 220:
            raise _TroubleError(f"it greeted with {greeting}")
        self._say_hello()
        if self.relay.security == "starttls":
            if not self.has_extn("starttls"):
                raise _TroubleError(
                    "it does not offer STARTTLS, which the settings ask for", _OFFERED
                )
            reply = self.command("STARTTLS")
            if reply.code != 220:
                raise _TroubleError(f"it answered STARTTLS with {reply}")
            self._encrypt()
            self._say_hello()

    def log_in(self, stale: _StaleTokenError | None) -> None:
        """Log in where a username is set; raise `_TroubleError` if the relay will not have it.

        `stale` is what became of the token before: then another is asked for. If it is None, and
        the relay refuses the token, `_StaleTokenError` is raised.
        """
        relay = self.relay
        if relay.username is not None and relay.token is not None:
            self._log_in_by_token(relay.username, relay.token, stale)
        elif relay.username is not None and relay.password is not None:
            self._log_in(relay.username, relay.password)

    def break_off(self) -> None:
        """From another thread: whoever reads or writes finds the connection ended."""
        with contextlib.suppress(OSError):
            # The plain socket's own: that of an encrypted one would take the encryption away from
            # under whoever is reading.
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)

    def command(self, verb: str, argument: str = "") -> Reply:
        """Send one command and return the answer to it."""
        code, text = self.docmd(verb, argument)
        return self._reply_of(code, text)

    def reply(self) -> Reply:
        """Wait for the next reply, as long as `patience` says."""
        return self._reply_of(*self.getreply())

    def session(self, phase: Phase) -> Session:
        """Return what there is to know about this connection."""
        return Session(
            host=self.relay.host,
            port=self.relay.port,
            peer_host=self.peer_host,
            local_host=self.own_host,
            local_port=self.own_port,
            greeting=self.greeting,
            ehlo=printable(self.ehlo_resp or b"")[:_REPLY_TEXT_LIMIT],
            tls=self.sock.version() if isinstance(self.sock, ssl.SSLSocket) else None,
            phase=phase,
        )

    def offer(self, refusal: str | None, fix: str | None) -> Offer:
        """Return what the relay has said that it offers, and how its login went."""
        certificate = self.sock.getpeercert() if isinstance(self.sock, ssl.SSLSocket) else None
        ends = str((certificate or {}).get("notAfter", ""))
        return Offer(
            session=self.session(Phase.IDLE),
            extensions={
                self._words(name.encode("latin-1")).upper(): self._words(value.encode("latin-1"))
                for name, value in self.esmtp_features.items()
            },
            certificate_until=(
                datetime.fromtimestamp(ssl.cert_time_to_seconds(ends), UTC) if ends else None
            ),
            refusal=refusal,
            fix=fix,
        )

    def send(self, s: bytes | str) -> None:  # type: ignore[override] # what smtplib writes
        """Write a command; smtplib's own commands come through here."""
        if self._unread:
            raise _BrokenError("the relay spoke out of turn, so its answers cannot be told apart.")
        self.write(s.encode("ascii") if isinstance(s, str) else bytes(s))

    def write(self, octets: bytes) -> None:
        """Write everything to the socket before returning."""
        try:
            self.sock.settimeout(self.patience)
            self.sock.sendall(octets)
        except OSError as error:
            raise _BrokenError(_named(error)) from error

    def getreply(self) -> tuple[int, bytes]:
        """Return the code and the joined text of the next reply."""
        deadline = time.monotonic() + self.patience
        texts: list[bytes] = []
        first_code = b""
        while len(texts) < _REPLY_LINES_LIMIT:
            line = self._line(deadline)
            match = _REPLY_LINE.fullmatch(line)
            if match is None or (first_code and match[1] != first_code):
                raise _BrokenError(f"the relay's reply cannot be read: {self._words(line[:200])}")
            first_code = match[1]
            texts.append((match[3] or b"").strip())
            if match[2] != b"-":
                return int(first_code), b"\n".join(texts)
        raise _BrokenError("the relay's reply does not end.")

    def has_spoken(self) -> bool:
        """Whether the relay has said something, or hung up, without being asked."""
        if self._unread:
            return True
        try:
            self.sock.settimeout(0)
            octets = self.sock.recv(4096)
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        except OSError as error:
            raise _BrokenError(_named(error)) from error
        finally:
            self.sock.settimeout(self.patience)
        if not octets:
            raise _BrokenError("the relay closed the connection.")
        self._unread += octets
        return True

    def last_words(self) -> Reply | None:
        """What the relay said before it broke the connection, if it can be read."""
        self.patience = _LAST_WORDS_SECONDS
        try:
            return self.reply()
        except _BrokenError:
            return None

    def take_leave(self) -> None:
        """QUIT if the relay still listens, and close."""
        self.patience = _QUIT_SECONDS
        try:
            self.command("QUIT")
        except _BrokenError:
            pass
        finally:
            self.close()

    def cut(self) -> None:
        """Close at once, so that nothing that still waits in this machine is sent later."""
        try:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except OSError:
            pass
        finally:
            self.close()

    def _line(self, deadline: float) -> bytes:
        while (end := self._unread.find(b"\n")) < 0:
            if len(self._unread) > _REPLY_LINE_LIMIT:
                raise _BrokenError("the relay's reply is one endless line.")
            remaining = deadline - time.monotonic()
            try:
                if remaining <= 0:
                    raise TimeoutError
                self.sock.settimeout(remaining)
                octets = self.sock.recv(4096)
            except TimeoutError as error:
                raise _BrokenError(f"no whole answer within {self.patience:g} seconds.") from error
            except OSError as error:
                raise _BrokenError(_named(error)) from error
            if not octets:
                raise _BrokenError("the relay closed the connection.")
            self._unread += octets
        line = bytes(self._unread[:end]).removesuffix(b"\r")
        del self._unread[: end + 1]
        return line

    def _reply_of(self, code: int, text: bytes) -> Reply:
        return Reply(code=code, text=self._words(text))

    def _words(self, octets: bytes) -> str:
        # A careless relay echoes what it was given; it must not reach the record.
        password = self.relay.password
        forms = [password, _base64(password), self._plain_login()] if password else []
        words = masked(octets, passwords=forms, tokens=self._tokens)
        return words[:_REPLY_TEXT_LIMIT]

    def _say_hello(self) -> None:
        code, text = self.ehlo()
        if code // 100 == 5 and self.relay.security == "none" and self.relay.username is None:
            code, text = self.helo()
        if code != 250:
            raise _TroubleError(f"it answered EHLO with {self._reply_of(code, text)}")

    def _encrypt(self) -> None:
        if self._unread:
            # Somebody in between could have put commands before the encrypted part.
            raise _TroubleError("it sent something between STARTTLS and the encryption")
        if self.tls is None:
            raise _TroubleError("encryption was asked for and not prepared")
        try:
            self.sock.settimeout(self.relay.connect_timeout)
            self.sock = self.tls.wrap_socket(self.sock, server_hostname=self.relay.host)
        except ssl.SSLCertVerificationError as error:
            raise _TroubleError(
                f"its certificate is not trusted: {error.verify_message}", _TRUST
            ) from error
        except (OSError, ValueError) as error:
            raise _TroubleError(f"the encryption failed: {_named(error)}") from error

    def _log_in(self, username: str, password: str) -> None:
        offered = self.esmtp_features.get("auth", "").upper().split()
        if "PLAIN" in offered:
            reply = self.command("AUTH", f"PLAIN {self._plain_login()}")
        elif "LOGIN" in offered:
            reply = self.command("AUTH", "LOGIN")
            if reply.code == 334:
                reply = self.command(_base64(username))
            if reply.code == 334:
                reply = self.command(_base64(password))
        else:
            raise _TroubleError("it offers neither of the logins PLAIN and LOGIN", _LOGINS)
        if reply.code != 235:
            raise _TroubleError(f"it refused the login of {username}: {reply}", _LOGIN)

    def _log_in_by_token(
        self,
        username: str,
        give: Callable[[str | None], str],
        stale: _StaleTokenError | None,
    ) -> None:
        if "XOAUTH2" not in self.esmtp_features.get("auth", "").upper().split():
            raise _TroubleError("it does not offer the login XOAUTH2", _LOGINS_BY_OAUTH)
        try:
            token = give(stale.token if stale else None)
        except LettersError as error:
            raise _TroubleError("there is no access token for its login", str(error)) from error
        if stale is not None and token == stale.token:
            raise _TroubleError(str(stale), stale.fix)
        login = _base64(f"user={username}\1auth=Bearer {token}\1\1")
        self._tokens += [token, _base64(token), login]
        reply = self.command("AUTH", f"XOAUTH2 {login}")
        wanted = ""
        if reply.code == 334:
            # It says what is wrong, and wants an empty answer before it refuses the login.
            wanted = _wanted(reply.text)
            reply = self.command("")
        if reply.code == 235:
            return
        what = f"it refused the access token of {username}: {reply}{wanted}"
        if reply.code == 535 and stale is None:
            raise _StaleTokenError(token, what)
        raise _TroubleError(what, _REFUSED)

    def _plain_login(self) -> str:
        return _base64(f"\0{self.relay.username}\0{self.relay.password}")

    def _own_name(self) -> str:
        # Without asking the name servers, which smtplib's default does and may wait long for.
        name = socket.gethostname()
        if "." in name and re.fullmatch(r"[A-Za-z0-9.-]+", name):
            return name
        return f"[IPv6:{self.own_host}]" if ":" in self.own_host else f"[{self.own_host}]"


def _tls_context(relay: Relay) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=relay.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise Misconfigured(
            f"The certificates in {relay.ca_file}, which smtp.ca_file names, cannot be read: "
            f"{_named(error)} Name a file in PEM form that whoever runs this may read."
        ) from error
    if not relay.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _refuse_unsendable(data: bytes) -> None:
    # Counting, not searching: a pattern takes 2 ms for a letter, as long as all of SMTP.
    breaks = data.count(b"\r\n")
    if not data.endswith(b"\r\n") or breaks != data.count(b"\n") or breaks != data.count(b"\r"):
        raise LetterFault(
            "The message cannot be sent: its lines must all end in CRLF, the last one too."
        )
    if not data.isascii():
        raise LetterFault("The message cannot be sent: it is not plain 7-bit text throughout.")
    if max(map(len, data.split(b"\r\n"))) > _LINE_LIMIT:
        raise LetterFault("The message cannot be sent: a line is longer than 998 octets.")


def _stuffed(data: bytes) -> bytes:
    """The message with a dot more at the start of each line that has one (RFC 5321 4.5.2)."""
    stuffed = data.replace(b"\n.", b"\n..")
    return b"." + stuffed if data.startswith(b".") else stuffed


def _sentence(reply: Reply) -> str:
    said = str(reply).rstrip(". ")
    return said if said.endswith(("?", "!")) else f"{said}."


def _queue_id(text: str) -> str | None:
    for pattern in _QUEUE_IDS:
        if match := pattern.search(text):
            return match[1]
    return None


def _wanted(challenge: str) -> str:
    """What an error challenge of XOAUTH2 says that a token should be for, if it says anything."""
    try:
        told = json.loads(base64.b64decode(challenge, validate=True))
        scope = told.get("scope")
    except (ValueError, AttributeError, RecursionError):
        return ""
    known = isinstance(scope, str) and re.fullmatch(r"[\x21-\x7e]{1,200}", scope)
    return f" (the scope it wants is {scope})" if known else ""


def _base64(text: str) -> str:
    return base64.b64encode(text.encode("utf-8")).decode("ascii")


def _named(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "it took too long."
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return f"{words}."
