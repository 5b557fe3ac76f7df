"""A real Postfix for the tests: private, on loopback, from which nothing leaves.

`running_postfix()` starts one from the distribution's programs in a folder of its own and stops it
again; the machine's own Postfix, its settings and its queue are not touched. Mail for the domain
COUNCIL goes into Maildirs, so that what each mailbox got can be counted; mail for anywhere else is
accepted and returned. `running_sink()` is Postfix's own test server, which refuses, drops or
dawdles at the point it is told.
"""

import email
import email.policy
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path

from tests import relays, servers

COUNCIL = "council.test"
OMBUDSMAN = "ombudsman.test"
MAILBOXES = (
    *(f"{name}@{COUNCIL}" for name in ("chief", "link", "other", "grey", "full", "blocked")),
    f"bounces@{OMBUDSMAN}",
    f"letters@{OMBUDSMAN}",
)
MAIL_USER = "nobody"

_MAIN = """\
compatibility_level = 3.6
queue_directory = {place}/queue
data_directory = {place}/data
mail_owner = postfix
setgid_group = postdrop
maillog_file = {log}
maillog_file_prefixes = {place}
myhostname = relay.test
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
alias_maps =
alias_database =
local_recipient_maps =
local_transport = error:nothing is local here
default_transport = error:5.4.4 nothing leaves
relay_transport = error:5.4.4 nothing leaves
transport_maps = texthash:{etc}/transport
virtual_mailbox_domains = {council}, {ombudsman}
virtual_mailbox_base = {place}/mail
virtual_mailbox_maps = texthash:{etc}/mailboxes
virtual_minimum_uid = 1
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
recipient_delimiter = +
enable_long_queue_ids = yes
smtpd_client_port_logging = yes
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_recipient_restrictions =
    check_recipient_access texthash:{etc}/access, permit_mynetworks, reject
smtpd_client_connection_count_limit = 0
smtpd_error_sleep_time = 0
smtpd_tls_chain_files = {place}/tls/trusted.key, {place}/tls/trusted.pem
smtp_dns_support_level = disabled
delay_warning_time = 1s
"""
_ACCESS = f"""\
grey@{COUNCIL} 450 4.2.0 Greylisted, try again later
full@{COUNCIL} 452 4.2.2 The mailbox is full
blocked@{COUNCIL} 550 5.7.1 Not wanted here
"""
_TRANSPORT = f"slow@{COUNCIL} retry:4.2.2 The mailbox is busy\n"
_MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
127.0.0.1:{late_port} inet n - n - - smtpd
  -o smtpd_reject_unlisted_recipient=no
127.0.0.1:{tls_port} inet n - n - - smtpd
  -o smtpd_tls_security_level=encrypt
127.0.0.1:{expired_port} inet n - n - - smtpd
  -o smtpd_tls_security_level=encrypt
  -o smtpd_tls_chain_files={tls}/expired.key,{tls}/expired.pem
127.0.0.1:{hasty_port} inet n - n - - smtpd
  -o smtpd_timeout=2s
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""

# What the log says of sessions and of messages in the queue.
_STARTED = "daemon started"
_BEGUN = re.compile(r"smtpd\[\d+\]: connect from ")
_ENDED = re.compile(r"smtpd\[\d+\]: disconnect from .*")
_TAKEN = re.compile(r" (?:data|bdat)=(\d+)")
_CLIENT = re.compile(r"smtpd\[\d+\]: (\w+): client=")
_NOTICE = re.compile(r"notification: (\w+)$", re.MULTILINE)
_ACTIVE = re.compile(r"qmgr\[\d+\]: (\w+): from=.*\(queue active\)")
_REMOVED = re.compile(r"qmgr\[\d+\]: (\w+): removed")
_DEFERRED = re.compile(r": (\w+): to=.* status=deferred")


