"""What making letters costs, beside other ways to the same PDFs and LibreOffice alone.

    python -m bench.preparing [--quick] [--letters 200] [--rounds 5] [--sizes 100,1000,10000]

Everybody makes the same letters of the same statistics, in rounds that take turns, so that a busy
moment of the machine meets all of them; medians of the rounds are compared. A letter's time is from
the statistics in their database to its PDF in a folder: pulling and composing all of them, divided
by their number, and then the time between PDFs, once the programs are up. What comes before the
first PDF is told beside it. The peers are put into a folder by `python -m bench.peers.setup`; those
that are not there are named as not measured.

* docxtpl + soffice: a letter is rendered by docxtpl, and soffice started to convert it.
* docxtpl + unoserver: the same, converted by a unoserver for each worker.
* Carbone: both by Carbone 3, with a factory for each worker.
* LibreOffice alone: letters that are stamped already, loaded, exported, closed; nothing else.
* LibreOffice alone, one document kept: it is loaded once, the letter's values are exchanged.
* letters: `prepare` with the local engine: stamped, converted, proved, archived and synced, and
  recorded in a ledger. In the plain lane each docx is loaded; in the fast lane one of each shape.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from bench import authorities, contender, machine, ours
from bench.contender import Asked
from bench.drawing import Bar, drawn
from bench.memory import Memory
from bench.peers import setup
from bench.timing import timed
from pipeline import bootstrap, convert, log, proof, run
from pipeline.archive import Archive
from pipeline.convert import Converter, find_office, lane
from pipeline.ledger import letters, runs
from pipeline.ledger.letters import Faulted, FrozenLetter, Prepared
from pipeline.prepare import Job
from pipeline.template import CompiledTemplate
from tests.postgres import PostgresServer, running_postgres

MEGABYTE = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One way to make letters: its program, and what its figure is compared with.

    `lane` names the floor that it stands on; `pace` is about how many letters a second each of its
    workers makes, for telling how long a measurement takes.
    """

    name: str
    program: str
    more: tuple[str, ...] = ()
    of: str = "peer"
    lane: str = "plain"
    pace: float = 8.0
    slow: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One round of one contender; seconds, and bytes of memory at the peak."""

    letter: float
    first: float
    whole: float
    office: int
    rest: int
    most: int
    made: int

    @property
    def rate(self) -> float:
        """Letters a second."""
        return 1 / self.letter


SOFFICE = Contender(
    name="docxtpl + soffice",
    program="bench.peers.documents",
    more=("soffice",),
    pace=0.6,
    slow=True,
)
UNOSERVER = Contender(
    name="docxtpl + unoserver", program="bench.peers.documents", more=("unoserver",), pace=5
)
CARBONE = Contender(name="Carbone", program="bench.peers.carbone")
FLOOR = Contender(
    name="LibreOffice alone", program="bench.peers.floor", more=("plain",), of="floor", pace=12
)
FAST_FLOOR = Contender(
    name="LibreOffice alone, one document kept",
    program="bench.peers.floor",
    more=("fast",),
    of="floor",
    lane="fast",
    pace=25,
)
LETTERS = Contender(
    name="letters, plain lane", program="bench.ours", more=("lane=plain",), of="ours"
)
FAST = Contender(
    name="letters, fast lane",
    program="bench.ours",
    more=("lane=auto",),
    of="ours",
    lane="fast",
    pace=20,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Where things are: a folder for what is made, the peers, a PostgreSQL."""

    folder: Path
    installed: Path
    postgres: PostgresServer

    def statistics(self, count: int) -> str:
        """The URL of a database of so many authorities, made when it is first asked for."""
        path = self.folder / f"statistics-{count}.db"
        url = f"sqlite:///{path}"
        if not path.exists():
            authorities.write(url, count)
        return url

    def asked(self, name: str, count: int, workers: int, *more: str) -> Asked:
        """What a contender is asked, in a new folder."""
        return Asked(
            statistics=self.statistics(count),
            folder=Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.folder)),
            letters=count,
            workers=workers,
            installed=self.installed,
            more=more,
        )


