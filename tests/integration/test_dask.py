"""Letters made by a Dask cluster: real schedulers, workers and LibreOffice, killed and cut off."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from pipeline import bootstrap, run, schema
from pipeline.checks import Kind
from pipeline.checks import engine as engine_check
from pipeline.cluster import Place, connected, is_open
from pipeline.convert import find_office
from pipeline.database import Database
from pipeline.engines import chosen, lanes
from pipeline.engines.dask import DaskEngine
from pipeline.engines.local import LocalEngine
from pipeline.errors import Misconfigured, Unavailable
from pipeline.importer import import_folder
from pipeline.ledger import letters
from pipeline.ledger.letters import Faulted, FrozenLetter, Prepared
from pipeline.prepare import Job
from pipeline.schema import Event
from pipeline.settings import Settings, load
from tests import clusters, servers
from tests.acceptance.site import LETTERS, part_of_the_sample
from tests.clusters import WAYWARD, Certified, Dask
from tests.postgres import PostgresServer
from tests.s3 import KEYS, running_s3

ROOT = Path(__file__).parents[2]
CODES = [
    *("E07000243", "E07000103", "E07000008", "E07000009", "E07000010", "E07000011"),
    *("E07000012", "E07000026", "E07000028", "E07000029"),
]


class Silent:
    """Progress that nobody watches."""

    def begin(self, stage: str, total: int) -> None: ...

    def advance(self) -> None: ...

    def end(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Meanwhile:
    """An engine that calls `act` with the number of results there have been, after each."""

    engine: run.Engine
    act: Callable[[int], None]

    def each(self, job: Job, letters: Iterable[FrozenLetter]) -> Iterator[Prepared | Faulted]:
        for number, result in enumerate(self.engine.each(job, letters), start=1):
            self.act(number)
            yield result


@dataclass(slots=True, kw_only=True)
class Taken:
    """An engine that counts how many letters it has taken and not answered yet, at most."""

    engine: run.Engine
    most: int = 0
    answered: int = 0
    taken: int = 0

    def each(self, job: Job, letters: Iterable[FrozenLetter]) -> Iterator[Prepared | Faulted]:
        for result in self.engine.each(job, self._counted(letters)):
            self.answered += 1
            yield result

    def _counted(self, letters: Iterable[FrozenLetter]) -> Iterator[FrozenLetter]:
        for letter in letters:
            self.taken += 1
            self.most = max(self.most, self.taken - self.answered)
            yield letter


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A ledger of its own on PostgreSQL, with some statistics, and the archive that all share."""

    folder: Path
    archive: str
    ledger: str

    def settings(self, **engine: Any) -> Settings:
        lines = [
            f'[database]\nurl = "{self.ledger}"\nmark = "{self.folder}/mark"',
            f'[archive]\nurl = "{self.archive}"',
            f'[mail]\ncapture = "{self.folder}/captured"',
            f'[template]\npath = "{ROOT}/templates/letter.docx"',
            "[engine]",
            *(
                f"{key} = {value}" if isinstance(value, int) else f'{key} = "{value}"'
                for key, value in engine.items()
            ),
        ]
        self.config.parent.mkdir(parents=True, exist_ok=True)
        self.config.write_text("\n".join(lines), encoding="utf-8")
        return load(self.config)

    def clustered(self, dask: Dask, **engine: Any) -> Settings:
        mine = dask.certified
        files = {"ca_file": mine.ca, "cert_file": mine.cert, "key_file": mine.key} if mine else {}
        return self.settings(kind="dask", address=dask.address, **files, **engine)

    @property
    def config(self) -> Path:
        return self.folder / "config/letters.toml"

    def prepare(self, settings: Settings, engine: run.Engine) -> None:
        with bootstrap.pipeline(settings, writes=True) as pipeline:
            run.prepared_run(pipeline, engine, 2020, person="tester", progress=Silent())

    def letters(self) -> list[Any]:
        with closing(bootstrap.open_ledger(self.settings())) as db, db.read() as connection:
            table = schema.letters
            return list(connection.execute(sa.select(table).order_by(table.c.id)))

    def prepared_once(self) -> None:
        """Every letter has its file, which is the one of its hash, and was recorded once."""
        settings = self.settings()
        archive = bootstrap.open_archive(settings)
        found = self.letters()
        assert found
        for letter in found:
            assert letter.pdf is not None, (letter.authority_name, letter.fault)
            data = archive.get(letter.pdf, letter.pdf_sha256)
            assert hashlib.sha256(data).hexdigest() == letter.pdf_sha256
        assert self.events(Event.LETTER_PREPARED) == dict.fromkeys([one.id for one in found], 1)

    def events(self, kind: Event) -> dict[int, int]:
        """How often something happened to each letter."""
        with closing(bootstrap.open_ledger(self.settings())) as db, db.read() as connection:
            table = schema.events
            rows = connection.scalars(
                sa.select(table.c.letter_id).where(table.c.kind == kind.value)
            )
            return dict(Counter(rows))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the workers find their settings: no more than where the archive is."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "config").mkdir()
    (folder / "config/letters.toml").write_text(
        f'[archive]\nurl = "{folder}/archive"\n', encoding="utf-8"
    )
    return folder