@dataclass(frozen=True, slots=True, kw_only=True)
class Postfix:
    """A running Postfix.

    `port` refuses unknown mailboxes at RCPT; `late_port` takes every recipient and returns what
    cannot be delivered; `tls_port` is as `port`, and insists on STARTTLS with the certificate that
    `authority` signed, `expired_port` with one that has ended; `hasty_port` waits two seconds for a
    client. At all of them grey@ is put off (450), full@ is full (452) and blocked@ is refused
    (550); at slow@, which needs the late port, mail waits and a delay is reported.
    """

    place: Path
    port: int
    late_port: int
    tls_port: int
    expired_port: int
    hasty_port: int
    host: str = "127.0.0.1"
    _stack: ExitStack = field(repr=False)

    @property
    def log(self) -> Path:
        return self.place / "log" / "mail.log"

    @property
    def authority(self) -> Path:
        return self.place / "tls" / "ca.pem"

    def maildir(self, mailbox: str) -> Path:
        """The Maildir of a mailbox, without what follows a +."""
        local, _, domain = mailbox.rpartition("@")
        return self.place / "mail" / domain / local.partition("+")[0]

    def copies(self, mailbox: str) -> list[bytes]:
        """What a mailbox has got; with a + only what was sent to just this address."""
        found = [file.read_bytes() for file in sorted(self.maildir(mailbox).glob("new/*"))]
        if "+" not in mailbox:
            return found
        wanted = f"\nDelivered-To: {mailbox}\n".encode()
        return [each for each in found if wanted in each.partition(b"\n\n")[0] + b"\n"]

    def reports(self, mailbox: str) -> list[EmailMessage]:
        """The same, read as messages."""
        return [
            email.message_from_bytes(each, policy=email.policy.default)
            for each in self.copies(mailbox)
        ]

    def logged(self) -> str:
        return self.log.read_text("utf-8")

    def await_logged(self, pattern: str, number: int = 1) -> list[str]:
        """Wait until as many lines of the log match; give them all."""
        line = re.compile(f"^.*(?:{pattern}).*\n", re.MULTILINE)
        servers.await_that(
            f"{number} lines of the log match {pattern}",
            lambda: len(line.findall(self.logged())) >= number,
            self.logged,
        )
        return [found[0] for found in line.finditer(self.logged())]

    def await_copies(self, mailbox: str, number: int = 1) -> list[bytes]:
        """Wait until a mailbox has got as many; give them."""
        servers.await_that(
            f"{mailbox} got {number}",
            lambda: len(self.copies(mailbox)) >= number,
            self.logged,
        )
        return self.copies(mailbox)

    @contextmanager
    def away(self) -> Iterator[None]:
        """While it lasts the relay is not there; what it had taken by then waits in its queue.

        Sessions that were open are ended. Settings and tables are read anew afterwards.
        """
        pid = int((self.place / "queue" / "pid" / "master.pid").read_text("ascii"))
        os.kill(pid, signal.SIGTERM)
        servers.await_that("Postfix ended", lambda: not _runs(pid), self.logged)
        try:
            yield
        finally:
            starts = self.logged().count(_STARTED)
            self._stack.enter_context(_master(self.place))
            self.await_logged(_STARTED, starts + 1)

    def settle(self) -> None:
        """Wait until no client is connected and all that was taken is delivered or put off.

        What a mailbox has got then is all that it will get of what was sent so far; only of a delay
        the report may still come.
        """
        self._catch_up()
        servers.await_that("Postfix had nothing left to do", self._settled, self.logged)

    def _catch_up(self) -> None:
        """Wait until the log holds all that has been done so far; it is written by another process.

        Lines are written in the order in which they were handed over, so a session of our own is
        the last of them.
        """
        with socket.create_connection((self.host, self.port)) as client:
            port = client.getsockname()[1]
            with client.makefile("rwb", buffering=0) as lines:
                greeting = lines.readline()
                assert greeting.startswith(b"220 "), (greeting, self.logged())
                lines.write(b"QUIT\r\n")
                farewell = lines.readline()
                assert farewell.startswith(b"221 "), (farewell, self.logged())
        self.await_logged(rf"disconnect from \S*:{port} ")

    def _settled(self) -> bool:
        # The log tells in order what was done, so any part of it is true of some moment. Sessions
        # that were open when Postfix was ended never ended in it.
        log = self.logged().rpartition(_STARTED)[2]
        ended = _ENDED.findall(log)
        taken = sum(int(found[1]) for each in ended if (found := _TAKEN.search(each)))
        active = set(_ACTIVE.findall(log))
        known = active | set(_NOTICE.findall(log))
        done = set(_REMOVED.findall(log)) | set(_DEFERRED.findall(log))
        return (
            len(ended) == len(_BEGUN.findall(log))
            and taken == len(active & set(_CLIENT.findall(log)))
            and known <= done
            and not self._waiting()
        )

    def _waiting(self) -> bool:
        """Whether something that was taken before a new start has not been looked at since."""
        # A file is executable once all of it is there.
        for name in ("incoming", "active"):
            for file in (self.place / "queue" / name).iterdir():
                with suppress(FileNotFoundError):
                    if file.stat().st_mode & 0o100:
                        return True
        return False


@contextmanager
def running_postfix() -> Iterator[Postfix]:
    """Start a private Postfix; stop it and remove everything afterwards.

    Where there is none the test is skipped, or failed where CI is true.
    """
    servers.needed()
    with ExitStack() as stack:
        for attempt in (1, 2, 3):
            place = stack.enter_context(servers.folder("letters-postfix-"))
            port, late_port, tls_port, expired_port, hasty_port = servers.free_ports(5)
            postfix = Postfix(
                place=place,
                port=port,
                late_port=late_port,
                tls_port=tls_port,
                expired_port=expired_port,
                hasty_port=hasty_port,
                _stack=stack,
            )
            _prepare(postfix)
            stack.enter_context(_master(place))
            log = _said(postfix)
            if "fatal: " not in log:
                break
            # Somebody may have taken a port between the question and the start.
            if attempt == 3 or "Address already in use" not in log:
                raise RuntimeError(f"Postfix did not start:\n{log}")
        yield postfix


def _master(place: Path) -> AbstractContextManager[None]:
    program = Path(_setting("daemon_directory"), "master")
    return servers.running([program, "-s", "-c", place / "etc"], place, place / "log" / "output")


