"""The whole way from the claim to the outcome, seen from a relay that looks closely."""

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from pipeline import schema
from pipeline.archive import Archive
from pipeline.database import Database
from pipeline.delivery import State
from pipeline.dispatch import dispatch
from pipeline.ledger import deliveries
from pipeline.ledger.instance import Entry
from pipeline.ledger.runs import Run
from pipeline.transport import Relay
from tests.integration.test_dispatch import archive, outbox, row, run
from tests.integration.test_ledger import NOW
from tests.relays import PATIENCE, WaywardRelay

__all__ = ["archive", "run"]  # fixtures


def test_a_retry_is_the_same_octets(
    db: Database, archive: Archive, run: Run, tmp_path: Path
) -> None:
    with WaywardRelay({"DOT": b"451 4.3.0 try again later\r\n"}) as server:
        out = outbox(Relay(host="127.0.0.1", port=server.port), tmp_path)
        dispatch(db, archive, run, out)
        assert row(db).state == State.QUEUED.value
        server.answers["DOT"] = b"250 2.0.0 Ok: queued as Q1\r\n"
        with db.write() as connection:  # its time has come, and all it was written from is another
            connection.execute(sa.update(schema.deliveries).values(due_at=NOW))
            words = {"subject": "Other", "text": "Other.", "html": "<p>Other.</p>"}
            connection.execute(sa.update(schema.runs).values(wording=words))
        dispatch(db, archive, run, out)
        assert row(db).state == State.ACCEPTED.value
        first, second = server.messages
    assert first == second
    with db.read() as connection:
        message = connection.execute(sa.select(schema.messages)).one()
    assert archive.get(message.eml, message.eml_sha256).splitlines() == first.splitlines()


def test_a_fenced_worker_s_message_never_arrives(
    db: Database,
    archive: Archive,
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A worker is stopped just before its intent, given up, and goes on long after."""
    stopped, go_on = threading.Event(), threading.Event()
    real = deliveries.intend

    def intend(*arguments: Any, **named: Any) -> Entry | None:
        stopped.set()
        assert go_on.wait(PATIENCE)
        return real(*arguments, **named)

    monkeypatch.setattr(deliveries, "intend", intend)
    with WaywardRelay() as server:
        out = outbox(Relay(host="127.0.0.1", port=server.port), tmp_path)
        failed: list[BaseException] = []

        def work() -> None:
            try:
                dispatch(db, archive, run, out)
            except BaseException as error:  # noqa: BLE001 - looked at by the test
                failed.append(error)

        worker = threading.Thread(target=work)
        worker.start()
        try:
            assert stopped.wait(PATIENCE)
            late = datetime.now(UTC) + timedelta(days=1)
            assert deliveries.recover(db, run.id, gone=lambda _: False, now=late) == 1
            # Queued for that day, and not for this worker just now.
            assert (row(db).state, row(db).due_at) == (State.QUEUED.value, late)
        finally:
            go_on.set()
            worker.join()
        assert failed == []
        assert server.messages == []
    assert row(db).state == State.QUEUED.value
