"""A DNS server on loopback that answers as a test wants it to, and notes what it was asked."""

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.resolver
import dns.rrset

SILENT: Final = "silent"
"""Instead of records: it is asked and says nothing."""
FAILS: Final = "fails"
"""Instead of records: it answers that it failed."""

Zone = Mapping[str, Mapping[str, str] | str]
"""What is known by name: records by type, or SILENT or FAILS; what is not there does not exist."""


@dataclass(slots=True, kw_only=True)
class Nameserver:
    """A server that runs; `asked` are the names and types, in the order in which they came."""

    port: int
    asked: list[tuple[str, str]] = field(default_factory=list)

    def resolver(self, lifetime: float = 30) -> dns.resolver.Resolver:
        """What asks this server and no other, and gives up after so many seconds."""
        made = dns.resolver.Resolver(configure=False)
        made.nameservers = ["127.0.0.1"]
        made.port = self.port
        made.lifetime = lifetime
        return made


@contextmanager
def serving(zone: Zone, *, else_: str | None = None) -> Iterator[Nameserver]:
    """Serve a zone; `else_` is what becomes of all other names."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        server = Nameserver(port=listening.getsockname()[1])
        thread = threading.Thread(target=_serve, args=(listening, zone, else_, server))
        thread.start()
        try:
            yield server
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
                last.sendto(b"", ("127.0.0.1", server.port))
            thread.join()


def _serve(listening: socket.socket, zone: Zone, else_: str | None, server: Nameserver) -> None:
    while True:
        data, whence = listening.recvfrom(4096)
        if not data:
            return
        question = dns.message.from_wire(data)
        [asked] = question.question
        name, type_ = asked.name.to_text(omit_final_dot=True), dns.rdatatype.to_text(asked.rdtype)
        server.asked.append((name, type_))
        known = zone.get(name, else_)
        if known == SILENT:
            continue
        answer = dns.message.make_response(question)
        answer.flags |= dns.flags.RA
        if known is None:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        elif isinstance(known, str):
            answer.set_rcode(dns.rcode.SERVFAIL)
        elif type_ in known:
            answer.answer.append(dns.rrset.from_text(asked.name, 60, "IN", type_, known[type_]))
        listening.sendto(answer.to_wire(), whence)