def _runs(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("ascii")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def _said(postfix: Postfix) -> str:
    """Wait until Postfix has started or given up; give all that it said."""

    def said() -> str:
        files = [postfix.log, postfix.log.with_name("output")]
        return "".join(file.read_text("utf-8") for file in files if file.exists())

    servers.await_that(
        "Postfix started or gave up",
        lambda: bool(re.search("daemon started|fatal: ", said())),
        said,
    )
    return said()


def _prepare(postfix: Postfix) -> None:
    place = postfix.place
    owner, user = pwd.getpwnam("postfix"), pwd.getpwnam(MAIL_USER)
    for name in ("etc", "log", "tls", "queue", "queue/pid"):
        (place / name).mkdir()
    private = "active bounce corrupt defer deferred flush hold incoming private saved trace"
    for name in [*(f"queue/{each}" for each in private.split()), "data"]:
        (place / name).mkdir(mode=0o700)
        os.chown(place / name, owner.pw_uid, owner.pw_gid)
    for name, mode in (("maildrop", 0o730), ("public", 0o710)):
        (place / "queue" / name).mkdir()
        shutil.chown(place / "queue" / name, "postfix", "postdrop")
        (place / "queue" / name).chmod(mode)
    (place / "mail").mkdir()
    for mailbox in MAILBOXES:
        maildir = postfix.maildir(mailbox)
        for name in ("tmp", "new", "cur"):
            (maildir / name).mkdir(parents=True)
    for made in [place / "mail", *(place / "mail").rglob("*")]:
        os.chown(made, user.pw_uid, user.pw_gid)
    relays.make_certificates(place / "tls")
    _make_expired(place / "tls")
    files = {
        "main.cf": _MAIN.format(
            place=place,
            etc=place / "etc",
            log=postfix.log,
            council=COUNCIL,
            ombudsman=OMBUDSMAN,
            uid=user.pw_uid,
            gid=user.pw_gid,
        ),
        "master.cf": _MASTER.format(
            port=postfix.port,
            late_port=postfix.late_port,
            tls_port=postfix.tls_port,
            expired_port=postfix.expired_port,
            hasty_port=postfix.hasty_port,
            tls=place / "tls",
        ),
        "access": _ACCESS,
        "transport": _TRANSPORT,
        "mailboxes": "".join(
            f"{each} {postfix.maildir(each).relative_to(place / 'mail')}/\n" for each in MAILBOXES
        ),
    }
    for name, text in files.items():
        (place / "etc" / name).write_text(text, "utf-8")


_CA = """\
[ca]
default_ca = here
[here]
database = index
new_certs_dir = .
rand_serial = yes
default_md = sha256
policy = any
[any]
commonName = supplied
"""


def _make_expired(folder: Path) -> None:
    """A certificate of the authority in the folder that ended long ago."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    (folder / "index").touch()
    (folder / "ca.cnf").write_text(_CA, "ascii")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
    openssl(
        *("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
        *("-keyout", "expired.key", "-out", "expired.csr", "-subj", "/CN=expired"),
    )
    openssl(
        *("ca", "-batch", "-notext", "-config", "ca.cnf", "-cert", "ca.pem", "-keyfile", "ca.key"),
        *("-startdate", "20200101000000Z", "-enddate", "20200201000000Z", "-extfile", "names"),
        *("-in", "expired.csr", "-out", "expired.pem"),
    )


def _setting(name: str) -> str:
    program = servers.program("postconf")
    assert program is not None
    return subprocess.run(
        [program, "-d", "-h", name], capture_output=True, text=True, check=True
    ).stdout.strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sink:
    """A running smtp-sink: what it was given, and whether it took it, is in `folder`."""

    port: int
    folder: Path
    host: str = "127.0.0.1"

    def messages(self) -> list[bytes]:
        """What was sent to it up to a final dot or to where it broke off."""
        return [file.read_bytes() for file in sorted(self.folder.iterdir())]


@contextmanager
def running_sink(*options: str) -> Iterator[Sink]:
    """Start smtp-sink, with these options; stop it and remove everything afterwards.

    `-q .` hangs up at the dot, `-Q .` answers it with 421, `-r .` with 450, `-f .` with 500,
    `-W .:4` with 250 after four seconds; for the dot there may be any command. `-N` offers no DSN.
    """
    servers.needed()
    program = servers.program("smtp-sink")
    assert program is not None
    with servers.folder("letters-sink-") as place:
        folder = place / "messages"
        folder.mkdir()
        shutil.chown(folder, MAIL_USER)
        (port,) = servers.free_ports(1)
        command: Sequence[str] = [
            *(program, "-4", "-u", MAIL_USER, "-d", str(folder / "message.")),
            *(*options, f"127.0.0.1:{port}", "100"),
        ]
        with servers.running(command, place, place / "output"):
            servers.await_that(
                "smtp-sink listens",
                lambda: servers.listening(port),
                (place / "output").read_text,
            )
            yield Sink(port=port, folder=folder)
