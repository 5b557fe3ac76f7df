"""A scene: letters that are ready to be sent, a ledger, an archive and a real Postfix."""

import hashlib
import itertools
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from pipeline import evidence, schema
from pipeline.archive import Archive
from pipeline.database import Database
from pipeline.delivery import OPEN, Mode, State
from pipeline.evidence import Sources
from pipeline.ledger import deliveries, letters, runs
from pipeline.ledger.letters import Prepared
from pipeline.ledger.runs import Opening, Run
from pipeline.letter import Letter
from pipeline.relaylog import Absent, Attempt, Evidence, RelayLog, Taken
from tests.crash.worker import Nursery, Order, Worker
from tests.postfix import COUNCIL, Postfix

YEAR = 2020
WORDING = {"subject": "Annual review", "text": "Enclosed.", "html": "<p>Enclosed.</p>"}
_TAGS = itertools.count(1)


@dataclass(slots=True, kw_only=True)
class Scene:
    """What a test of sending plays in.

    `recipients` are the envelope's, one for each letter in their order; they have a mark of their
    own, so that what one test sends is not taken for what another has sent.
    """

    folder: Path
    url: str
    db: Database
    archive: Archive
    place: str
    run: Run
    postfix: Postfix
    nursery: Nursery
    mark: str
    recipients: Sequence[str]
    workers: list[Worker] = field(default_factory=list)

    def start(self, **changes: Any) -> Worker:
        """Start a worker that sends over the Postfix, or as `changes` of its order say."""
        order: dict[str, Any] = {
            "url": self.url,
            "archive": self.place,
            "year": YEAR,
            "output": str(self.folder / f"worker-{len(self.workers)}"),
            "relay": {"host": self.postfix.host, "port": self.postfix.port},
        }
        self.workers.append(self.nursery.start(Order(**(order | changes))))
        return self.workers[-1]

    def send(self, *, expect: int = 0, **changes: Any) -> str:
        """Let a worker do it to its end, hold it to how it ends, and say what it printed."""
        return self.end_of(self.start(**changes), expect=expect)

    def end_of(self, worker: Worker, *, expect: int) -> str:
        """Wait until a worker has ended as expected; what it printed."""
        status = worker.wait()
        said = worker.output.read_text("utf-8") if worker.output.exists() else ""
        assert status == expect, (status, said)
        assert "Traceback" not in said
        return said

    def states(self) -> Counter[str]:
        """How many deliveries are in each state."""
        d = schema.deliveries
        with self.db.read() as connection:
            return Counter(connection.scalars(sa.select(d.c.state)))

    def everything(self) -> dict[str, list[Any]]:
        """All that the ledger says of deliveries and attempts, to compare with later."""
        with self.db.read() as connection:
            return {
                table.name: [*connection.execute(sa.select(table).order_by(table.c.id))]
                for table in (schema.messages, schema.deliveries, schema.attempts)
            }

    def evidence(self) -> list[tuple[deliveries.Doubt, Evidence]]:
        """What the relay's log says of each delivery that is in doubt."""
        log = RelayLog(self.postfix.log, zone=UTC)
        found = []
        for doubt in deliveries.doubts(self.db, self.run.id, Mode.LIVE):
            assert doubt.local_host is not None
            assert doubt.local_port is not None
            attempt = Attempt(
                local_host=doubt.local_host,
                local_port=doubt.local_port,
                intent_at=doubt.intent_at,
                message_id=doubt.message_id,
                recipient=doubt.recipient,
                sender=doubt.envelope_sender,
            )
            found.append((doubt, log.evidence(attempt)))
        return found

    def settle_doubts(self) -> Counter[str]:
        """Settle by the relay's log whatever it settles; how many went where."""
        went: Counter[str] = Counter()
        for doubt, found in self.evidence():
            match found:
                case Taken(line=line):
                    target = State.ACCEPTED
                case Absent(line=line):
                    target = State.QUEUED
                case _:
                    went["unknown"] += 1
                    continue
            if deliveries.resolve(self.db, doubt, target, evidence=line, now=now()):
                went[target.value] += 1
        return went

    def finish(self) -> Counter[tuple[str, str]]:
        """Run it again and read the evidence, until no more is to be done; what that has moved.

        This is all that anybody does after a crash, however bad it was.
        """
        moved: Counter[tuple[str, str]] = Counter()
        for _ in range(5):
            self.send(connections=2)
            self.postfix.settle()
            sources = Sources(log=RelayLog(self.postfix.log, zone=UTC))
            found = evidence.read(self.db, self.archive, sources, progress=_Silence())
            assert not found.troubles
            moved.update((one.source.value, one.target.value) for one in found.moved)
            if not self.states().keys() & {each.value for each in OPEN}:
                break
        return moved

    def make_due(self) -> None:
        """Let the time pass that what was put off has to wait."""
        d = schema.deliveries
        with self.db.write() as connection:
            connection.execute(
                sa.update(d).where(d.c.state == State.QUEUED.value).values(due_at=now())
            )