def main() -> None:
    """Measure, print the tables and draw the bars."""
    words, _, _ = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(description=words)
    parser.add_argument("--letters", type=int, default=200, help="of each contender in each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sizes", default="100,1000,10000", help="of runs, for how cost grows")
    parser.add_argument("--quick", action="store_true", help="few letters: to see that it works")
    parser.add_argument("--installed", type=Path, default=setup.DEFAULT, help="where the peers are")
    parser.add_argument("--plot", type=Path, help="the SVG to draw")
    parser.add_argument("--json", type=Path, help="a file for every figure that was measured")
    parser.add_argument(
        "--only",
        default="peers,workers,size,resume,ledger,where",
        help="some of these, with commas",
    )
    asked = parser.parse_args()
    count, rounds, sizes = asked.letters, asked.rounds, [int(one) for one in asked.sizes.split(",")]
    if asked.quick:
        count, rounds, sizes = min(count, 24), min(rounds, 2), [24, 48]
    wanted = asked.only.split(",")
    contenders = _contenders(asked.installed)
    print(machine.described("docxtpl", "sqlalchemy"))
    print(f"office    LibreOffice {find_office().version}")
    print(
        f"measured  {datetime.now(UTC):%d %B %Y %H:%M} UTC; {count:,} letters of each contender "
        f"({_fewer(count)} with soffice) in {rounds} rounds in turn"
    )
    _say(f"This takes about {_minutes(contenders, wanted, count, rounds, sizes):.0f} minutes.")
    found: dict[str, object] = {}
    with ExitStack() as stack:
        bench = Bench(
            folder=Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="letters-bench-"))),
            installed=asked.installed.resolve(),
            postgres=stack.enter_context(running_postgres()),
        )
        if "peers" in wanted:
            both = (2, 1) if "workers" in wanted else (2,)
            measured = _rounds(bench, contenders, count, rounds, both)
            _contenders_table(contenders, measured)
            if "workers" in wanted:
                _workers_table(contenders, measured)
            found["contenders"] = [
                {"name": one.name, "workers": workers, "rounds": [asdict(each) for each in rounds_]}
                for (one, workers), rounds_ in measured.items()
            ]
            if asked.plot:
                asked.plot.write_text(_plot(contenders, measured), encoding="utf-8")
        lanes = [one for one in contenders if one.of == "ours"]
        if "size" in wanted:
            found["size"] = _sizes(bench, lanes, sizes)
        if "resume" in wanted:
            found["resume"] = _resumed(bench, lanes[-1], count)
        if "ledger" in wanted:
            found["ledger"] = _ledgers(bench, count * 5)
        if "where" in wanted:
            for one in lanes:
                found[f"where, {one.name}"] = _where(bench, one, min(count, 100))
        if asked.json:
            asked.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


def _contenders(installed: Path) -> list[Contender]:
    chosen = [SOFFICE]
    if setup.has_unoserver(installed):
        chosen.append(UNOSERVER)
    else:
        print("unoserver is not installed, and not measured: python -m bench.peers.setup")
    if setup.has_carbone(installed):
        chosen.append(CARBONE)
    else:
        print("Carbone is not installed, and not measured: python -m bench.peers.setup")
    chosen += [FLOOR, LETTERS]
    if ours.has_lanes():
        return [*chosen, FAST_FLOOR, FAST]
    return [*chosen, FAST_FLOOR]


