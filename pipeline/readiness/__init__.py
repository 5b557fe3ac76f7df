"""A year's data and letters, looked at before anybody reads one.

Every authority on the register is accounted for, every address looked at, and every figure
reconciled: as the statistics are while no run is open, and as the run's letters were frozen when
one is. Nothing is changed. `look` is the front door; `findings` gives its list alone.

`found` says what a finding is; `editions`, `letters`, `statistics` and `domains` find; `frozen`
reads a run's letters.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from pipeline import source
from pipeline.delivery import Mode
from pipeline.errors import LettersError, Misconfigured, Refused, Unavailable
from pipeline.ledger import hindrances, runs
from pipeline.ledger.runs import Run
from pipeline.letter import Averages, Edition, compose, fields_of
from pipeline.london import LONDON
from pipeline.readiness import editions, frozen
from pipeline.readiness.facts import carried
from pipeline.readiness.found import TITLES, Account, Check, Finding, Kind, Totals, worst_first
from pipeline.readiness.letters import Looking, Whole
from pipeline.readiness.statistics import Statistics
from pipeline.readiness.words import counted, listed
from pipeline.run import Pipeline, template_of

__all__ = [
    "TITLES",
    "Account",
    "Check",
    "Finding",
    "Kind",
    "Readiness",
    "Totals",
    "findings",
    "look",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """What was found about a year, worst first.

    `from_run` says whether the letters are those of a run, or composed from the statistics as they
    are. `account` is None where the statistics cannot be read; `letters` are what all letters say
    together, `period` all cases of the period, counted apart from them. `compared_with` is the
    year that the figures were held against, None if there is none.
    """

    year: int
    from_run: bool
    account: Account | None
    letters: Totals | None
    period: Totals | None
    compared_with: int | None
    findings: list[Finding]

    @property
    def is_blocked(self) -> bool:
        """Whether anything has to be mended before the letters can go."""
        return any(one.kind is Kind.BLOCKING for one in self.findings)


def findings(
    pipeline: Pipeline, year: int, *, now: datetime, domains: bool = False
) -> list[Finding]:
    """What `look` finds, alone."""
    return look(pipeline, year, now=now, domains=domains).findings


def look(
    pipeline: Pipeline, year: int, *, now: datetime, domains: bool = False, resolver: Any = None
) -> Readiness:
    """Look at a year's data and letters; with `domains` ask the DNS about each domain too.

    `resolver` is a `dns.resolver.Resolver`, the machine's own if there is none. Raises Refused for
    a year that is forgotten or has neither a run nor an edition, and Unavailable if what is needed
    cannot be read. What is wrong with the statistics is found, not raised.
    """
    run = runs.find_run(pipeline.ledger, year)
    if run is not None:
        hindrances.refuse_forgotten(run)
    found = _Found(pipeline=pipeline, year=year, now=now)
    if run is None:
        found.as_pulled()
    else:
        found.as_frozen(run)
    if domains and found.looking is not None:
        from pipeline.readiness.domains import ask

        found.add(ask(found.looking.domains, year=year, resolver=resolver))
    return Readiness(
        year=year,
        from_run=run is not None,
        account=found.account,
        letters=found.looking.totals if found.looking else None,
        period=found.period,
        compared_with=year - 1 if found.looking and found.looking.before else None,
        findings=worst_first(found.findings),
    )


class _Found:
    """What has been found so far about one year."""

    def __init__(self, *, pipeline: Pipeline, year: int, now: datetime) -> None:
        self.pipeline, self.year, self.now = pipeline, year, now
        self.findings: list[Finding] = []
        self.looking: Looking | None = None
        self.account: Account | None = None
        self.period: Totals | None = None

    def add(self, found: Iterator[Finding]) -> None:
        self.findings.extend(found)

    @property
    def _today(self) -> date:
        return self.now.astimezone(LONDON).date()

    def as_pulled(self) -> None:
        """The letters that a run would be opened with now."""
        db = self.pipeline.statistics
        try:
            with (
                source.pull(db, self.year) as pulled,
                self._statistics(pulled.edition) as statistics,
            ):
                self.add(editions.look_at(pulled.edition, now=self.now, begun=False))
                self._template(pulled.edition)
                self._carried(pulled.edition)
                looking = self._begin(
                    pulled.edition,
                    pulled.averages,
                    statistics,
                    f"Mend it; then: letters check {self.year}",
                )
                for record in pulled.records:
                    seen, _ = frozen.composed(compose(record, pulled.edition, pulled.averages))
                    self.add(looking.take(seen))
                self.add(looking.together())
                self.add(statistics.look(self._today))
                self._sums(looking, statistics)
                self._account(looking, statistics, codes=None)
        except (Misconfigured, Refused) as fault:
            if self.year not in source.years(db):
                raise
            self.findings.clear()
            self.looking = None
            self.findings.extend(_unpulled(fault, self.year))

    def as_frozen(self, run: Run) -> None:
        """The run's own letters, and what the statistics have come to say since."""
        edition, averages = editions.thawed(run.edition), run.edition["averages"]
        begun = frozen.is_begun(self.pipeline.ledger, run, self.pipeline.outbox.mode)
        self.add(editions.look_at(edition, now=self.now, begun=begun))
        prints: dict[str, bytes] = {}
        again = (
            f"Mend it, then: letters refresh {self.year}. Or withhold the letter: letters cancel"
            f" AUTHORITY --year {self.year} --reason TEXT"
        )
        try:
            with self._statistics(edition) as statistics:
                looking = self._begin(edition, averages, statistics, again)
        except LettersError:  # said below
            looking = self._begin(edition, averages, None, again)
        for seen, print_ in frozen.letters(self.pipeline.ledger, run):
            prints[seen.code] = print_
            self.add(looking.take(seen))
        self.add(looking.together())
        try:
            changed = self._changed(prints)
            with self._statistics(edition) as statistics:
                self.add(statistics.look(self._today))
                self._account(looking, statistics, codes=prints.keys())
                if not changed:
                    self._sums(looking, statistics)
        except (Misconfigured, Refused, Unavailable) as fault:
            self.findings.append(
                Finding(
                    kind=Kind.ADVISORY,
                    check=Check.CHANGED,
                    found="What the statistics say now cannot be compared with the letters, which"
                    f" are those of the run: {fault}",
                    fix=f"If the letters are right as they are, nothing; else mend it, and letters"
                    f" refresh {self.year}",
                )
            )

    @contextmanager
    def _statistics(self, edition: Edition) -> Iterator[Statistics]:
        db = self.pipeline.statistics
        if db.path is not None and not db.path.exists():
            raise Unavailable(f"There is no statistics database at {db}.")
        with db.read() as connection:
            yield Statistics(db, connection, edition)

    def _begin(
        self, edition: Edition, averages: Averages, statistics: Statistics | None, again: str
    ) -> Looking:
        last = runs.find_run(self.pipeline.ledger, self.year - 1)
        before: dict[str, dict[str, Whole]] = {}
        before_of = f"in the letter of {self.year - 1}"
        if last is not None:
            before = frozen.figures(self.pipeline.ledger, last)
        elif statistics is not None:
            before, before_of = statistics.year_before(), "in the year before"
        self.looking = Looking(
            edition=edition,
            averages=averages,
            before=before,
            before_of=before_of,
            before_is_whole=last is None,
            published=statistics.published() if statistics else frozenset(),
            ended=statistics.ended() if statistics else {},
            live=self.pipeline.outbox.mode is Mode.LIVE,
            refresh=again,
        )
        return self.looking

    def _template(self, edition: Edition) -> None:
        """What the template and the message ask for, and the edition does not have."""
        from pipeline import wording
        from pipeline.template import load_template

        fields = fields_of(edition)
        try:
            ours = template_of(self.pipeline, edition.year)
        except Misconfigured as fault:
            self.findings.append(
                Finding(
                    kind=Kind.BLOCKING,
                    check=Check.TEMPLATE,
                    found=str(fault),
                    fix=f"Mend the folder; then: letters check {edition.year}",
                )
            )
            return
        for place, fits in (
            ("the template", lambda: load_template(ours.template, fields=fields)),
            ("the message", lambda: wording.check(wording.read_wording(ours.wording), fields)),
        ):
            try:
                fits()
            except LettersError as fault:
                self.findings.append(
                    Finding(
                        kind=Kind.BLOCKING,
                        check=Check.TEMPLATE,
                        found=str(fault),
                        fix=f"Mend {place}, or fill in what it asks for in editions.facts.",
                    )
                )

    def _carried(self, edition: Edition) -> None:
        """The facts that are another year's still, where the edition was made from that one's."""
        left = carried(self.pipeline, edition.year, edition.facts)
        if left is None or not left.facts:
            return
        are = (
            f"is still the fact of {left.year}"
            if len(left.facts) == 1
            else (f"are still the facts of {left.year}")
        )
        self.findings.append(
            Finding(
                kind=Kind.ADVISORY,
                check=Check.EDITION,
                found=f"{', '.join(f'{name} ({edition.facts[name]})' for name in left.facts)}"
                f" {are}, which this edition was made from.",
                fix=f"Give each the new year's value, also where it is the same: letters edition"
                f" {edition.year} --set facts.{left.facts[0]}=VALUE",
            )
        )

    def _sums(self, looking: Looking, statistics: Statistics) -> None:
        """All letters together against the database's own count, which passes by the letters."""
        self.period = statistics.totals(with_letter=False)
        if looking.unfigured:
            return  # their faults are said, and no sum can come out without them
        ours, theirs = looking.totals, statistics.totals(with_letter=True)
        wrong = [
            f"{name.replace('_', ' ')} {getattr(ours, name):,} and {getattr(theirs, name):,}"
            for name in Totals.__dataclass_fields__
            if getattr(ours, name) != getattr(theirs, name)
        ]
        if wrong:
            self.findings.append(
                Finding(
                    kind=Kind.BLOCKING,
                    check=Check.SUM,
                    found="The letters together do not say what the statistics hold:"
                    f" {'; '.join(wrong)}.",
                    fix="Look at the views of decisions and compliance: a join may drop or double"
                    " rows. If somebody was changing them, look again. Nothing should be sent"
                    " before it is clear why.",
                )
            )

    def _account(self, looking: Looking, statistics: Statistics, codes: Any) -> None:
        """Where each authority on the register is; those of the run's letters are `codes`."""
        register = no_letter = unaccounted = known = 0
        for code, name, is_active in statistics.codes():
            register += 1
            if codes is not None and code in codes:
                known += 1
            elif not is_active:
                no_letter += 1
            elif codes is not None:
                unaccounted += 1
                self.findings.append(
                    Finding(
                        kind=Kind.BLOCKING,
                        check=Check.UNACCOUNTED,
                        found="It was active in the period and has no letter in the run, which was"
                        " opened before it came onto the register.",
                        fix=f"letters refresh {self.year}",
                        code=code,
                        name=name,
                    )
                )
        written = looking.to_send + looking.withheld + looking.faulted
        struck_off = 0 if codes is None else written - known
        account = Account(
            register=register,
            to_send=looking.to_send,
            withheld=looking.withheld,
            faulted=looking.faulted,
            no_letter=no_letter,
            unaccounted=unaccounted,
            struck_off=struck_off,
        )
        self.account = account
        if written + no_letter + unaccounted - struck_off != register:
            self.findings.append(
                Finding(
                    kind=Kind.BLOCKING,
                    check=Check.UNACCOUNTED,
                    found=f"{register:,} authorities are on the register, and {written:,} letters"
                    f" and {no_letter:,} without one are not as many.",
                    fix="Somebody may be changing the statistics; look again in a minute.",
                )
            )

    def _changed(self, prints: dict[str, bytes]) -> bool:
        """Whether the run's letters would come out otherwise today; which, is found."""
        changed, new = [], []
        left = set(prints)
        with source.pull(self.pipeline.statistics, self.year) as pulled:
            for record in pulled.records:
                seen, print_ = frozen.composed(
                    letter := compose(record, pulled.edition, pulled.averages)
                )
                left.discard(seen.code)
                if seen.code not in prints:
                    new.append(seen.code)
                elif prints[seen.code] not in (print_, frozen.composed(letter, replaces=True)[1]):
                    changed.append(seen.code)
        said = [
            f"{counted(len(codes), 'letter')} {what} ({listed(codes)})"
            for codes, what in (
                (changed, "would read otherwise"),
                (new, "would be new"),
                (sorted(left), "would not be there"),
            )
            if codes
        ]
        if said:
            self.findings.append(
                Finding(
                    kind=Kind.ADVISORY,
                    check=Check.CHANGED,
                    found="The statistics have changed since the run was opened:"
                    f" {'; '.join(said)}. What is sent is what the run has.",
                    fix=f"To see what would change: letters refresh {self.year} --dry-run. Taken in"
                    " by the same without --dry-run while nobody has approved; later letter by"
                    f" letter: letters reissue AUTHORITY --year {self.year}",
                )
            )
        return bool(said)


def _unpulled(fault: LettersError, year: int) -> Iterator[Finding]:
    """Each thing that keeps the statistics from being pulled; what comes after is not known."""
    lead, *each = str(fault).split("\n  ")
    for sentence in each or [lead]:
        yield Finding(
            kind=Kind.BLOCKING,
            check=Check.STATISTICS,
            found=sentence,
            fix=f"Mend it where the statistics come from; then: letters check {year}. No letter can"
            " be looked at before.",
        )