class _Silence:
    def begin(self, stage: str, total: int) -> None: ...

    def advance(self) -> None: ...

    def end(self) -> None: ...


def now() -> datetime:
    return datetime.now(UTC)


def pdf_of(code: str) -> bytes:
    """A small file that is this authority's and nobody else's, too long for one packet."""
    noise = random.Random(code).randbytes(20_000)  # noqa: S311 - the same each time is meant
    return b"%PDF-1.7\n% the letter to " + code.encode() + b" Council\n" + noise + b"\n%%EOF\n"


@contextmanager
def set_scene(
    folder: Path,
    url: str,
    postfix: Postfix,
    nursery: Nursery,
    *,
    letters_to: Sequence[str] = ("chief",) * 3,
    archive: Path | None = None,
) -> Iterator[Scene]:
    """A run whose letters are made and archived; one to each of these mailboxes at the council.

    The database must be migrated. Workers that are still there at the end are killed.
    """
    db = Database(url)
    place = str(archive or folder / "archive")
    mark = f"t{next(_TAGS)}"
    recipients = [
        f"{mailbox}+{mark}-{number:03}@{COUNCIL}" for number, mailbox in enumerate(letters_to, 1)
    ]
    scene = Scene(
        folder=folder,
        url=url,
        db=db,
        archive=Archive(place),
        place=place,
        run=_opened(db, recipients),
        postfix=postfix,
        nursery=nursery,
        mark=mark,
        recipients=recipients,
    )
    _make(scene)
    try:
        yield scene
    finally:
        for worker in scene.workers:
            worker.end()
        db.close()


def _opened(db: Database, recipients: Sequence[str]) -> Run:
    composed = [
        Letter(
            authority_code=code,
            authority_name=f"{code} Council",
            kind="district",
            fields={"authority": f"{code} Council"},
            figures={"upheld": {"part": 1, "whole": 1, "percent": 100, "average": 45}},
            recipients=[{"address": address, "name": "C", "roles": ["chief"], "kind": "to"}],
        )
        for code, address in ((f"A{number:03}", one) for number, one in enumerate(recipients, 1))
    ]
    opening = Opening(year=YEAR, edition={"year": YEAR}, template_sha256="0" * 64, wording=WORDING)
    runs.open_run(db, opening, composed, person="tester", now=now())
    run = runs.find_run(db, YEAR)
    assert run is not None
    return run


def _make(scene: Scene) -> None:
    for one in letters.unprepared(scene.db, scene.run.id):
        pdf = pdf_of(one.authority_code)
        name = f"{YEAR}/{one.authority_code}.pdf"
        scene.archive.put(name, pdf)
        prepared = Prepared(
            letter_id=one.id,
            pdf=name,
            pdf_sha256=hashlib.sha256(pdf).hexdigest(),
            docx_sha256="2" * 64,
            pages=3,
        )
        assert letters.record(scene.db, scene.run.id, prepared, now=now())