def _fewer(count: int) -> int:
    """How many letters of a contender that takes a second or more for each."""
    return max(count // 10, 6)


def _minutes(
    contenders: Sequence[Contender],
    wanted: Sequence[str],
    count: int,
    rounds: int,
    sizes: Sequence[int],
) -> float:
    seconds = 20.0
    lanes = [one for one in contenders if one.of == "ours"]
    if "peers" in wanted:
        for one in contenders:
            letters = _fewer(count) if one.slow else count
            for workers in (2, 1) if "workers" in wanted else (2,):
                seconds += rounds * (5 + letters / one.pace / workers)
    if "size" in wanted:
        seconds += sum(size / one.pace / 2 + 5 for one in lanes for size in sizes)
    if "resume" in wanted:
        seconds += 20 + count / lanes[-1].pace / 2
    if "where" in wanted:
        seconds += sum(5 + min(count, 100) / one.pace for one in lanes)
    return seconds / 60


# ---- A round


def _rounds(
    bench: Bench, contenders: Sequence[Contender], count: int, rounds: int, workers: Iterable[int]
) -> dict[tuple[Contender, int], list[Measured]]:
    """Every contender in every round, with each number of workers."""
    pairs = [(one, number) for number in workers for one in contenders]
    found: dict[tuple[Contender, int], list[Measured]] = {pair: [] for pair in pairs}
    for number in range(rounds):
        turn = number * 3 % len(pairs)
        for one, many in pairs[turn:] + pairs[:turn]:  # nobody is always first
            _say(f"round {number + 1} of {rounds}: {one.name}, {many} at once")
            asked = bench.asked("round", count, many, *one.more)
            asked = replace(asked, letters=_fewer(count) if one.slow else count)
            found[one, many].append(_measured(one, asked))
            subprocess.run(["rm", "-rf", asked.folder], check=True)  # noqa: S607
    return found


def _measured(one: Contender, asked: Asked) -> Measured:
    """One contender, from its start to its end; what it cannot do ends the measurement."""
    begun = time.monotonic()
    composing, made = 0.0, []
    with (asked.folder / "stderr").open("wb") as stderr:
        running = subprocess.Popen(
            [sys.executable, "-m", one.program, *asked.words()],
            cwd=contender.ROOT,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
        assert running.stdout is not None
        with Memory(running.pid) as memory:
            for line in running.stdout:
                now = time.monotonic()
                word, *rest = line.split()
                if word == "made":
                    made.append(now)
                elif word == "composed":
                    composing = float(rest[0]) / max(int(rest[1]), 1)
        code = running.wait()
    if code or len(made) < asked.letters:
        told = (asked.folder / "stderr").read_text("utf-8", "replace")[-2000:]
        sys.exit(
            f"{one.name} has made {len(made)} of {asked.letters} and ended with {code}: {told}"
        )
    # Measured once all workers are busy: the first letters came while others were still starting.
    skipped = min(max(2 * asked.workers, len(made) // 8), len(made) // 2)
    between = (made[-1] - made[skipped - 1]) / (len(made) - skipped)
    return Measured(
        letter=composing + between,
        first=made[0] - begun,
        whole=time.monotonic() - begun,
        office=memory.office,
        rest=memory.rest,
        most=memory.most,
        made=len(made),
    )


# ---- The tables


def _contenders_table(
    contenders: Sequence[Contender], measured: Mapping[tuple[Contender, int], list[Measured]]
) -> None:
    floors = {one.lane: measured[one, 2] for one in contenders if one.of == "floor"}
    print(
        f"\n{'2 at once, to the archived PDF':<38} {'letters/s':>9} {'ms each':>8} {'of floor':>9}"
        f" {'x soffice':>9} {'first after':>12} {'MB, office + rest':>18}   slowest and fastest"
    )
    for one in contenders:
        rounds = measured[one, 2]
        rates = [each.rate for each in rounds]
        share = statistics.median(
            each.rate / floor.rate for each, floor in zip(rounds, floors[one.lane], strict=True)
        )
        times = statistics.median(
            each.rate / least.rate
            for each, least in zip(rounds, measured[contenders[0], 2], strict=True)
        )
        memory = (
            f"{max(each.office for each in rounds) // MEGABYTE} + "
            f"{max(each.rest for each in rounds) // MEGABYTE}"
        )
        print(
            f"  {one.name:<36} {statistics.median(rates):>9.1f}"
            f" {statistics.median(each.letter for each in rounds) * 1000:>8.1f} {share:>9.0%}"
            f" {times:>9.1f} {statistics.median(each.first for each in rounds):>10.1f} s"
            f" {memory:>18}   {min(rates):.1f} to {max(rates):.1f}"
        )
    if not ours.has_lanes():
        print("  letters, fast lane: this version has none, and it is not measured")


def _workers_table(
    contenders: Sequence[Contender], measured: Mapping[tuple[Contender, int], list[Measured]]
) -> None:
    print(f"\n{'letters a second':<38} {'1 at once':>9} {'2 at once':>9} {'times':>6}")
    for one in contenders:
        single, double = (
            statistics.median(each.rate for each in measured[one, many]) for many in (1, 2)
        )
        print(f"  {one.name:<36} {single:>9.1f} {double:>9.1f} {double / single:>6.2f}")


def _sizes(bench: Bench, lanes: Sequence[Contender], sizes: Sequence[int]) -> object:
    print(f"\n{'how cost grows, 2 at once':<38} {'letters':>8} {'ms each':>8}")
    found = []
    for one in lanes:
        for size in sizes:
            _say(f"{one.name}, {size:,} letters")
            asked = bench.asked("size", size, 2, *one.more)
            result = _measured(one, asked)
            disk = sum(file.stat().st_size for file in asked.folder.rglob("*") if file.is_file())
            print(
                f"  {one.name:<36} {size:>8,} {result.letter * 1000:>8.1f}"
                f"   peak {result.most // MEGABYTE:,} MB: LibreOffice {result.office // MEGABYTE},"
                f" client and lanes {result.rest // MEGABYTE};"
                f" disk {disk / size / 1000:.0f} kB a letter; {result.whole:,.0f} s in all"
            )
            found.append({"lane": one.name, "letters": size, **asdict(result), "disk": disk})
            subprocess.run(["rm", "-rf", asked.folder], check=True)  # noqa: S607
    return found


def _resumed(bench: Bench, lane: Contender, count: int) -> object:
    """A run of which a tenth is missing, and one of which nothing is."""
    asked = bench.asked("resume", count, 2, *lane.more)
    _say("going on with what was left")
    most = replace(asked, letters=round(count * 0.9))
    _measured(lane, most)
    rest = replace(asked, letters=count - round(count * 0.9))
    tenth = _measured(lane, rest)
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", lane.program, *asked.words()],
        cwd=contender.ROOT,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    nothing = time.monotonic() - begun
    assert done.returncode == 0
    print(f"\ngoing on with a run of {count:,} letters ({lane.name}, 2 at once)")
    print(f"  {rest.letters} letters are missing: {tenth.whole:.1f} s, with every program's start")
    print(f"  nothing is missing: {nothing:.1f} s, with the start of Python alone")
    return {"letters": count, "tenth": asdict(tenth), "nothing": nothing}


@dataclass(frozen=True, slots=True)
class _Ready:
    """An engine whose letters are made before they are asked for: what is left is the ledger."""

    def each(self, job: Job, letters: Iterable[FrozenLetter]) -> Iterator[Prepared | Faulted]:
        del job
        for one in letters:
            yield Prepared(
                letter_id=one.id,
                pdf=f"{one.year}/{one.authority_code}.pdf",
                pdf_sha256=f"{one.id:064x}",
                docx_sha256="2" * 64,
                pages=3,
            )


def _ledgers(bench: Bench, count: int) -> object:
    """What the ledger alone takes: opening a run, and recording letters that no one makes."""
    print(f"\nthe ledger alone, {count:,} letters that nobody makes (ms a letter)")
    print(f"  {'':<36} {'pull, compose, freeze':>22} {'read and record':>16}")
    found = {}
    for name in ("SQLite", "PostgreSQL"):
        _say(f"the ledger alone: {name}")
        url = "" if name == "SQLite" else bench.postgres.url(bench.postgres.create())
        asked = bench.asked("ledger", count, 2, *([f"ledger={url}"] if url else []))
        wired = ours.upgraded(asked)
        with bootstrap.pipeline(wired, writes=True) as pipeline:
            begun = time.monotonic()
            opened = run.open_run(pipeline, authorities.YEAR, person="b", progress=ours.Silent())
            between = time.monotonic()
            run.prepare(pipeline, _Ready(), opened, progress=ours.Silent())
            ended = time.monotonic()
        opening, recording = (between - begun) / count * 1000, (ended - between) / count * 1000
        print(f"  {name:<36} {opening:>22.2f} {recording:>16.2f}")
        found[name] = {"opening": opening, "recording": recording}
    return found


# ---- Where the time goes


_EARLY = 60
_PARTS: Sequence[tuple[object, str, str]] = (
    (CompiledTemplate, "stamp", "stamping the docx"),
    (lane, "shaped", "finding its shape"),
    (Converter, "convert", "LibreOffice: load, export, close"),
    (Converter, "keep", "LibreOffice: a document to keep"),
    (Converter, "export", "LibreOffice: exchange, export"),
    (lane, "differences", "proving the lane"),
    (convert, "finish", "finishing the PDF"),
    (proof, "prove", "proving it"),
    (Archive, "put", "archiving it, synced"),
    (letters, "record_all", "recording, 10 to a transaction"),
)


def _where(bench: Bench, one_lane: Contender, count: int) -> object:
    """How long each part of making one letter takes, in one lane, in this process, on SQLite."""
    _say(f"where the time goes: {one_lane.name}")
    wired = ours.upgraded(bench.asked("where", count + _EARLY, 1, *one_lane.more))
    spent: dict[str, float] = {}
    with bootstrap.pipeline(wired, writes=True) as pipeline:
        opened = run.open_run(pipeline, authorities.YEAR, person="b", progress=ours.Silent())
        job = Job(
            template=run.template_name(opened.template_sha256),
            template_sha256=opened.template_sha256,
            names=letters.names(pipeline.ledger, opened.id),
            dated=opened.opened_at,
        )
        waiting = letters.unprepared(pipeline.ledger, opened.id)
        early = list(islice(waiting, _EARLY))
        with ExitStack() as stack:
            preparer = stack.enter_context(bootstrap.preparer(wired, job))
            # Until LibreOffice has got into its stride, and knows the letters' shapes.
            letters.record_all(
                pipeline.ledger, opened.id, [preparer.prepare(one) for one in early], now=_now()
            )
            for place, name, part in _PARTS:
                stack.enter_context(timed(place, name, part, spent))
            begun = time.perf_counter()
            made = 0
            while group := list(islice(waiting, 10)):
                results = [preparer.prepare(one) for one in group]
                letters.record_all(pipeline.ledger, opened.id, results, now=_now())
                made += len(results)
            whole = time.perf_counter() - begun
        assert runs.find_run(pipeline.ledger, authorities.YEAR) is not None
    spent["all else"] = whole - sum(spent.values())
    print(f"\nwhere the time goes, {one_lane.name}, 1 lane, SQLite (ms a letter)")
    for part, seconds in spent.items():
        print(f"  {part:<36} {seconds / made * 1000:>7.2f} {seconds / whole:>6.0%}")
    return {part: seconds / made for part, seconds in spent.items()}


# ---- The drawing


def _plot(
    contenders: Sequence[Contender], measured: Mapping[tuple[Contender, int], list[Measured]]
) -> str:
    bars = []
    for one in contenders:
        rates = [each.rate for each in measured[one, 2]]
        bars.append(
            Bar(
                name=one.name,
                value=statistics.median(rates),
                least=min(rates),
                most=max(rates),
                of=one.of,
            )
        )
    return drawn(
        "Letters a second, from the statistics to the archived PDF",
        "2 cores, 2 at once; medians, and the slowest and fastest of the rounds; more is better",
        sorted(bars, key=lambda bar: bar.value),
    )


def _now() -> datetime:
    return datetime.now(UTC)


def _say(sentence: str) -> None:
    print(f"{datetime.now(UTC):%H:%M:%S} {sentence}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    log.begin(None)
    main()
