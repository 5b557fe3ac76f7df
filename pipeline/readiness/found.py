"""What is found about a year's data and letters before anybody reads one."""

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """How bad a finding is; the worst first."""

    BLOCKING = "blocking"
    """Something would go out wrong, or not at all: mend it, or withhold the letter."""
    ADVISORY = "advisory"
    """It may be right; somebody who knows should have looked at it."""


class Check(StrEnum):
    """What a finding is about; the worst first, among those of one kind."""

    STATISTICS = "statistics"
    EDITION = "edition"
    TEMPLATE = "template"
    UNACCOUNTED = "unaccounted"
    FAULT = "fault"
    NOWHERE = "nowhere"
    SUM = "sum"
    FIGURE = "figure"
    PLACEHOLDER = "placeholder"
    DOMAIN = "domain"
    RESERVED = "reserved"
    CHANGED = "changed"
    WITHHELD = "withheld"
    JUMP = "jump"
    AVERAGE = "average"
    ADDRESS = "address"
    SHARED = "shared"
    APART = "apart"
    TWICE = "twice"
    VACANT = "vacant"
    INTERIM = "interim"
    JOINT = "joint"
    LACKING = "lacking"
    LEAVING = "leaving"
    REMARK = "remark"
    CASE = "case"
    OUTSIDE = "outside"
    REGISTER = "register"
    PEERS = "peers"
    NO_LETTER = "no_letter"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was found, and what to do about it, both in whole sentences.

    `code` and `name` are of the authority that it is about; None where it is about the year, or
    about a code that no authority has.
    """

    kind: Kind
    check: Check
    found: str
    fix: str
    code: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The register, authority by authority: each is counted once, so the parts are the whole.

    `register` = `to_send` + `withheld` + `faulted` + `no_letter` + `unaccounted` - `struck_off`:
    `no_letter` were not active in the period, `unaccounted` were and have no letter in the run, and
    `struck_off` have a letter in the run and are on the register no more.
    """

    register: int
    to_send: int
    withheld: int
    faulted: int
    no_letter: int
    unaccounted: int
    struck_off: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Cases of the period: investigated and upheld, remedied early, compliance outcomes."""

    investigated: int = 0
    upheld: int = 0
    remedied_early: int = 0
    compliance_due: int = 0
    complied: int = 0


def worst_first(findings: list[Finding]) -> list[Finding]:
    """In the order in which somebody should read them; those of a check stay in theirs."""
    kinds = {one: place for place, one in enumerate(Kind)}
    checks = {one: place for place, one in enumerate(Check)}
    return sorted(findings, key=lambda one: (kinds[one.kind], checks[one.check]))