@pytest.fixture(scope="module")
def filled(postgres: PostgresServer, migrated: str, tmp_path_factory: Any) -> str:
    """The name of a database with the statistics of ten authorities, to be copied."""
    name = postgres.create(template=migrated)
    data = part_of_the_sample(tmp_path_factory.mktemp("data"), CODES)
    with closing(Database(postgres.url(name))) as db:
        import_folder(db, data)
    return name


@pytest.fixture
def site(
    postgres: PostgresServer, filled: str, home: Path, tmp_path: Path, monkeypatch: Any
) -> Iterator[Site]:
    for name in os.environ:
        if name.startswith("LETTERS_") and name != "LETTERS_SOFFICE":
            monkeypatch.delenv(name)
    name = postgres.create(template=filled)
    yield Site(folder=tmp_path, archive=f"{home}/archive", ledger=postgres.url(name))
    postgres.drop(name)


@pytest.fixture(scope="module")
def dask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dask]:
    """A scheduler without workers; what ends two of them is given up."""
    with clusters.scheduler(tmp_path_factory.mktemp("dask"), failures=0) as one:
        yield one


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, home: Path) -> Iterator[Dask]:
    """Another scheduler, with two workers."""
    with (
        clusters.scheduler(tmp_path_factory.mktemp("two")) as one,
        one.worker("first", home),
        one.worker("second", home),
    ):
        one.await_workers("first", "second")
        yield one


def lanes_open() -> int:
    return len(lanes._lanes)


def left_behind(dask_scheduler: Any) -> tuple[int, list[str]]:
    plugins = [name for name in dask_scheduler.worker_plugins if name.startswith("letters")]
    return len(dask_scheduler.tasks), plugins


def keys_seen(dask_scheduler: Any) -> list[str]:
    return sorted({str(one[0]) for one in dask_scheduler.transition_log})


# -------------------------------------------------------------------------------- all is well


def test_a_cluster_makes_a_year_and_keeps_nothing_of_it(site: Site, two: Dask) -> None:
    settings = site.clustered(two)
    counted = Taken(engine=DaskEngine(settings))
    site.prepare(settings, counted)
    site.prepared_once()
    assert counted.taken == counted.answered == len(CODES)
    assert counted.most <= 8, "two threads are given four letters each"
    assert two.at_scheduler(left_behind) == (0, [])
    assert set(two.at_workers(lanes_open).values()) == {0}
    # What the scheduler, its log and its dashboard could show: numbers, and no name.
    keys = [key for key in two.at_scheduler(keys_seen) if key.startswith("letter-")]
    assert len(keys) == len(CODES)
    assert all(re.fullmatch(r"letter-\d+-\d+-[0-9a-f]{8}-\d+", key) for key in keys)
    for output in two.folder.glob("*.log"):
        said = output.read_text(encoding="utf-8")
        assert said
        assert "Stevenage" not in said
        assert "Partridge" not in said


def test_the_same_letter_is_the_same_file_here_and_there(site: Site, two: Dask) -> None:
    settings = site.clustered(two)
    with bootstrap.pipeline(settings, writes=True) as pipeline:
        found = run.open_run(pipeline, 2020, person="tester", progress=Silent())
        job = Job(
            template=run.template_name(found.template_sha256),
            template_sha256=found.template_sha256,
            names=letters.names(pipeline.ledger, found.id),
            dated=found.opened_at,
        )
        some = list(letters.unprepared(pipeline.ledger, found.id))[:3]
        here = sorted(LocalEngine(settings).each(job, some), key=lambda one: one.letter_id)
        there = sorted(DaskEngine(settings).each(job, some), key=lambda one: one.letter_id)
    assert here == there
    assert len(here) == 3


