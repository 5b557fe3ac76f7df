"""A real Dovecot for the tests: private, IMAP on loopback, over a Maildir that is handed to it.

`running_dovecot()` starts one from the distribution's programs in a folder of its own and stops it
again. It lets anybody in who gives PASSWORD, or TOKEN by XOAUTH2: a small server beside it says
which tokens are good. Both of Dovecot's configuration languages, 2.3's and 2.4's, are spoken.
"""

import http.server
import json
import pwd
import re
import shutil
import subprocess
import threading
import urllib.parse
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests import relays, servers
from tests.postfix import MAIL_USER

USER = "bounces"
PASSWORD = 'correct "horse\\ £'  # noqa: S105 - all that IMAP has to quote, and more
TOKEN = "token-that-is-good"  # noqa: S105

_COMMON = """\
base_dir = {place}/run
state_dir = {place}/state
log_path = {place}/log
instance_name = letters-tests
listen = 127.0.0.1
ssl = yes
auth_mechanisms = plain login xoauth2
auth_failure_delay = 0
first_valid_uid = 1
mail_uid = {uid}
mail_gid = {gid}
mail_home = {place}/home
mail_fsync = never
mail_max_userip_connections = 0
namespace inbox {{
  inbox = yes
  separator = /
}}
# Whoever fails to log in is kept waiting, and those after them.
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service imap-login {{
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = {tls_port}
    ssl = yes
  }}
}}
"""
_OLDER = """\
protocols = imap
disable_plaintext_auth = {encrypted_only}
ssl_cert = <{place}/tls/trusted.pem
ssl_key = <{place}/tls/trusted.key
mail_location = maildir:{maildir}:CONTROL={place}/control:INDEX={place}/index
passdb {{
  driver = oauth2
  mechanisms = xoauth2
  args = {place}/oauth2.conf
}}
passdb {{
  driver = passwd-file
  mechanisms = plain login
  args = {place}/passwords
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={place}/home
}}
"""
_OLDER_TOKENS = """\
introspection_mode = post
introspection_url = {tokens}
username_attribute = username
active_attribute = active
active_value = true
"""
_NEWER = """\
protocols {{
  imap = yes
}}
auth_allow_cleartext = {cleartext_too}
ssl_server_cert_file = {place}/tls/trusted.pem
ssl_server_key_file = {place}/tls/trusted.key
mail_driver = maildir
mail_path = {maildir}
mail_inbox_path = {maildir}
mail_control_path = {place}/control
mail_index_path = {place}/index
mailbox_list_layout = maildir++
passdb passwd-file {{
  passwd_file_path = {place}/passwords
}}
userdb static {{
  fields {{
    uid = {uid}
    gid = {gid}
    home = {place}/home
  }}
}}
oauth2 {{
  introspection_mode = post
  introspection_url = {tokens}
  username_attribute = username
  active_attribute = active
  active_value = true
}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dovecot:
    """A running Dovecot: `port` is plain IMAP with STARTTLS, `tls_port` is encrypted at once.

    `authority` signed its certificate; `maildir` is what it shows.
    """

    place: Path
    maildir: Path
    port: int
    tls_port: int
    host: str = "127.0.0.1"

    @property
    def authority(self) -> Path:
        return self.place / "tls" / "ca.pem"

    def logged(self) -> str:
        return (self.place / "log").read_text("utf-8")

    def put(self, message: bytes, name: str, folder: str = "new") -> Path:
        """Put a message into the Maildir, as an MTA would, under a name that never was before."""
        name = f"{name}.{uuid.uuid4().hex}"
        path = self.maildir / "tmp" / name
        path.write_bytes(message)
        shutil.chown(path, MAIL_USER)
        return path.rename(self.maildir / folder / name)


@contextmanager
def running_dovecot(maildir: Path | None = None, *, cleartext: bool = True) -> Iterator[Dovecot]:
    """Start a private Dovecot over a Maildir, or over an empty one of its own; stop it afterwards.

    With `cleartext` a password may be given without encryption. Where there is no Dovecot the test
    is skipped, or failed where CI is true.
    """
    servers.needed()
    program = servers.program("dovecot")
    assert program is not None
    with ExitStack() as stack:
        tokens = stack.enter_context(_token_server())
        for attempt in (1, 2, 3):
            place = stack.enter_context(servers.folder("letters-dovecot-"))
            port, tls_port = servers.free_ports(2)
            dovecot = Dovecot(
                place=place, maildir=maildir or place / "mail", port=port, tls_port=tls_port
            )
            _prepare(dovecot, program, tokens, cleartext=cleartext)
            output = place / "output"
            stack.enter_context(
                servers.running([program, "-F", "-c", place / "dovecot.conf"], place, output)
            )
            said = _said(dovecot)
            if "fatal" not in said.lower():
                break
            # Somebody may have taken a port between the question and the start.
            if attempt == 3 or "Address already in use" not in said:
                raise RuntimeError(f"Dovecot did not start:\n{said}")
        yield dovecot


def _said(dovecot: Dovecot) -> str:
    """Wait until Dovecot has started or given up; give all that it said."""

    def said() -> str:
        files = [dovecot.place / "log", dovecot.place / "output"]
        return "".join(file.read_text("utf-8") for file in files if file.exists())

    servers.await_that(
        "Dovecot started or gave up",
        lambda: bool(re.search("starting up|fatal", said(), re.IGNORECASE)),
        said,
    )
    return said()


def _prepare(dovecot: Dovecot, program: str, tokens: str, *, cleartext: bool) -> None:
    place = dovecot.place
    user = pwd.getpwnam(MAIL_USER)
    for name in ("tls", "run", "state"):
        (place / name).mkdir()
    for folder in (
        *(place / name for name in ("home", "control", "index")),
        *(dovecot.maildir / name for name in ("", "tmp", "new", "cur")),
    ):
        folder.mkdir(exist_ok=True)
        shutil.chown(folder, user.pw_uid, user.pw_gid)
    relays.make_certificates(place / "tls")
    asked = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    newer = tuple(map(int, asked.stdout.split(".")[:2])) >= (2, 4)
    values = {
        "place": place,
        "maildir": dovecot.maildir,
        "port": dovecot.port,
        "tls_port": dovecot.tls_port,
        "uid": user.pw_uid,
        "gid": user.pw_gid,
        "tokens": tokens,
        "encrypted_only": "no" if cleartext else "yes",
        "cleartext_too": "yes" if cleartext else "no",
    }
    head = "dovecot_config_version = 2.4.0\ndovecot_storage_version = 2.4.0\n" if newer else ""
    files = {
        "dovecot.conf": head + (_COMMON + (_NEWER if newer else _OLDER)).format(**values),
        "oauth2.conf": _OLDER_TOKENS.format(**values),
        "passwords": f"{USER}:{{PLAIN}}{PASSWORD}::::::\n",
    }
    for name, text in files.items():
        (place / name).write_text(text, "utf-8")


class _Tokens(http.server.BaseHTTPRequestHandler):
    """Says of a token whether it is good, as RFC 7662 has it."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        form = self.rfile.read(int(self.headers["Content-Length"])).decode()
        good = urllib.parse.parse_qs(form).get("token") == [TOKEN]
        answer = json.dumps({"active": good, "username": USER} if good else {"active": False})
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        del format, args


@contextmanager
def _token_server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Tokens) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/tokens"
        finally:
            server.shutdown()
            thread.join()
