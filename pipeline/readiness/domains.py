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


def ask(domains: Mapping[str, tuple[str, str]], resolver: Any = None) -> Iterator[Finding]:
    """A finding for each domain that takes no mail, or of which nobody can say.

    `domains` name the code and the name of an authority that is written to there. `resolver` is a
    `dns.resolver.Resolver`, the machine's own if there is none. Where the DNS does not answer at
    all, that is said once and the rest is not asked.
    """
    resolver = resolver or _own_resolver()
    if resolver is None:
        yield _unasked("This machine has no DNS server set", len(domains))
        return
    silent = answered = 0
    left = iter(domains)
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        while some := list(islice(left, _AT_ONCE)):
            told = list(threads.map(lambda domain: _ask(domain, resolver), some))
            for domain, (kind, said) in zip(some, told, strict=True):
                silent = silent + 1 if kind is Kind.ADVISORY else 0
                answered += kind is not Kind.ADVISORY
                if kind is None or (silent and not answered and silent >= _SILENT):
                    continue
                yield _finding(domain, domains[domain], kind, said)
            if silent >= _SILENT:
                unasked = sum(1 for _ in left)
                if unasked:
                    yield _unasked("The DNS does not answer", unasked)
                return


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
    if "unknown-deliverability" in told:
        return Kind.ADVISORY, "could not be asked for: the DNS did not answer in time"
    return None, ""


def _finding(domain: str, whose: tuple[str, str], kind: Kind, said: str) -> Finding:
    code, name = whose
    return Finding(
        kind=kind,
        check=Check.DOMAIN,
        found=f"The domain {domain} {said}.",
        fix="Correct officers.email."
        if kind is Kind.BLOCKING
        else "Ask again later: letters check YEAR --domains",
        code=code,
        name=name,
    )


def _unasked(why: str, number: int) -> Finding:
    return Finding(
        kind=Kind.ADVISORY,
        check=Check.DOMAIN,
        found=f"{why}, so {counted(number, 'domain was', 'domains were')} not asked for.",
        fix="Look at this machine's network, and ask again: letters check YEAR --domains",
    )
