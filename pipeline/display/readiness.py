"""What was found about a year's data and letters, worst first, and the sums that it stands on."""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any

from rich.text import Text

from pipeline.display.console import counted, out, print_json, say
from pipeline.readiness import TITLES, Account, Finding, Kind, Readiness, Totals

# Findings of one check, before the rest is only counted: what blocks has to be mended one by one.
_SHOWN = {Kind.BLOCKING: 50, Kind.ADVISORY: 10}
_STYLES = {Kind.BLOCKING: "bold red", Kind.ADVISORY: "bold yellow"}


def print_readiness(found: Readiness, *, domains: bool) -> None:
    """The account, the sums, each finding with what to do, and one last line."""
    source = "the run's letters" if found.from_run else "the statistics as they are"
    say(out, f"The letters of {found.year}, from {source}", style="bold")
    if found.account is not None:
        _print_account(found.account)
    if found.letters is not None:
        _print_totals(found.letters, found.period)
        if found.compared_with:
            say(out, f"Figures are held against those of {found.compared_with}.", indent=2)
        else:
            say(out, f"No figures of {found.year - 1} to hold these against.", indent=2)
    out.print()
    for (_, _), same in groupby(found.findings, key=lambda one: (one.kind, one.check)):
        _print_some(list(same))
    _print_verdict(found, domains=domains)


def write_json(found: Readiness, *, domains: bool) -> None:
    """All of it for scripts, on standard output."""
    print_json(
        {
            "year": found.year,
            "from_run": found.from_run,
            "domains_asked": domains,
            "compared_with": found.compared_with,
            "register": asdict(found.account) if found.account else None,
            "letters": asdict(found.letters) if found.letters else None,
            "period": asdict(found.period) if found.period else None,
            "counts": {
                kind.value: sum(one.kind is kind for one in found.findings) for kind in Kind
            },
            "findings": [_facts(one) for one in found.findings],
        }
    )


def _facts(one: Finding) -> dict[str, Any]:
    return {
        "kind": one.kind.value,
        "check": one.check.value,
        "code": one.code,
        "name": one.name,
        "found": one.found,
        "fix": one.fix,
    }


def _print_account(account: Account) -> None:
    parts = [
        f"{account.to_send:,} to be sent",
        f"{account.withheld:,} withheld",
        f"{account.faulted:,} that cannot be made",
        f"{account.no_letter:,} without a letter",
    ]
    if account.unaccounted:
        parts.append(f"{account.unaccounted:,} not accounted for")
    sum_ = " + ".join(parts)
    if account.struck_off:
        sum_ += f" - {account.struck_off:,} with a letter and no longer on it"
    say(out, f"{account.register:,} on the register = {sum_}.", indent=2)


def _print_totals(letters: Totals, period: Totals | None) -> None:
    cases = counted(letters.investigated, "detailed investigation")
    said = (
        f"{cases}, {letters.upheld:,} upheld, {letters.remedied_early:,} of them remedied early;"
        f" {letters.complied:,} of {counted(letters.compliance_due, 'compliance outcome')} met."
    )
    say(out, f"All letters together: {said}", indent=2)
    if period is None:
        return
    if period == letters:
        say(out, "The database counts the same, apart from the letters.", indent=2)
    else:
        say(
            out,
            f"The database counts {period.investigated:,} investigations in the period,"
            f" {period.upheld:,} upheld, {period.remedied_early:,} remedied early;"
            f" {period.complied:,} of {period.compliance_due:,} met.",
            indent=2,
            style="bold red",
        )


def _print_some(same: Sequence[Finding]) -> None:
    """Findings of one kind and check: what to do is said once if it is the same for all."""
    first = same[0]
    sign, plain = ("✗", "X") if first.kind is Kind.BLOCKING else ("!", "!")
    number = f" ({len(same):,})" if len(same) > 1 else ""
    head = f"{_if_shown(sign, plain)} {first.kind.value}: {TITLES[first.check]}{number}"
    say(out, Text(head, style=_STYLES[first.kind]))
    shown = same[: _SHOWN[first.kind]]
    fixes = {one.fix for one in shown}
    for one in shown:
        say(out, f"{one.whose}{one.found}", indent=2)
        if len(fixes) > 1:
            _print_fix(one.fix, indent=4)
    if len(same) > len(shown):
        say(out, f"and {len(same) - len(shown):,} more; --json has them all", indent=2)
    if len(fixes) == 1:
        _print_fix(first.fix, indent=2)
    out.print()


def _print_fix(fix: str, *, indent: int) -> None:
    say(out, f"{_if_shown('→', '->')} {fix}", indent=indent)


def _print_verdict(found: Readiness, *, domains: bool) -> None:
    blocking = sum(one.kind is Kind.BLOCKING for one in found.findings)
    advisory = len(found.findings) - blocking
    rest = f"{counted(advisory, 'finding')} to look at" if advisory else ""
    if blocking:
        many = counted(blocking, "finding blocks", "findings block")
        line, style = f"{many} the letters of {found.year}", "bold red"
        line += f"; {rest}." if rest else "."
    elif advisory:
        line, style = f"Nothing blocks the letters of {found.year}; {rest}.", "bold yellow"
    else:
        line, style = f"Nothing was found against the letters of {found.year}.", "bold green"
    say(out, line, style=style)
    if not domains:
        say(out, "The addresses' domains were not asked for; --domains does.")


def _if_shown(sign: str, plain: str) -> str:
    """A sign, or a plain one where standard output's encoding does not have it."""
    try:
        sign.encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except UnicodeEncodeError:
        return plain
    return sign
