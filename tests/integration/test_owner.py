"""Who holds a lease: gone is only whoever has certainly ended."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from pipeline import owner
from pipeline.display.words import who
from pipeline.machine import machine

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("host", "boot", "namespace", "pid", "started", "thread", "machine")
NOBODY = "4194304"  # above the highest number that Linux gives a process

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")


@pytest.fixture(autouse=True)
def number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file with a machine's number; not every machine has one, as some containers have not."""
    file = tmp_path / "machine-id"
    file.write_text("0123456789abcdef0123456789abcdef\n", encoding="ascii")
    monkeypatch.setattr(sys.modules["pipeline.machine"], "_MACHINE", file)
    machine.cache_clear()
    yield file
    machine.cache_clear()


def like_me(**other: str) -> str:
    """This process' name of itself, but for what is told."""
    mine = dict(zip(PARTS, owner.identity().split("/"), strict=True))
    assert other.keys() <= mine.keys()
    return "/".join((mine | other).values())


def before_machines(name: str) -> str:
    """As it was written when the machine was no part of it."""
    return name.rpartition("/")[0]


def test_whoever_asks_is_not_gone() -> None:
    assert owner.identity().endswith(f"/{machine()}")
    assert not owner.is_gone(owner.identity())


def test_a_process_that_has_ended_is_gone(number: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from pipeline import machine, owner; "
        "machine._MACHINE = Path(sys.argv[1]); print(owner.identity())"
    )
    dead = subprocess.run(
        [sys.executable, "-c", program, str(number)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    assert owner.is_gone(dead)
    assert owner.is_gone(before_machines(dead))


@pytest.mark.parametrize(
    ("other", "gone"),
    [
        ({"pid": NOBODY}, True),
        ({"started": "1"}, True),
        # this machine, started again since
        ({"boot": "another", "pid": str(os.getpid())}, True),
        ({"boot": "another", "namespace": "1"}, True),
        # another machine that has the same name
        ({"boot": "another", "machine": "another"}, False),
        ({"pid": NOBODY, "machine": "another"}, False),
        ({"boot": "another", "machine": ""}, False),
        ({"pid": NOBODY, "host": "another"}, False),
        # another container on this machine
        ({"pid": NOBODY, "namespace": "1"}, False),
        ({"pid": "x"}, False),
        ({"pid": NOBODY, "started": ""}, False),
    ],
)
def test_only_what_is_certain_is_called_gone(other: dict[str, str], gone: bool) -> None:
    assert owner.is_gone(like_me(**other)) is gone


@pytest.mark.parametrize(
    ("other", "gone"),
    [({"pid": NOBODY}, True), ({"boot": "another"}, False)],
)
def test_what_was_noted_before_machines_were_is_read_with_care(
    other: dict[str, str], gone: bool
) -> None:
    assert owner.is_gone(before_machines(like_me(**other))) is gone


@pytest.mark.parametrize("name", ["", "host", "a/b/c", *("/" * n for n in range(9))])
def test_what_names_no_process_is_not_gone(name: str) -> None:
    assert not owner.is_gone(name)


@pytest.mark.parametrize("names", [("mail1/boot/ns/4711/1/1", "mail1/boot/ns/4711/1/1/0af")])
def test_it_is_told_alike_with_the_machine_and_without(names: Sequence[str]) -> None:
    assert {who(one) for one in names} == {"process 4711 on mail1"}
