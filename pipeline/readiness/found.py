"""What is found about a year's data and letters before anybody reads one."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


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


TITLES: Final = {
    Check.STATISTICS: "Statistics that cannot be read",
    Check.EDITION: "The edition",
    Check.TEMPLATE: "The template and the message",
    Check.UNACCOUNTED: "Not accounted for",
    Check.FAULT: "Letters that cannot be made",
    Check.NOWHERE: "Counted in nobody's letter",
    Check.SUM: "Sums that do not come out",
    Check.FIGURE: "Figures that do not fit together",
    Check.PLACEHOLDER: "Left to fill in",
    Check.DOMAIN: "Domains that mail may not reach",
    Check.RESERVED: "Addresses that are only examples",
    Check.CHANGED: "The statistics and the run",
    Check.WITHHELD: "Withheld",
    Check.JUMP: "Figures that jump against last year",
    Check.AVERAGE: "Averages against published ones",
    Check.ADDRESS: "Addresses that cannot be written to",
    Check.SHARED: "One address, several letters",
    Check.APART: "Recipients at different domains",
    Check.TWICE: "One address, several roles or people",
    Check.VACANT: "Vacant posts",
    Check.INTERIM: "Interim and acting posts",
    Check.JOINT: "Posts held together",
    Check.LACKING: "Nobody there to copy to",
    Check.LEAVING: "Chief executives about to leave",
    Check.REMARK: "Remarks",
    Check.CASE: "Cases with odd dates or references",
    Check.OUTSIDE: "Just outside the period",
    Check.REGISTER: "The register",
    Check.PEERS: "Letters without a comparison",
    Check.NO_LETTER: "On the register, without a letter",
}
"""What findings of one kind are headed with, for people."""


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

    @property
    def whose(self) -> str:
        """Whose it is, to stand before `found`: "Watford Borough Council (E07000103): "."""
        if self.code is None:
            return ""
        if self.name is None:
            return "" if self.code in self.found else f"{self.code}: "
        return f"{self.name} ({self.code}): "


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
