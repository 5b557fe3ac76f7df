"""Whether the domains that letters go to take mail, asked of the DNS."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, Final

import dns.resolver
from email_validator import EmailUndeliverableError
from email_validator.deliverability import validate_email_deliverability

from pipeline.readiness.found import Check, Finding, Kind
from pipeline.readiness.words import counted

_AT_ONCE: Final = 8
_LIFETIME: Final = 5.0  # seconds for one question, however many servers there are
_SILENT: Final = 8  # domains in a row without any answer, until the DNS itself is taken to be away
_UNTOLD: Final = "There was an error"


def ask(
    domains: Mapping[str, tuple[str, str]], *, year: int, resolver: Any = None
) -> Iterator[Finding]:
    """A finding for each domain that takes no mail, or of which nobody can say.

    `domains` name the code and the name of an authority of the `year` that is written to there.
    `resolver` is a `dns.resolver.Resolver`, the machine's own if there is none. Where the DNS stops
    answering, that is said once, and the rest is not asked.
    """
    resolver = resolver or _own_resolver()
    if resolver is None:
        yield _unasked("This machine has no DNS server set", len(domains), year)
        return
    silent: list[tuple[str, str]] = []  # the last ones, which may only show that the DNS is away
    left = iter(domains)
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        while len(silent) < _SILENT and (some := list(islice(left, _AT_ONCE))):
            told = list(threads.map(lambda domain: _ask(domain, resolver), some))
            for domain, (kind, said) in zip(some, told, strict=True):
                if kind is Kind.ADVISORY:
                    silent.append((domain, said))
                    continue
                for one, why in silent:
                    yield _unknown(one, domains[one], why, year)
                silent.clear()
                if kind is Kind.BLOCKING:
                    yield _refused(domain, domains[domain], said)
    if len(silent) >= _SILENT:
        yield _unasked("The DNS does not answer", len(silent) + sum(1 for _ in left), year)
        return
    for one, why in silent:
        yield _unknown(one, domains[one], why, year)


def _own_resolver() -> Any:
    try:
        resolver = dns.resolver.Resolver()
    except dns.resolver.NoResolverConfiguration:
        return None
    resolver.lifetime = _LIFETIME
    return resolver


def _ask(domain: str, resolver: Any) -> tuple[Kind | None, str]:
    """What is wrong with a domain, and how bad that is; None if mail can go there."""
    try:
        told = validate_email_deliverability(domain, domain, dns_resolver=resolver)
    except EmailUndeliverableError as error:
        # What it did not foresee it says in the same way, and that proves nothing of the domain.
        if str(error).startswith(_UNTOLD):
            return Kind.ADVISORY, "could not be asked for in the DNS"
        if "not exist" in str(error):
            return Kind.BLOCKING, "does not exist in the DNS"
        return Kind.BLOCKING, "takes no mail, as the DNS says"
    if unknown := told.get("unknown-deliverability"):
        why = "in time" if unknown == "timeout" else "with anything but a failure"
        return Kind.ADVISORY, f"could not be asked for: the DNS did not answer {why}"
    return None, ""


def _refused(domain: str, whose: tuple[str, str], said: str) -> Finding:
    code, name = whose
    return Finding(
        kind=Kind.BLOCKING,
        check=Check.DOMAIN,
        found=f"The domain {domain} {said}.",
        fix="Correct officers.email.",
        code=code,
        name=name,
    )


def _unknown(domain: str, whose: tuple[str, str], said: str, year: int) -> Finding:
    code, name = whose
    return Finding(
        kind=Kind.ADVISORY,
        check=Check.DOMAIN,
        found=f"The domain {domain} {said}.",
        fix=f"Ask again later: letters check {year} --domains",
        code=code,
        name=name,
    )


def _unasked(why: str, number: int, year: int) -> Finding:
    return Finding(
        kind=Kind.ADVISORY,
        check=Check.DOMAIN,
        found=f"{why}, so it is not known of {counted(number, 'domain')} whether mail arrives"
        " there.",
        fix=f"Look at this machine's network, and ask again: letters check {year} --domains",
    )
