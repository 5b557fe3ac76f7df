"""Domains asked of a DNS server on loopback, which does not always answer."""

from collections.abc import Iterable
from pathlib import Path

import dns.resolver
import pytest

from pipeline import migrate, schema
from pipeline.database import Database
from pipeline.readiness.domains import ask
from tests.integration.test_readiness import fill, look, told, well, wired
from tests.integration.test_source import officer, put
from tests.nameserver import FAILS, SILENT, Zone, serving

WELL = {"MX": "10 mx.well.example."}
LATER = "Ask again later: letters check 2020 --domains"
NETWORK = "Look at this machine's network, and ask again: letters check 2020 --domains"


def domains(names: Iterable[str]) -> dict[str, tuple[str, str]]:
    return {f"{name}.example": (name.upper(), f"The {name}") for name in names}


def test_what_the_dns_says_of_each_domain() -> None:
    zone: Zone = {
        "well.example": WELL,
        "old.example": {"A": "8.8.8.8"},  # takes mail itself, as before there was an MX
        "older.example": {"AAAA": "2001:4860:4860::8888"},
        "neither.example": {"TXT": '"v=spf1 mx"'},
        "private.example": {"A": "10.0.0.1"},
        "null.example": {"MX": "0 .", "A": "8.8.8.8"},
        "silent-to-all.example": {"A": "8.8.8.8", "TXT": '"v=spf1 -all"'},
        "fails.example": FAILS,
    }
    whose = {name: (name.partition(".")[0].upper(), f"The {name}") for name in zone}
    whose["none.example"] = ("NONE", "The none.example")
    with serving(zone) as server:
        found = list(ask(whose, year=2020, resolver=server.resolver()))
    correct = "Correct officers.email."
    assert told(found) == [
        ("blocking", "domain", "NEITHER", "The domain neither.example takes no mail, as the DNS"
         " says.", correct),
        ("blocking", "domain", "PRIVATE", "The domain private.example takes no mail, as the DNS"
         " says.", correct),
        ("blocking", "domain", "NULL", "The domain null.example takes no mail, as the DNS says.",
         correct),
        ("blocking", "domain", "SILENT-TO-ALL", "The domain silent-to-all.example takes no mail, as"
         " the DNS says.", correct),
        ("advisory", "domain", "FAILS", "The domain fails.example could not be asked for: the DNS"
         " did not answer with anything but a failure.", LATER),
        ("blocking", "domain", "NONE", "The domain none.example does not exist in the DNS.",
         correct),
    ]  # fmt: skip
    assert found[-1].name == "The none.example"


@pytest.mark.parametrize("number", [8, 30])
def test_a_dns_that_does_not_answer_is_said_once_and_not_asked_on(number: int) -> None:
    names = [f"d{each}" for each in range(number)]
    with serving({}, else_=SILENT) as server:
        found = list(ask(domains(names), year=2020, resolver=server.resolver(lifetime=0.2)))
    assert told(found) == [
        ("advisory", "domain", None, f"The DNS does not answer, so it is not known of {number}"
         " domains whether mail arrives there.", NETWORK),
    ]  # fmt: skip
    assert {name for name, _ in server.asked} == {f"d{each}.example" for each in range(8)}


def test_a_few_domains_whose_servers_are_silent_are_not_called_wrong() -> None:
    names = [f"d{each}" for each in range(12)]
    zone: Zone = {f"{name}.example": WELL for name in names}
    silent: Zone = {f"d{each}.example": SILENT for each in (2, 3, 7)}
    with serving({**zone, **silent}) as server:
        # long enough for the others, whatever else the machine does
        found = list(ask(domains(names), year=2020, resolver=server.resolver(lifetime=2.5)))
    assert told(found) == [
        ("advisory", "domain", f"D{each}", f"The domain d{each}.example could not be asked for: the"
         " DNS did not answer in time.", LATER)
        for each in (2, 3, 7)
    ]  # fmt: skip


def test_a_machine_without_a_dns_server_knows_nothing() -> None:
    nowhere = dns.resolver.Resolver(configure=False)
    found = list(ask(domains(["a", "b"]), year=2020, resolver=nowhere))
    assert [(one.kind, one.code) for one in found] == [("advisory", "A"), ("advisory", "B")]


def test_each_domain_of_a_years_letters_is_asked_once_and_only_when_told_to(
    tmp_path: Path,
) -> None:
    db = Database(f"sqlite:///{tmp_path}/letters.db")
    migrate.upgrade(db)
    pipeline = wired(db, db, tmp_path)
    fill(db, *well("A"), *well("B"))
    put(db, schema.officers, officer("B", "link_officer", family_name="Two", email="two@A.example"))
    with serving({"a.example": WELL}) as server:
        resolver = server.resolver()
        without = look(pipeline, resolver=resolver).findings
        assert server.asked == []
        found = look(pipeline, domains=True, resolver=resolver).findings
    assert told(found)[:1] == [
        ("blocking", "domain", "B", "The domain b.example does not exist in the DNS.",
         "Correct officers.email."),
    ]  # fmt: skip
    assert found[1:] == without
    assert sorted(server.asked) == [("a.example", "MX"), ("b.example", "MX")]
    db.close()
