"""The witnesses can be heard: each promise that is broken by hand is noticed."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from pipeline import schema
from pipeline.delivery import State
from tests.crash.invariants import Witness, hold
from tests.crash.scene import Scene

# On SQLite alone: what is looked at is the same on both.
pytestmark = pytest.mark.parametrize("db_url", ["sqlite"], indirect=True)


def change(scene: Scene, table: sa.Table, **values: object) -> None:
    """Change the first row of a table behind everybody's back."""
    with scene.db.write() as connection:
        first = sa.select(sa.func.min(table.c.id)).scalar_subquery()
        connection.execute(sa.update(table).where(table.c.id == first).values(**values))


def in_mailbox(scene: Scene) -> Path:
    """The file in which the first letter has arrived."""
    wanted = f"\nDelivered-To: {scene.recipients[0]}\n".encode()
    files = scene.postfix.maildir(scene.recipients[0]).glob("new/*")
    [found] = [each for each in files if wanted in each.read_bytes()]
    return found


def edit(path: Path, old: bytes, new: bytes) -> None:
    octets = path.read_bytes()
    assert old in octets
    path.write_bytes(octets.replace(old, new))


def twice(scene: Scene) -> None:
    found = in_mailbox(scene)
    shutil.copy(found, found.with_name(f"{found.name}.again"))


def frozen_anew(scene: Scene) -> None:
    with scene.db.read() as connection:
        eml = connection.scalar(sa.select(schema.messages.c.eml).order_by(schema.messages.c.id))
    assert eml is not None
    edit(Path(scene.archive.location(eml)), b"Enclosed", b"Disclosed")


def intended_twice(scene: Scene) -> None:
    """Two intents for one delivery, and nothing that says why the second was right."""
    a = schema.attempts
    with scene.db.write() as connection:
        first = connection.execute(sa.select(a).order_by(a.c.id)).first()
        assert first is not None
        again = {**first._mapping, "id": 99, "number": 2}
        connection.execute(sa.insert(a).values(**again))
    change(scene, schema.deliveries, attempt=2)


BREAKS: dict[str, Callable[[Scene], None]] = {
    "1: ": twice,
    "2: ": lambda s: change(s, schema.messages, recipients=[{"address": "x@council.test"}]),
    "3: ": lambda s: change(s, schema.deliveries, state="rejected"),
    "4: ": lambda s: change(s, schema.attempts, local_port=1),
    "5: ": intended_twice,
    "8: ": frozen_anew,
    "11: ": lambda s: change(s, schema.deliveries, state=State.BOUNCED.value),
    "12: ": lambda s: change(s, schema.letters, pdf_sha256="3" * 64),
    "13: ": lambda s: edit(in_mailbox(s), b"Return-Path: <bounces+", b"Return-Path: <bounces-"),
}


@pytest.mark.parametrize("promise", BREAKS)
def test_a_broken_promise_is_noticed(scene: Scene, promise: str) -> None:
    scene.send()
    hold(scene, accepted=3)
    BREAKS[promise](scene)
    found = [*Witness(scene).contradictions()]
    assert any(each.startswith(promise) for each in found), found


def test_a_copy_of_something_else_is_noticed(scene: Scene) -> None:
    scene.send()
    hold(scene, accepted=3)
    edit(in_mailbox(scene), b"Enclosed", b"Disclosed")
    [found] = Witness(scene).contradictions()
    assert "other bytes than those that were frozen" in found


def test_a_story_that_can_be_changed_is_noticed(scene: Scene) -> None:
    with scene.db.write() as connection:
        for trigger in ("events_no_update", "events_no_delete"):
            connection.exec_driver_sql(f"DROP TRIGGER {trigger}")
    scene.send()
    with pytest.raises(pytest.fail.Exception, match="the events can be changed"):
        hold(scene)
