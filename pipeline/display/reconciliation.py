"""What the ledger was found to contradict or to have forgotten, worst first."""

import json
import sys
import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pipeline.display.console import counted, harmless_json, out
from pipeline.reconciliation import Finding, Matter, Weight

_SHOWN = 20  # findings about one matter, before the rest is only counted

_STYLES = {Weight.FAULT: "bold red", Weight.WARNING: "bold yellow", Weight.NOTE: "cyan"}
_MANY = {
    Matter.STATE: "deliveries that are not where their events lead",
    Matter.ATTEMPT: "attempts without an end",
    Matter.FROZEN: "messages without their bytes",
    Matter.PREPARED: "letters without their file on record",
    Matter.PLAN: "counts that do not sum to the plan",
    Matter.FILE: "files that are missing or altered",
    Matter.STRANGER: "messages that the ledger does not know of",
    Matter.ABANDONED: "deliveries that were left in the middle",
    Matter.DOUBT: "old doubts",
    Matter.UNSENT: "letters without a message",
    Matter.OVERDUE: "deliveries that nobody has tried",
    Matter.RELAY: "relays in trouble",
    Matter.START: "starts without an end",
    Matter.LATE_ANSWER: "messages that were taken after all",
    Matter.SILENCE: "runs of which nothing was heard",
}


@dataclass(slots=True)
class Tally:
    """How much was found about each matter, and the first findings of each."""

    counts: Counter[Matter] = field(default_factory=Counter)
    weights: Counter[Weight] = field(default_factory=Counter)
    first: list[Finding] = field(default_factory=list)

    @property
    def is_wrong(self) -> bool:
        """Whether anything is wrong, and not only worth knowing."""
        return bool(self.weights[Weight.FAULT] or self.weights[Weight.WARNING])

    def take(self, findings: Iterable[Finding]) -> None:
        """Count them all, and keep as many as are shown."""
        for one in findings:
            if self.count(one) <= _SHOWN:
                self.first.append(one)

    def count(self, one: Finding) -> int:
        """Count one; how many there are of its matter."""
        self.counts[one.matter] += 1
        self.weights[one.weight] += 1
        return self.counts[one.matter]


def print_findings(tally: Tally, looked_at: str, *, files: bool) -> None:
    """Each finding with its place and what to do, and one last line."""
    matters: Sequence[Matter] = list(Matter)
    shown: Counter[Matter] = Counter()
    for one in sorted(tally.first, key=lambda found: matters.index(found.matter)):
        _print(one)
        shown[one.matter] += 1
        more = tally.counts[one.matter] - _SHOWN
        if shown[one.matter] == _SHOWN and more > 0:
            out.print(f"and {more:,} more {_MANY[one.matter]}; --json lists them all")
            out.print()
    faults, warnings = tally.weights[Weight.FAULT], tally.weights[Weight.WARNING]
    told = [counted(faults, "fault")] if faults else []
    told += [counted(warnings, "warning")] if warnings else []
    if tally.is_wrong:
        line = f"{looked_at}: {' and '.join(told)}, worst first."
        out.print(line, markup=False, style="bold red" if faults else "bold yellow")
    else:
        line = f"{looked_at}: everything on record fits together, and nothing was left lying."
        out.print(line, markup=False, style="bold green")
    if not files:
        out.print("The archive's files were not read.")


def write_json(findings: Iterable[Finding], year: int | None, *, files: bool) -> Tally:
    """The same for scripts, on standard output, written as it is found."""
    tally = Tally()
    sys.stdout.write(
        f'{{\n"year": {json.dumps(year)},\n"files_read": {json.dumps(files)},\n"findings": ['
    )
    for number, one in enumerate(findings):
        tally.count(one)
        sys.stdout.write(f"{',' if number else ''}\n{_json(_facts(one))}")
    counts = {matter.value: tally.counts[matter] for matter in Matter}
    wrong = {weight.value: tally.weights[weight] for weight in Weight}
    sys.stdout.write(f'\n],\n"matters": {_json(counts)},\n"weights": {_json(wrong)}\n}}\n')
    return tally


def _facts(one: Finding) -> dict[str, Any]:
    return {"weight": one.weight.value, **asdict(one), "matter": one.matter.value}


def _json(value: Any) -> str:
    plain = (sys.stdout.encoding or "ascii").replace("-", "").casefold() != "utf8"
    return harmless_json(json.dumps(value, ensure_ascii=plain))


def _print(one: Finding) -> None:
    title = f"{one.weight.value.capitalize()}: {one.thing}"
    out.print(title, markup=False, style=_STYLES[one.weight])
    for line in (one.found, f"Where: {one.place}", f"To do: {one.fix}"):
        _print_indented(line)
    out.print()


def _print_indented(line: str) -> None:
    """Below its title: filled on a terminal, on one line elsewhere."""
    lines = [line]
    if out.is_terminal:
        width = max(20, out.width - 2)
        lines = textwrap.wrap(line, width, break_long_words=False, break_on_hyphens=False)
    for each in lines:
        out.print(f"  {each}", markup=False)
