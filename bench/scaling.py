"""What many machines would cost and gain, from what one machine shows of each part.

    python -m bench.scaling [--letters 60] [--rounds 3]

Prints, as medians of rounds that take turns:

* letters made a second, by one lane and by two, on this machine's own engine and by a Dask cluster
  of two workers on loopback; whole letters, proved and archived, without the start of LibreOffice;
* tasks a second that a scheduler and one client get through if the tasks do nothing;
* letters a second that one client records in PostgreSQL, one to a transaction and 500 to one;
* files of a letter's size that one thread and eight put on an S3 server on loopback (moto's, in
  Python: a bound of this test's server, not of any real one).
"""

import argparse
import operator
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any

from bench import machine
from pipeline import bootstrap, migrate, run
from pipeline.archive import Archive
from pipeline.cluster import connected
from pipeline.database import Database
from pipeline.engines.dask import DaskEngine
from pipeline.engines.local import LocalEngine
from pipeline.importer import import_folder
from pipeline.ledger import letters, runs
from pipeline.ledger.letters import FrozenLetter, Prepared
from pipeline.ledger.runs import Opening
from pipeline.letter import Letter
from pipeline.prepare import Job
from pipeline.settings import Settings, load
from tests import clusters
from tests.postgres import running_postgres
from tests.s3 import KEYS, running_s3

ROOT = Path(__file__).resolve().parent.parent
Contender = Callable[[], float]
"""Does its work once; how many a second that was."""


class _Silent:
    def begin(self, stage: str, total: int) -> None: ...

    def advance(self) -> None: ...

    def end(self) -> None: ...


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--letters", type=int, default=60, help="made in a round")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    for name in list(os.environ):
        if name.startswith("LETTERS_") and name != "LETTERS_SOFFICE":
            del os.environ[name]
    os.environ.update(KEYS)
    print(machine.described("distributed", "sqlalchemy", "psycopg", "s3fs"))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="letters-bench-")))
        contenders = {
            **_making(stack, folder, asked.letters),
            **_recording(stack),
            **_putting(stack),
        }
        rates: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(asked.rounds):
            for name, contender in contenders.items():
                rates[name].append(contender())
        load_now = ", ".join(f"{one:.1f}" for one in os.getloadavg())
        print(
            f"measured  {asked.rounds} rounds in turn, {asked.letters} letters each; "
            f"load average at the end {load_now}"
        )
        _table(rates)


def _table(rates: Mapping[str, list[float]]) -> None:
    print(f"\n{'':<44} {'a second':>10}   slowest and fastest round")
    for name, found in rates.items():
        middle = statistics.median(found)
        print(f"{name:<44} {middle:>10,.1f}   {min(found):,.1f} to {max(found):,.1f}")


def _making(stack: ExitStack, folder: Path, number: int) -> dict[str, Contender]:
    config = folder / "config/letters.toml"
    config.parent.mkdir()
    dask = stack.enter_context(clusters.scheduler(folder / "dask"))
    config.write_text(
        f'[database]\nurl = "sqlite:///{folder}/letters.db"\nmark = "{folder}/mark"\n'
        f'[archive]\nurl = "{folder}/archive"\n[mail]\ncapture = "{folder}/captured"\n'
        f'[template]\npath = "{ROOT}/templates/letter.docx"\n'
        f'[engine]\nkind = "dask"\naddress = "{dask.address}"\n',
        encoding="utf-8",
    )
    for name in ("one", "two"):
        stack.enter_context(dask.worker(name, folder))
    dask.await_workers("one", "two")
    settings = load(config)
    with closing(bootstrap.open_ledger(settings)) as db:
        migrate.upgrade(db)
        import_folder(db, ROOT / "sample")
    with bootstrap.pipeline(settings, writes=True) as pipeline:
        found = run.open_run(pipeline, 2020, person="bench", progress=_Silent())
        job = Job(
            template=run.template_name(found.template_sha256),
            template_sha256=found.template_sha256,
            names=letters.names(pipeline.ledger, found.id),
            dated=found.opened_at,
        )
        frozen = list(letters.unprepared(pipeline.ledger, found.id))[:number]

    def made(engine: run.Engine) -> Contender:
        return lambda: _steady(engine, job, frozen)

    client = stack.enter_context(connected(dask.place, seconds=30)).client
    return {
        "letters made here, one lane": made(LocalEngine(_lanes(settings, 1))),
        "letters made here, two lanes": made(LocalEngine(_lanes(settings, 2))),
        "letters made by a cluster of two": made(DaskEngine(settings)),
        "tasks that do nothing, by the cluster": lambda: _nothing(client),
    }