def test_the_command_says_what_is_made_where_and_ends_in_one_line(site: Site, two: Dask) -> None:
    site.clustered(two)
    whole = ["--config", str(site.config)]
    checked = subprocess.run(
        [LETTERS, "check", "--quick", "--json", *whole], capture_output=True, text=True, check=False
    )
    [told] = [one for one in json.loads(checked.stdout) if one["check"] == "engine"]
    version = find_office().version
    assert told["state"] == "ok"
    assert "2 workers" in told["found"]
    assert f"LibreOffice {version}" in told["found"]
    assert checked.stderr == ""

    started = subprocess.Popen(
        [LETTERS, "prepare", "2020", *whole],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert started.stderr is not None
    said = ""
    while "Preparing 1 of" not in said:
        line = started.stderr.readline()
        assert line, said
        said += line
    os.killpg(started.pid, signal.SIGINT)
    out, rest = started.communicate()
    assert started.returncode == 130
    assert out == ""
    *before, last = rest.splitlines()
    assert last.startswith("Interrupted. Everything done so far is kept.")
    assert all(re.fullmatch(r"Preparing \d+ of 10", line) for line in before), rest

    again = subprocess.run(
        [LETTERS, "prepare", "2020", *whole], capture_output=True, text=True, check=False
    )
    assert again.returncode == 0, again.stderr
    assert all(re.fullmatch(r"Preparing \d+ of \d+", line) for line in again.stderr.splitlines())
    site.prepared_once()


def test_letters_that_are_made_elsewhere_lie_in_a_bucket(
    site: Site, dask: Dask, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_s3() as store:
        keys = {**KEYS, "AWS_ENDPOINT_URL_S3": store.endpoint}
        for name, value in keys.items():
            monkeypatch.setenv(name, value)
        bucket = store.make_bucket()
        far = replace(site, archive=f"s3://{bucket}/letters")
        settings = far.clustered(dask)
        with dask.worker("far", home, env={**keys, "LETTERS_ARCHIVE__URL": far.archive}):
            dask.await_workers("far")
            far.prepare(settings, DaskEngine(settings))
        far.prepared_once()
        made = [key for key in store.keys(bucket) if key.endswith(".pdf")]
        assert len(made) == len(CODES)


# ------------------------------------------------------------------------------- what is killed


def test_a_letter_that_kills_its_worker_is_a_fault_and_the_others_go_on(
    site: Site, dask: Dask, home: Path, tmp_path: Path
) -> None:
    settings = site.clustered(dask)
    with bootstrap.pipeline(settings, writes=True) as pipeline:
        run.open_run(pipeline, 2020, person="tester", progress=Silent())
    deadly = site.letters()[3]
    env = {"WAYWARD": f"SIGKILL {deadly.id} {tmp_path}"}
    with dask.worker("mortal", home, "--preload", str(WAYWARD), env=env, nanny=True):
        dask.await_workers("mortal")
        site.prepare(settings, DaskEngine(settings))
    dead = [int(note.name.partition("-")[2]) for note in tmp_path.glob("SIGKILL-*")]
    assert len(dead) == 2, "once beside others, and once alone"
    for letter in site.letters():
        if letter.id == deadly.id:
            assert letter.pdf is None
            assert letter.fault.startswith("Making this letter has ended each of 1 workers that")
        else:
            assert letter.pdf is not None
    others = {one.id: 1 for one in site.letters() if one.id != deadly.id}
    assert site.events(Event.LETTER_PREPARED) == others
    assert site.events(Event.LETTER_FAULTED) == {deadly.id: 1}
    # A LibreOffice dies with the worker it worked for.
    servers.await_that("no LibreOffice was left", lambda: not owned_by(dead), lambda: str(dead))


def owned_by(owners: list[int]) -> list[str]:
    """The processes that drive a LibreOffice for one of these."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = place.read_bytes().decode(errors="replace").split("\0")
            if any(word.endswith("uno_worker.py") for word in words):
                found += [word for word in words if word in {str(owner) for owner in owners}]
    return found


def test_a_worker_that_is_cut_off_and_wakes_again_does_no_harm(
    site: Site, dask: Dask, home: Path, tmp_path: Path
) -> None:
    settings = site.clustered(dask)
    log = tmp_path / "log"
    env = {
        "WAYWARD": f"SIGSTOP any {tmp_path}",
        "LETTERS_LOG__FILE": str(log),
        "LETTERS_LOG__LEVEL": "info",
    }

    def declared_dead(_number: int) -> None:
        if not cut_off and list(tmp_path.glob("SIGSTOP-*")):
            cut_off.append(True)
            dask.at_scheduler(given_up, name="sleeper")

    cut_off: list[bool] = []
    with (
        dask.worker("sleeper", home, "--preload", str(WAYWARD), env=env) as sleeper,
        dask.worker("steady", home),
    ):
        dask.await_workers("sleeper", "steady")
        pid = sleeper.pid
        try:
            site.prepare(settings, Meanwhile(engine=DaskEngine(settings), act=declared_dead))
            before = written(log)
        finally:
            os.kill(pid, signal.SIGCONT)
        assert cut_off
        assert "letter.made" not in before, "it slept in the middle of its first one"
        site.prepared_once()
        recorded = site.letters()
        servers.await_that(
            "the sleeper was through with its letter", lambda: "letter.made" in written(log)
        )
        assert site.letters() == recorded
        site.prepared_once()


def written(log: Path) -> str:
    return log.read_text("utf-8") if log.exists() else ""


async def given_up(dask_scheduler: Any, name: str) -> None:
    """As the scheduler does once a worker has not been heard of for long enough."""
    [address] = [one.address for one in dask_scheduler.workers.values() if one.name == name]
    await dask_scheduler.remove_worker(address=address, stimulus_id="test", close=False)


def test_when_the_scheduler_is_killed_what_was_done_is_kept_and_it_goes_on(
    site: Site, home: Path, tmp_path: Path
) -> None:
    with clusters.scheduler(tmp_path / "one") as dask, dask.worker("one", home):
        dask.await_workers("one")
        settings = site.clustered(dask)

        def killed(number: int) -> None:
            if number == 3:
                dask.scheduler.kill()

        with pytest.raises(Unavailable) as raised:
            site.prepare(settings, Meanwhile(engine=DaskEngine(settings), act=killed))
        assert dask.address in str(raised.value)
        assert "Everything done so far is kept" in str(raised.value)
        made = [one.id for one in site.letters() if one.pdf]
        assert 3 <= len(made) < len(CODES)
        port = int(dask.address.rpartition(":")[2])
    with clusters.scheduler(tmp_path / "two", port=port) as dask, dask.worker("two", home):
        dask.await_workers("two")
        site.prepare(settings, DaskEngine(settings))
    site.prepared_once()


def test_where_nobody_works_it_waits_says_so_and_stops(site: Site, dask: Dask) -> None:
    settings = site.clustered(dask, patience_seconds=1)
    said: list[str] = []
    with pytest.raises(Unavailable) as raised:
        site.prepare(settings, chosen(settings, say=said.append))
    assert said == [
        f"Nobody works in the Dask cluster at {dask.address} at present; waiting up to 1 seconds "
        "for a worker."
    ]
    assert "Nobody has worked in the Dask cluster" in str(raised.value)
    assert dask.at_scheduler(left_behind) == (0, [])


# ----------------------------------------------------------------------------- who may not work


def test_workers_that_have_another_libreoffice_are_refused(
    site: Site, dask: Dask, home: Path, tmp_path: Path
) -> None:
    real = find_office()
    other = tmp_path / "soffice.bin"
    other.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && echo LibreOffice 99.8.7.6 && exit\n'
        f'exec {real.program} "$@"\n'
    )
    other.chmod(0o755)
    settings = site.clustered(dask)
    env = {"LETTERS_SOFFICE": str(tmp_path)}
    with dask.worker("new", home, env=env), dask.worker("usual", home):
        dask.await_workers("new", "usual")
        with pytest.raises(Misconfigured) as raised:
            site.prepare(settings, DaskEngine(settings))
        check = list(engine_check.engine(settings))
    said = str(raised.value)
    assert "worker new has letters" in said
    assert "LibreOffice 99.8.7.6" in said
    assert "worker usual has letters" in said
    assert f"LibreOffice {real.version}" in said
    assert not any(one.pdf for one in site.letters())
    assert [one.state for one in check] == [Kind.FAULT]
    assert "new (letters" in check[0].found
    assert "99.8.7.6" in check[0].found


def test_a_worker_that_writes_elsewhere_or_lacks_the_template_is_refused(
    site: Site, dask: Dask, home: Path, tmp_path: Path
) -> None:
    settings = site.clustered(dask)
    elsewhere = tmp_path / "elsewhere"
    with dask.worker("astray", home, env={"LETTERS_ARCHIVE__URL": str(elsewhere)}):
        dask.await_workers("astray")
        with pytest.raises(Unavailable, match="worker astray cannot make letters"):
            site.prepare(settings, DaskEngine(settings))
    assert not any(one.pdf for one in site.letters())


# ----------------------------------------------------------------------------------- encrypted


def certified(folder: Path) -> tuple[Certified, Certified]:
    """What the machines of a cluster have, and what somebody has who is no part of it."""
    folder.mkdir()

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "3"]
    for name in ("ours", "theirs"):
        openssl(
            *("req", "-x509", *key, "-keyout", f"{name}-ca.key", "-out", f"{name}-ca.pem"),
            *("-subj", f"/CN={name}", "-addext", "keyUsage=critical,keyCertSign,cRLSign"),
        )
        openssl(
            *("req", "-x509", *key, "-keyout", f"{name}.key", "-out", f"{name}.pem"),
            *("-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-CA", f"{name}-ca.pem", "-CAkey", f"{name}-ca.key"),
            *("-addext", "basicConstraints=CA:FALSE"),
        )
    ours, theirs = (
        Certified(
            ca=folder / "ours-ca.pem", cert=folder / f"{name}.pem", key=folder / f"{name}.key"
        )
        for name in ("ours", "theirs")
    )
    return ours, theirs


def test_an_encrypted_cluster_makes_letters_and_lets_no_stranger_in(
    site: Site, home: Path, tmp_path: Path
) -> None:
    ours, theirs = certified(tmp_path / "certificates")
    ours.key.chmod(0o644)
    with clusters.scheduler(tmp_path / "tls", certified=ours) as dask, dask.worker("safe", home):
        dask.await_workers("safe")
        settings = site.clustered(dask)
        assert f"chmod 600 {ours.key}" in str(settings.warnings())
        ours.key.chmod(0o600)
        assert settings.warnings() == []
        site.prepare(settings, DaskEngine(settings))
        site.prepared_once()

        stranger = Place(
            address=dask.address, ca_file=theirs.ca, cert_file=theirs.cert, key_file=theirs.key
        )
        with (
            pytest.raises(Unavailable, match="certificates of one authority"),
            connected(stranger, seconds=1),
        ):
            pass
        with (
            pytest.raises(Misconfigured, match=r"missing\.key, which engine\.key_file names"),
            connected(replace(dask.place, key_file=tmp_path / "missing.key"), seconds=1),
        ):
            pass
        with (
            pytest.raises(Misconfigured, match="the key being the certificate's own"),
            connected(replace(dask.place, key_file=theirs.key), seconds=1),
        ):
            pass


@pytest.mark.parametrize(
    ("address", "open_"),
    [
        ("tls://scheduler.example:8786", False),
        ("tcp://127.0.0.1:8786", False),
        ("tcp://localhost:8786", False),
        ("tcp://[::1]:8786", False),
        ("tcp://192.0.2.7:8786", True),
        ("tcp://scheduler.example:8786", True),
        ("ws://192.0.2.7:8786", True),
        ("tcp://0.0.0.0:8786", True),
    ],
)
def test_only_this_machine_may_be_open(address: str, open_: bool) -> None:
    assert is_open(address) is open_
    if open_:
        with (
            pytest.raises(Misconfigured, match="takes all comers"),
            connected(Place(address=address), seconds=1),
        ):
            pass


def test_a_worker_that_others_can_reach_is_refused(site: Site, dask: Dask, home: Path) -> None:
    there = ("--listen-address", "tcp://127.0.0.1:0", "--contact-address", "tcp://192.0.2.7:9999")
    with dask.worker("far", home, *there):
        settings = site.clustered(dask)
        with pytest.raises(Misconfigured, match=r"worker at tcp://192\.0\.2\.7:9999 takes all"):
            site.prepare(settings, DaskEngine(settings))


def test_without_dask_it_is_said_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with (
        pytest.raises(Misconfigured, match=r"Dask is not installed here.*requirements-scale\.txt"),
        connected(Place(address="tcp://127.0.0.1:1"), seconds=1),
    ):
        pass


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        ({"kind": "dask"}, "engine.address must name the cluster's scheduler"),
        ({"kind": "dask", "address": "tcp://10.0.0.7:8786"}, "lets everybody in who"),
        ({"kind": "dask", "address": "tcp://127.0.0.1"}, "with the scheduler's name and port"),
        ({"kind": "dask", "address": "http://127.0.0.1:8786"}, "It must be tls:// or tcp://"),
        ({"kind": "dask", "address": "tls://a.example:8786"}, "engine.cert_file must name"),
        ({"kind": "cluster"}, "engine.kind"),
        ({"patience_seconds": 0}, "engine.patience_seconds"),
    ],
)
def test_settings_that_cannot_be_are_refused(
    engine: dict[str, Any], said: str, tmp_path: Path
) -> None:
    site = Site(folder=tmp_path, archive=f"{tmp_path}/archive", ledger="postgresql://h/n")
    with pytest.raises(Misconfigured) as raised:
        site.settings(**engine)
    assert raised.value.exit_code == 78
    assert said in str(raised.value)
