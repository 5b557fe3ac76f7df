"""Break the sending protocol on purpose, one promise at a time, and see which test notices.

    .venv/bin/python tests/mutations.py               all of them, some minutes
    .venv/bin/python tests/mutations.py pause lease   those with one of these words in their name

Each mutation is a change of a few words in a copy of the tree; the tests that it names must fail
there, and must pass without it. A test that is named as blind must pass all the same: that is
what one kind of database cannot show. The table comes out as it stands in
`docs/decisions/0010-what-the-tests-catch.md`. Exits with 1 if a mutation survives.
"""

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from hypothesis import Phase, settings

PROJECT = Path(__file__).resolve().parent.parent
PATIENCE = 300
"""Seconds for the tests of one mutation; what does not end by then has been noticed, too."""

APPROVALS = "pipeline/ledger/approvals.py"
DELIVERIES = "pipeline/ledger/deliveries.py"
DISPATCH = "pipeline/dispatch.py"
HOLDS = "pipeline/ledger/holds.py"
MESSAGES = "pipeline/ledger/messages.py"
RELAYS = "pipeline/ledger/relays.py"
REPORTS = "pipeline/ledger/reports.py"
TRANSPORT = "pipeline/transport.py"

MACHINE = (
    "integration/test_machine.py::test_whatever_happens_nothing_is_lost_and_nothing_sent_twice"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """`old`, which stands once in the file, becomes `new`."""

    path: str
    old: str
    new: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """A promise that is broken, and the tests (below tests/) that must notice, or cannot."""

    name: str
    edits: tuple[Edit, ...]
    noticed: tuple[str, ...]
    blind: tuple[str, ...] = ()


def _one(
    name: str, path: str, old: str, new: str, *noticed: str, blind: tuple[str, ...] = ()
) -> Mutation:
    edit = Edit(path=path, old=old, new=new)
    return Mutation(name=name, edits=(edit,), noticed=noticed, blind=blind)


MUTATIONS: tuple[Mutation, ...] = (
    # The intent and the dot.
    _one(
        "the dot is written before the intent is committed",
        TRANSPORT,
        """\
        if not commit_intent(client.session(self.phase)):
            return NotTried(
                reason="The intent to send was not granted; the connection was cut before the dot.",
                trouble=False,
            )
        return self._dot(client)
""",
        """\
        outcome = self._dot(client)
        commit_intent(client.session(self.phase))
        return outcome
""",
        "integration/test_transport.py::test_without_the_intent_there_is_no_dot",
        "integration/test_transport.py"
        "::test_the_whole_body_is_with_the_relay_before_the_intent_and_the_dot_is_not",
        "integration/test_protocol.py::test_a_fenced_worker_s_message_never_arrives[sqlite]",
    ),
    _one(
        "the dot is written though the intent was not granted",
        TRANSPORT,
        "if not commit_intent(client.session(self.phase)):",
        "if commit_intent(client.session(self.phase)) is None:",
        "integration/test_transport.py::test_without_the_intent_there_is_no_dot",
        "integration/test_protocol.py::test_a_fenced_worker_s_message_never_arrives[sqlite]",
    ),
    Mutation(
        name="the intent is on record only once the relay has answered",
        edits=(
            Edit(
                path=DISPATCH,
                old="""\
        def commit_intent(session: Session) -> bool:
            intent = deliveries.intend(
""",
                new="""\
        sessions: list[Session] = []

        def commit_intent(session: Session) -> bool:
            sessions.append(session)
            return True

        def afterwards(session: Session) -> bool:
            intent = deliveries.intend(
""",
            ),
            Edit(
                path=DISPATCH,
                old="        now, chance = _now(), random.random()",
                new="""\
        if sessions:
            afterwards(sessions[0])
        now, chance = _now(), random.random()""",
            ),
        ),
        noticed=(
            "integration/test_dispatch.py"
            "::test_an_answer_that_comes_after_the_claim_was_lost_is_evidence[sqlite]",
            "integration/test_protocol.py::test_a_fenced_worker_s_message_never_arrives[sqlite]",
        ),
    ),
    _one(
        "an intent that changed no row is granted",
        DELIVERIES,
        """\
        if not _move(connection, claimed, State.CLAIMED, State.SENDING, until=now + lease):
            return None
""",
        """\
        _move(connection, claimed, State.CLAIMED, State.SENDING, until=now + lease)
""",
        "integration/test_ledger.py::test_a_fenced_worker_writes_no_dot_and_changes_no_row[sqlite]",
        "integration/test_protocol.py::test_a_fenced_worker_s_message_never_arrives[sqlite]",
        MACHINE,
    ),
    # Who holds what.
    _one(
        "an intent does not wait for the disk",
        DELIVERIES,
        """\
    with db.write() as connection:
        if not _move(connection, claimed, State.CLAIMED, State.SENDING, until=now + lease):
""",
        """\
    with db.write(synced=False) as connection:
        if not _move(connection, claimed, State.CLAIMED, State.SENDING, until=now + lease):
""",
        "integration/test_ledger.py::test_intent_and_outcome_wait_for_the_disk[sqlite]",
        "integration/test_ledger.py::test_intent_and_outcome_wait_for_the_disk[postgresql]",
    ),
    _one(
        "a move asks for neither owner nor attempt",
        DELIVERIES,
        ".where(*_HELD, schema.deliveries.c.state == source.value)",
        ".where(_HELD[0], schema.deliveries.c.state == source.value)",
        "integration/test_ledger.py::test_a_fenced_worker_writes_no_dot_and_changes_no_row[sqlite]",
        MACHINE,
    ),
    _one(
        "a move does not ask where the delivery stands",
        DELIVERIES,
        ".where(*_HELD, schema.deliveries.c.state == source.value)",
        ".where(*_HELD)",
        MACHINE,
    ),
    Mutation(
        name="a claim neither locks its row nor asks whether it is still queued",
        edits=(
            Edit(
                path=DELIVERIES,
                old='.where(_D.c.id == sa.bindparam("delivery"), _D.c.state == State.QUEUED.value)',
                new='.where(_D.c.id == sa.bindparam("delivery"))',
            ),
            Edit(
                path=DELIVERIES,
                old="        .with_for_update(skip_locked=True, of=schema.deliveries)\n",
                new="",
            ),
        ),
        noticed=(
            "integration/test_ledger.py"
            "::test_workers_at_once_never_claim_the_same_delivery[postgresql]",
        ),
        blind=(
            "integration/test_ledger.py"
            "::test_workers_at_once_never_claim_the_same_delivery[sqlite]",
        ),
    ),
    _one(
        "a letter may have two open deliveries to one recipient",
        "migrations/versions/0001_first_tables.py",
        """\
        "uq_deliveries_open",
        "deliveries",
        ["letter_id", "mode", "recipient"],
        unique=True,
""",
        """\
        "uq_deliveries_open",
        "deliveries",
        ["letter_id", "mode", "recipient"],
        unique=False,
""",
        "integration/test_ledger.py::test_a_recipient_has_one_open_delivery_of_a_letter[sqlite]",
    ),
    _one(
        "a lease is not renewed",
        DELIVERIES,
        """\
    .where(*_HELD, _D.c.state.in_([state.value for state in LEASED]))
    .values(lease_until=sa.bindparam("until"))
""",
        """\
    .where(*_HELD, _D.c.state.in_([state.value for state in LEASED]))
    .values(lease_until=_D.c.lease_until)
""",
        "integration/test_dispatch.py"
        "::test_a_renewed_lease_is_renewed_for_its_holder_alone[sqlite]",
        MACHINE,
    ),
    # What is in doubt.
    _one(
        "what was being sent by a dead worker is queued again",
        DELIVERIES,
        "target = State.QUEUED if source is State.CLAIMED else State.IN_DOUBT",
        "target = State.QUEUED",
        "integration/test_ledger.py"
        "::test_what_a_dead_worker_held_is_unsent_before_the_intent_and_in_doubt_after[sqlite]",
        MACHINE,
    ),
    _one(
        "absence is inferred from time: a lease that is over was not sent",
        DELIVERIES,
        "target = State.QUEUED if source is State.CLAIMED else State.IN_DOUBT",
        "target = State.QUEUED if row.lease_until <= now else State.IN_DOUBT",
        "integration/test_dispatch.py"
        "::test_an_answer_that_comes_after_the_claim_was_lost_is_evidence[sqlite]",
        MACHINE,
    ),
    _one(
        "what got no answer after the dot is tried again",
        DELIVERIES,
        """\
        case Lost():
            return State.IN_DOUBT
""",
        """\
        case Lost():
            return State.QUEUED
""",
        "integration/test_ledger.py::test_what_each_outcome_leads_to",
        MACHINE,
    ),
    _one(
        "a late answer is dropped",
        DISPATCH,
        "if not ours:\n            deliveries.answer_late",
        "if not ours and isinstance(outcome, NotTried):\n            deliveries.answer_late",
        "integration/test_dispatch.py"
        "::test_an_answer_that_comes_after_the_claim_was_lost_is_evidence[sqlite]",
    ),
    _one(
        "a late answer about an earlier attempt is believed",
        DELIVERIES,
        "waits = (source, row.attempt) == (State.IN_DOUBT, claimed.attempt)",
        "waits = source is State.IN_DOUBT",
        "integration/test_machine.py::test_the_answer_to_another_attempt[sqlite]",
    ),
    _one(
        "evidence about an earlier attempt settles a later doubt",
        DELIVERIES,
        """\
            d.c.attempt == attempt,
            d.c.state == State.IN_DOUBT.value,
""",
        """\
            d.c.state == State.IN_DOUBT.value,
""",
        "integration/test_machine.py::test_the_evidence_of_another_attempt[sqlite]",
    ),
    _one(
        "a report of a delay is taken for a bounce",
        REPORTS,
        "(State.BOUNCED, (Kind.FAILED,)),",
        "(State.BOUNCED, (Kind.FAILED, Kind.DELAYED)),",
        MACHINE,
    ),
    # What the relay says.
    _one(
        "words before the dot are taken for its acceptance",
        TRANSPORT,
        "case 2 if not early:",
        "case 2:",
        "integration/test_transport.py"
        "::test_what_the_relay_says_while_the_intent_is_committed_is_no_acceptance",
    ),
    _one(
        "the relay's own trouble uses up a letter's attempts",
        DELIVERIES,
        "isinstance(outcome, NotTried) and not outcome.trouble",
        "isinstance(outcome, NotTried)",
        "integration/test_dispatch.py"
        "::test_the_relays_own_trouble_is_not_held_against_a_letter[sqlite]",
        MACHINE,
    ),
    _one(
        "a relay in trouble is not left alone",
        RELAYS,
        "~sa.exists().where(r.c.relay == relay, r.c.retry_at > now, "
        "r.c.retry_at <= longest)\n    ]",
        "sa.or_(sa.true(), r.c.retry_at > now, r.c.relay == relay)\n    ]",
        "integration/test_relays.py::test_a_relay_in_trouble_is_left_alone_until_its_time[sqlite]",
        MACHINE,
    ),
    _one(
        "a claim takes no turn of the pace",
        DELIVERIES,
        "if not relays.take_turn(",
        "if relays is None and not relays.take_turn(",
        "integration/test_relays.py::test_overall_pace_holds_for_everybody[sqlite]",
        MACHINE,
    ),
    _one(
        "a turn is taken though somebody else has just taken it",
        RELAYS,
        "sa.or_(p.c.next_at <= now, p.c.next_at > now + every + _SLACK),",
        "sa.true(),",
        "integration/test_relays.py::test_many_at_once_take_one_turn[postgresql]",
        blind=("integration/test_relays.py::test_many_at_once_take_one_turn[sqlite]",),
    ),
    # Frozen bytes.
    _one(
        "a message is frozen again",
        MESSAGES,
        'm.c.eml.is_(None),\n                m.c.mailbox.in_(("", message.mailbox))',
        'm.c.mailbox.in_(("", message.mailbox))',
        "integration/test_ledger.py::test_messages_are_frozen_once[sqlite]",
        MACHINE,
    ),
    Mutation(
        name="a message is written anew for each attempt",
        edits=(
            Edit(
                path=DISPATCH,
                old="        if claimed.eml and claimed.eml_sha256 and claimed.authority_code:\n",
                new="        if claimed.eml and not claimed.authority_code:\n",
            ),
            Edit(
                path=DISPATCH,
                old="                "
                "if message.eml is not None and message.eml_sha256 is not None:\n",
                new="                if not message.id:\n",
            ),
            Edit(
                path=DISPATCH,
                old="if messages.freeze(self._db, message, dated=now, eml=name, eml_sha256=sha256)",
                new="if [messages.freeze("
                "self._db, message, dated=now, eml=name, eml_sha256=sha256)]",
            ),
        ),
        noticed=("integration/test_protocol.py::test_a_retry_is_the_same_octets[sqlite]",),
    ),
    # What people want.
    _one(
        "a claim does not look whether the run is paused",
        DELIVERIES,
        "            r.c.paused_at.is_(None),\n",
        "",
        "integration/test_holds.py"
        "::test_a_paused_run_gives_nothing_to_send_until_it_is_resumed[sqlite]",
        MACHINE,
    ),
    _one(
        "a claim does not look whether the letter is withheld",
        DELIVERIES,
        "            table.c.withheld_at.is_(None),\n",
        "",
        "integration/test_machine.py::test_a_withheld_letter_that_is_queued_again[sqlite]",
    ),
    _one(
        "a claim does not look whether the run is cancelled",
        DELIVERIES,
        "            r.c.cancelled_at.is_(None),\n            table.c.withheld_at.is_(None),\n",
        "            table.c.withheld_at.is_(None),\n",
        "integration/test_machine.py::test_a_rehearsal_s_doubt_outlives_its_run[sqlite]",
    ),
    _one(
        "a letter is withheld while it is being sent",
        HOLDS,
        "    if sending:\n        one = sending == 1\n",
        "    if sending < 0:\n        one = sending == 1\n",
        "integration/test_holds.py"
        "::test_a_worker_and_whoever_withholds_cannot_both_have_their_way[sqlite]",
        MACHINE,
    ),
    _one(
        "a run is cancelled though some of it has gone",
        HOLDS,
        "        gone = count_gone(connection, run)\n        if gone:\n",
        "        gone = count_gone(connection, run)\n        if gone < 0:\n",
        "integration/test_holds.py"
        "::test_a_run_that_has_reached_an_authority_cannot_be_cancelled[sqlite]",
        MACHINE,
    ),
    _one(
        "an approval is not bound to whom the letters go to",
        APPROVALS,
        '"recipients": _hash(row.recipients),',
        '"recipients": "",',
        "integration/test_ledger.py"
        "::test_an_approval_is_void_once_anything_changes[recipients-value1-recipients-sqlite]",
    ),
    _one(
        "what nobody has approved is claimed",
        DELIVERIES,
        'approvals.may_go(table, sa.bindparam("people") if approved else 0),',
        "sa.true(),",
        "integration/test_ledger.py::test_only_what_is_approved_is_planned_and_claimed[sqlite]",
    ),
    _one(
        "the key of a request to send again is ignored",
        MESSAGES,
        "    if request.key is not None:\n        key =",
        '    if request.key == "":\n        key =',
        "integration/test_ledger.py"
        "::test_a_key_names_one_request_of_one_letter_in_one_mode[sqlite]",
        "integration/test_machine.py::test_a_key_is_one_request_on_whatever_day[sqlite]",
    ),
    # The story.
    _one(
        "events may be changed afterwards",
        "migrations/versions/0004_what_comes_back.py",
        "        for statement in APPEND_ONLY:\n",
        "        for statement in APPEND_ONLY[:0]:\n",
        "integration/test_migrations.py",
        MACHINE,
    ),
    _one(
        "what is taken back from a dead worker is not told",
        DELIVERIES,
        "                _note_move(connection, held, source, target, at=now, said=said)\n",
        "",
        MACHINE,
    ),
)


def pytest_configure() -> None:
    """As a plugin of the runs below: a sequence that fails has only to fail, not to be short."""
    settings.register_profile("mutations", phases=[Phase.generate], deadline=None)
    settings.load_profile("mutations")


def mutated(text: str, edit: Edit) -> str:
    """The text with the edit made; raises ValueError unless what it replaces stands there once."""
    if (times := text.count(edit.old)) != 1:
        raise ValueError(f"{edit.path} holds {times} times, and not once:\n{edit.old}")
    return text.replace(edit.old, edit.new)


def _copy(folder: Path) -> None:
    """All that the tests stand on, and not what others have made meanwhile."""
    for name in ("pipeline", "migrations", "tests", "templates", "config", "sample", "setup"):
        shutil.copytree(
            PROJECT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.db*")
        )
    for name in ("pyproject.toml", "README.md", "CHANGELOG.md"):
        shutil.copy(PROJECT / name, folder / name)


def _environment(folder: Path) -> dict[str, str]:
    # Without bytecode: two edits within a second, of the same length, would be taken for one.
    return {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(folder)}


def _failing(folder: Path, tests: Iterable[str]) -> set[str]:
    """Which of these tests fail there: those named, or those below a file that is named."""
    named = sorted({f"tests/{one}" for one in tests})
    if not named:
        return set()
    try:
        done = subprocess.run(
            [
                *(
                    sys.executable,
                    "-m",
                    "pytest",
                    "-p",
                    "tests.mutations",
                    "-p",
                    "no:cacheprovider",
                ),
                *("-q", "--tb=no", "-rfE", *named),
            ],
            cwd=folder,
            env=_environment(folder),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {one.removeprefix("tests/") for one in named}
    if done.returncode not in {0, 1}:
        sys.exit(f"pytest could not run the tests:\n{done.stdout}\n{done.stderr}")
    return set(re.findall(r"^(?:FAILED|ERROR) tests/(\S+)", done.stdout, re.MULTILINE))


def _among(named: str, failing: set[str]) -> bool:
    return any(one == named or one.startswith((f"{named}[", f"{named}::")) for one in failing)


def _try(folder: Path, mutation: Mutation) -> tuple[set[str], list[str]]:
    """The tests that notice a mutation, and what is not as it was said to be."""
    before = {edit.path: (folder / edit.path).read_text("utf-8") for edit in mutation.edits}
    try:
        for edit in mutation.edits:
            path = folder / edit.path
            path.write_text(mutated(path.read_text("utf-8"), edit), "utf-8")
        failing = _failing(folder, (*mutation.noticed, *mutation.blind))
    finally:
        for name, text in before.items():
            (folder / name).write_text(text, "utf-8")
    wrong = [f"not noticed by {one}" for one in mutation.noticed if not _among(one, failing)]
    wrong += [f"noticed by {one}, too" for one in mutation.blind if _among(one, failing)]
    return {one for one in mutation.noticed if _among(one, failing)}, wrong


def _row(mutation: Mutation, noticed: set[str]) -> str:
    tests = [_short(one) for one in mutation.noticed if one in noticed]
    tests += [f"not by {_short(one)}" for one in mutation.blind]
    return f"| {mutation.name} | {'<br>'.join(tests) or '**nothing**'} |"


def _short(test: str) -> str:
    if test == MACHINE:
        return "the machine"
    file, _, name = test.partition("::")
    return f"`{Path(file).stem}` {name.removeprefix('test_').replace('_', ' ')}".strip()


def main(words: Sequence[str]) -> int:
    """Try all mutations, or those with one of these words in their name; the exit code."""
    chosen = [one for one in MUTATIONS if not words or any(word in one.name for word in words)]
    say = sys.stdout.write
    with tempfile.TemporaryDirectory(prefix="letters-mutations-") as temporary:
        folder = Path(temporary)
        _copy(folder)
        where = subprocess.run(
            [sys.executable, "-c", "import pipeline; print(pipeline.__file__)"],
            cwd=folder,
            env=_environment(folder),
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        if not Path(where.strip()).is_relative_to(folder):
            sys.exit(f"The tests would not run in the copy, but in {where}")
        if broken := _failing(
            folder, (test for one in chosen for test in (*one.noticed, *one.blind))
        ):
            sys.exit(f"These fail without any mutation: {', '.join(sorted(broken))}")
        versions = ", ".join(
            f"{name} {importlib.metadata.version(name)}"
            for name in ("sqlalchemy", "hypothesis", "pytest")
        )
        say(f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}, {versions}\n\n")
        say("| what is broken | what notices |\n|---|---|\n")
        wrong: list[str] = []
        for mutation in chosen:
            noticed, complaints = _try(folder, mutation)
            say(f"{_row(mutation, noticed)}\n")
            sys.stdout.flush()
            wrong += [f"{mutation.name}: {complaint}" for complaint in complaints]
    say(f"\n{len(chosen)} mutations, {len(wrong)} complaints\n" + "\n".join(wrong) + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