def _lanes(settings: Settings, number: int) -> Settings:
    convert = settings.convert.model_copy(update={"workers": number})
    changed = settings.model_copy(update={"convert": convert})
    changed._project, changed._read_from = settings.project, settings.read_from
    return changed


def _steady(engine: run.Engine, job: Job, frozen: list[FrozenLetter]) -> float:
    """Letters a second from the fifth on: before that, LibreOffice is started."""
    warm = 4
    results = engine.each(job, frozen)
    for _ in range(warm):
        assert isinstance(next(results), Prepared)
    begun = time.perf_counter()
    rest = list(results)
    assert all(isinstance(one, Prepared) for one in rest)
    return len(rest) / (time.perf_counter() - begun)


_numbers = count()


def _nothing(client: Any, tasks: int = 2000, together: int = 200) -> float:
    begun = time.perf_counter()
    for _ in range(tasks // together):
        keys = [f"nothing-{next(_numbers)}" for _ in range(together)]
        futures = client.map(operator.neg, list(range(together)), key=keys, pure=False)
        client.gather(futures)
        for one in futures:
            one.release()
    return tasks / (time.perf_counter() - begun)


def _recording(stack: ExitStack) -> dict[str, Contender]:
    server = stack.enter_context(running_postgres())
    db = Database(server.url(server.create()), setting="database.url")
    stack.callback(db.close)
    migrate.upgrade(db)
    years = count(2000)

    def recorded(together: int, number: int) -> float:
        year, now = next(years), datetime.now(UTC)
        words = {"subject": "s", "text": "t", "html": "h"}
        opening = Opening(
            year=year, edition={"year": year}, template_sha256="0" * 64, wording=words
        )
        runs.open_run(db, opening, (_letter(one) for one in range(number)), person="b", now=now)
        found = runs.find_run(db, year)
        assert found is not None
        made = [
            Prepared(letter_id=one.id, pdf="p", pdf_sha256="1" * 64, docx_sha256="2" * 64, pages=3)
            for one in letters.unprepared(db, found.id)
        ]
        begun = time.perf_counter()
        for at in range(0, number, together):
            news = letters.record_all(db, found.id, made[at : at + together], now=now)
            assert news == len(made[at : at + together])
        return number / (time.perf_counter() - begun)

    return {
        "letters recorded, one to a transaction": lambda: recorded(1, 300),
        "letters recorded, 500 to a transaction": lambda: recorded(500, 5000),
    }


def _letter(number: int) -> Letter:
    return Letter(
        authority_code=f"B{number:07}",
        authority_name=f"Council {number}",
        kind="district",
        fields={"authority": f"Council {number}"},
        figures={},
        recipients=[
            {"address": "a@council.test", "name": "A", "roles": ["chief_executive"], "kind": "to"}
        ],
        fault=None,
    )


def _putting(stack: ExitStack) -> dict[str, Contender]:
    store = stack.enter_context(running_s3())
    os.environ["AWS_ENDPOINT_URL_S3"] = store.endpoint
    archive = Archive(f"s3://{store.make_bucket()}")
    numbers = count()

    def files() -> Iterator[tuple[str, bytes]]:
        while True:
            data = os.urandom(80_000)
            yield f"2020/{next(numbers)}.{sha256(data).hexdigest()[:12]}.pdf", data

    def put(threads: int, number: int = 120) -> float:
        some = [one for one, _ in zip(files(), range(number), strict=False)]
        with ThreadPoolExecutor(threads) as pool:
            begun = time.perf_counter()
            list(pool.map(lambda one: archive.put(*one), some))
            return number / (time.perf_counter() - begun)

    return {
        "files of 80 kB put on S3, one thread": lambda: put(1),
        "files of 80 kB put on S3, eight threads": lambda: put(8),
    }


if __name__ == "__main__":
    main()
