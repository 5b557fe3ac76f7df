"""What keeps LibreOffice in bounds: memory, bubblewrap, supervision; and how many fit a machine."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.capacity import LANE, Capacity, capacity, free_memory, resident
from pipeline.checks import program
from pipeline.checks.found import Check, Kind
from pipeline.convert import Converter, Office, Sandbox, converter, directory, find_office
from pipeline.convert.sandbox import NONE, find_sandbox
from pipeline.errors import LetterFault, Misconfigured, Unavailable
from pipeline.settings import Settings
from tests import bubblewrap
from tests.integration.test_convert import (
    OWNER,
    directories,
    letter,
    office_pid,
    processes_about,
    text_of,
    wait_until,
)


@pytest.fixture(scope="module")
def office() -> Office:
    return find_office()


@pytest.fixture
def sandbox() -> Sandbox:
    return bubblewrap.needed()


@pytest.fixture(autouse=True)
def _own_temporary_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def sockets_of(place: Path) -> list[Path]:
    """What the office of this directory has, or has left, in /tmp; others may be at work there."""
    return list(Path("/tmp").glob("OSL_PIPE_*" + place.name.replace("-", "_")))  # noqa: S108


def kill_worker(place: Path) -> None:
    (worker,) = (
        pid
        for pid in processes_about(place)
        if b"uno_worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    )
    os.kill(worker, signal.SIGKILL)


# -------------------------------------------------------------------------------------- memory


def test_an_office_that_has_grown_is_replaced_and_letters_go_on(office: Office) -> None:
    with Converter(office, timeout=60, memory=1) as leaking:
        pids = []
        for name in ("Watford", "Reading"):
            assert name in text_of(leaking.convert(letter(name)))
            pids.append(office_pid(leaking))
        assert pids[0] != pids[1]
        held = leaking.resident()
    # The office is counted and not only its worker, and a usual one is far from the usual limit.
    assert resident(os.getpid()) > 0
    assert 100_000_000 < held < converter.MEMORY
    assert leaking.resident() == 0


# ---------------------------------------------------------------------------------- kept apart


def test_what_is_kept_apart_makes_the_same_letters_and_survives(
    office: Office, sandbox: Sandbox, tmp_path: Path
) -> None:
    with Converter(office, timeout=60, sandbox=sandbox) as kept:
        assert "Watford" in text_of(kept.convert(letter("Watford")))
        assert kept.sandbox == sandbox
        first = office_pid(kept)
        own = Path(f"/proc/{first}")
        assert own.joinpath("cmdline").read_bytes().startswith(str(office.program).encode())
        for space in ("net", "pid", "mnt", "ipc"):
            assert (own / "ns" / space).readlink() != Path(f"/proc/self/ns/{space}").readlink()
        assert kept.resident() > 100_000_000  # soffice.bin's, not that of what keeps it
        (place,) = directories(tmp_path)
        assert len(sockets_of(place)) == 1
        os.kill(first, signal.SIGKILL)
        assert "Reading" in text_of(kept.convert(letter("Reading")))
        second = office_pid(kept)
        were = processes_about(place)
        kill_worker(place)
        assert "Durham" in text_of(kept.convert(letter("Durham")))
        assert len({first, second, office_pid(kept)}) == 3
        wait_until(lambda: not set(were) & set(processes_about(place)), "all of it to have ended")
    assert processes_about(place) == []
    assert directories(tmp_path) == []
    assert sockets_of(place) == []


@pytest.fixture
def everybodys() -> Iterator[Path]:
    """A folder that every user can reach, as pytest's cannot be."""
    with tempfile.TemporaryDirectory(prefix="letters-try-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


PROBE = """
import os, pathlib, socket, sys
own, other, port = sys.argv[1:]
def refused(what):
    try:
        what()
    except OSError:
        return "refused"
    return "done"
print("own", refused(lambda: pathlib.Path(own, "x").write_text("")))
print("other", refused(lambda: pathlib.Path(other, "x").write_text("")))
print("system", refused(lambda: pathlib.Path("/usr/letters-was-here").write_text("")))
print("network", refused(lambda: socket.create_connection(("127.0.0.1", int(port)), 1)))
print("kill", refused(lambda: os.kill(%d, 0)))
print("run", len(os.listdir("/run")), "tmp", [name for name in os.listdir("/tmp") if "OSL" in name])
"""


@pytest.mark.parametrize("who", ["this user", "an ordinary user"])
def test_what_may_be_done_from_inside(sandbox: Sandbox, everybodys: Path, who: str) -> None:
    if who == "an ordinary user" and os.geteuid() != 0:
        pytest.skip("whoever runs this is the ordinary user")
    own, other = everybodys / "own", everybodys / "other"
    as_user: dict[str, int] = {}
    if who == "an ordinary user":
        as_user = {"user": 65534, "group": 65534}
    for place in (own, own / "tmp", other):
        place.mkdir()
        os.chown(place, as_user.get("user", -1), as_user.get("group", -1))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = str(listening.getsockname()[1])
        inside = subprocess.run(
            [
                *sandbox.command(own, Path("/usr/bin/python3")),
                *("/usr/bin/python3", "-I", "-c", PROBE % os.getpid(), own, other, port),
            ],
            capture_output=True,
            text=True,
            check=False,
            **as_user,  # type: ignore[call-overload]
        )
    if as_user and inside.stderr.startswith("bwrap: "):
        bubblewrap.cannot(f"An ordinary user may not use bubblewrap here ({inside.stderr.strip()})")
    assert (inside.stderr, inside.stdout.splitlines()) == (
        "",
        [
            *("own done", "other refused", "system refused", "network refused", "kill refused"),
            "run 0 tmp []",
        ],
    )
    assert (own / "x").exists()


def fake(folder: Path, name: str, script: str) -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return file


def test_where_bubblewrap_cannot_be_had_it_is_said_and_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_sandbox("off") == NONE
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    found = find_sandbox("auto")
    assert (found.bubblewrap, found.no_network) == (None, None)
    assert (found.reason, "apt install bubblewrap" in found.fix) == (
        "bubblewrap is not installed",
        True,
    )
    fake(tmp_path / "bin", "bwrap", "echo 'bwrap: No permissions to make a namespace' >&2; exit 1")
    found = find_sandbox("auto")
    assert found.reason == "bubblewrap does not work here (No permissions to make a namespace)"
    assert found.command(tmp_path, Path("/bin/sh")) == []
    with pytest.raises(
        Misconfigured,
        match=r"as convert.sandbox wants: bubblewrap does not work here \(No .* set convert.sandbox"
        r" to auto",
    ):
        find_sandbox("on")


def test_a_bubblewrap_that_may_not_hide_processes_is_used_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a service with systemd's ProtectKernelTunables=, and in many containers."""
    fake(tmp_path / "bin", "bwrap", 'case "$*" in *"--proc /proc"*) exit 1 ;; esac')
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    found = find_sandbox("on")
    assert (found.bubblewrap, found.sees_processes) == (tmp_path / "bin" / "bwrap", True)
    assert "--proc" not in found.command(tmp_path, Path("/bin/sh"))


def test_an_office_that_does_not_start_in_a_sandbox_starts_without(
    office: Office, tmp_path: Path
) -> None:
    broken = fake(tmp_path / "bin", "bwrap", "echo no such luck >&2; exit 3")
    with Converter(office, timeout=60, sandbox=Sandbox(bubblewrap=broken)) as kept:
        assert "Watford" in text_of(kept.convert(letter("Watford")))
        assert kept.sandbox.bubblewrap is None
        assert kept.sandbox.reason.startswith("LibreOffice does not start in it (")
        assert kept.sandbox.fix
    wanted = Converter(office, timeout=60, sandbox=Sandbox(bubblewrap=broken, required=True))
    with pytest.raises(Unavailable, match="no such luck"):
        wanted.convert(letter())
    wanted.close()


def test_root_takes_the_network_away_without_bubblewrap(
    office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can")
    fake(tmp_path / "bin", "unshare", 'PATH=/usr/bin:/bin; exec unshare "$@"')
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    found = find_sandbox("auto")
    if found.no_network is None:
        pytest.skip("this root may not, as in a container")
    with Converter(office, timeout=60, sandbox=found) as kept:
        assert "Watford" in text_of(kept.convert(letter("Watford")))
        own = Path(f"/proc/{office_pid(kept)}")
        assert own.joinpath("cmdline").read_bytes().startswith(str(office.program).encode())
        assert (own / "ns/net").readlink() != Path("/proc/self/ns/net").readlink()
        (place,) = directories(tmp_path)
        noted = (place / "sockets").read_text().splitlines()
        assert any("letters_office" in line for line in noted)
    assert not any(Path(line).exists() for line in noted)


# ------------------------------------------------------------------------------------ survival


def test_a_killed_worker_takes_its_office_along_and_letters_go_on(
    office: Office, tmp_path: Path
) -> None:
    with Converter(office, timeout=60) as running:
        before = office_pid(running)
        (place,) = directories(tmp_path)
        kill_worker(place)
        assert "Watford" in text_of(running.convert(letter("Watford")))
        assert office_pid(running) != before
        wait_until(lambda: before not in processes_about(place), "the office to have ended")


def test_an_office_that_hangs_is_ended_with_what_keeps_it(
    office: Office, sandbox: Sandbox, tmp_path: Path
) -> None:
    """With the processes of others in sight, as it is where that cannot be had otherwise."""
    seeing = Sandbox(bubblewrap=sandbox.bubblewrap, sees_processes=True, required=True)
    with Converter(office, timeout=0.3, sandbox=seeing) as kept:
        space = Path(f"/proc/{office_pid(kept)}/ns/pid").readlink()
        assert space != Path("/proc/self/ns/pid").readlink()
        (place,) = directories(tmp_path)
        were = processes_about(place)
        assert len(were) > 2
        os.kill(office_pid(kept), signal.SIGSTOP)
        with contextlib.suppress(LetterFault):  # where the fresh one takes longer
            kept.convert(letter())
        wait_until(lambda: not set(were) & set(processes_about(place)), "all of it to have ended")


@pytest.mark.usefixtures("office", "sandbox")
def test_nothing_that_was_kept_apart_outlives_a_killed_owner(tmp_path: Path) -> None:
    docx_file = tmp_path / "a.docx"
    docx_file.write_bytes(letter())
    script = OWNER.replace("timeout=60", "timeout=60, sandbox=find_sandbox('on')").replace(
        "Converter, find_office", "Converter, find_office, find_sandbox"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", script, docx_file, "thread"],
        stdout=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert owner.stdout is not None
    try:
        assert owner.stdout.readline() == b"ready\n"
        (place,) = directories(tmp_path)
        assert any(
            b"bwrap" in Path(f"/proc/{pid}/cmdline").read_bytes() for pid in processes_about(place)
        )
    finally:
        owner.kill()
        owner.wait()
        owner.stdout.close()
    wait_until(lambda: not processes_about(place), "worker and office to follow their owner")
    assert len(sockets_of(place)) == 1
    directory.sweep(tmp_path)
    assert directories(tmp_path) == []
    assert sockets_of(place) == []


LIAR = """
import os, struct, sys
def say(kind, content):
    os.write(1, kind + struct.pack(">I", len(content)) + content)
say(b"R", b"1\\nLiberation Sans")
while os.read(0, 1 << 20):
    say(%r, %r)
"""


@pytest.mark.parametrize(
    ("kind", "content", "said"),
    [
        (b"P", b"", "what came back is no PDF"),
        (b"P", b"<html>", "what came back is no PDF"),
        (b"P", b"%PDF-1.7\n", "the PDF that came back breaks off"),
        (b"X", b"%PDF-1.7\n%%EOF", "the worker answered b'X'"),
    ],
)
def test_an_office_that_lies_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: bytes, content: bytes, said: str
) -> None:
    script = tmp_path / "liar.py"
    script.write_text(LIAR % (kind, content))
    monkeypatch.setattr(converter, "WORKER", script)
    lying = Office(program=Path("/bin/true"), python=Path(sys.executable), version="0.0")
    with (
        Converter(lying, timeout=60) as believed,
        pytest.raises(LetterFault, match=f"failed twice .*: {re.escape(said)}"),
    ):
        believed.convert(letter())


# ----------------------------------------------------------------------------------- how many


def machine(root: Path, **files: str) -> Path:
    """A tree with these files, named as in /proc and /sys with __ for a slash."""
    for name, content in {
        "proc__meminfo": "MemTotal: 9 kB\nMemAvailable:   8000000 kB\n",
        "proc__self__cgroup": "0::/\n",
        **files,
    }.items():
        file = root / name.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return root


V2 = "sys__fs__cgroup__"


@pytest.mark.parametrize(
    ("files", "free"),
    [
        ({}, 8_192_000_000),
        ({"proc__meminfo": "MemTotal: 9 kB\n"}, None),
        ({V2 + "memory.max": "max\n", V2 + "memory.current": "5\n"}, 8_192_000_000),
        ({V2 + "memory.max": "1000\n", V2 + "memory.current": "900\n"}, 100),
        ({V2 + "memory.max": "1000\n", V2 + "memory.current": "2000\n"}, 0),
        (
            {
                V2 + "memory.max": "1000\n",
                V2 + "memory.current": "900\n",
                V2 + "memory.stat": "anon 1\ninactive_file 300\nfile 9\n",
            },
            400,
        ),
        (  # what holds is the narrowest of all the groups above, too
            {
                "proc__self__cgroup": "0::/a.slice/b.service\n",
                V2 + "a.slice__memory.max": "1000\n",
                V2 + "a.slice__memory.current": "990\n",
                V2 + "a.slice__b.service__memory.max": "500\n",
                V2 + "a.slice__b.service__memory.current": "90\n",
            },
            10,
        ),
        (  # a container's own group lies at the top, under a path that is the host's
            {
                "proc__self__cgroup": "0::/docker/abc\n",
                V2 + "memory.max": "1000\n",
                V2 + "memory.current": "1\n",
            },
            999,
        ),
        (  # version 1
            {
                "proc__self__cgroup": "9:name=systemd:/\n4:memory:/x\n0::/\n",
                V2 + "memory__x__memory.limit_in_bytes": "1000\n",
                V2 + "memory__x__memory.usage_in_bytes": "900\n",
                V2 + "memory__x__memory.stat": "inactive_file 7\ntotal_inactive_file 50\n",
            },
            107,
        ),
    ],
)
def test_free_memory_within_a_containers_limits(
    tmp_path: Path, files: dict[str, str], free: int | None
) -> None:
    assert free_memory(machine(tmp_path, **files)) == free


@pytest.mark.parametrize(
    ("files", "most"),
    [
        ({}, None),
        ({V2 + "cpu.max": "max 100000\n"}, None),
        ({V2 + "cpu.max": "150000 100000\n"}, 1),
        ({V2 + "cpu.max": "20000 100000\n"}, 1),
        (
            {
                "proc__self__cgroup": "3:cpu,cpuacct:/\n",
                V2 + "cpu__cpu.cfs_quota_us": "-1\n",
                V2 + "cpu__cpu.cfs_period_us": "100000\n",
            },
            None,
        ),
        (
            {
                "proc__self__cgroup": "3:cpu,cpuacct:/\n",
                V2 + "cpu__cpu.cfs_quota_us": "100000\n",
                V2 + "cpu__cpu.cfs_period_us": "100000\n",
            },
            1,
        ),
    ],
)
def test_cores_within_a_containers_share(
    tmp_path: Path, files: dict[str, str], most: int | None
) -> None:
    here = len(os.sched_getaffinity(0))
    assert capacity(machine(tmp_path, **files)).cores == min(most or here, here)


@pytest.mark.parametrize(
    ("cores", "memory", "lanes"),
    [(4, None, 4), (4, 100 * LANE, 4), (4, 3 * LANE, 3), (4, LANE - 1, 1), (1, 0, 1)],
)
def test_as_many_lanes_as_there_are_cores_and_memory_for(
    cores: int, memory: int | None, lanes: int
) -> None:
    assert Capacity(cores=cores, memory=memory).lanes == lanes


# ------------------------------------------------------------------------- what the check says


def finished(looking: Iterator[Check]) -> Check:
    (one,) = looking
    return one


@pytest.mark.parametrize(
    ("workers", "cores", "memory", "kind", "said"),
    [
        (0, 2, 9 * LANE, Kind.OK, "2 LibreOffice processes run at once, as there are 2 cores. "),
        (0, 1, None, Kind.OK, "1 LibreOffice process runs at once, as there is 1 core."),
        (0, 8, 3 * LANE, Kind.OK, "3 LibreOffice processes run at once, as there is no memory for"),
        (0, 8, LANE // 2, Kind.WARNING, "200 MB of memory are free; 1 LibreOffice process takes"),
        (5, 8, 4 * LANE, Kind.WARNING, "5 LibreOffice processes run at once, as convert.workers s"),
    ],
)
def test_the_check_says_how_many_and_why(
    monkeypatch: pytest.MonkeyPatch,
    workers: int,
    cores: int,
    memory: int | None,
    kind: Kind,
    said: str,
) -> None:
    here: Callable[[], Capacity] = lambda: Capacity(cores=cores, memory=memory)  # noqa: E731
    monkeypatch.setattr(program, "capacity", here)
    found = finished(program.memory(Settings.model_validate({"convert": {"workers": workers}})))
    assert (found.state, said in found.found) == (kind, True), found


def test_the_check_says_how_libreoffice_is_kept_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings()
    fake(tmp_path / "bin", "bwrap", "")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    found = finished(program.sandbox(settings))
    assert (found.check, found.state) == ("sandbox", Kind.OK)
    assert "kept apart by bubblewrap" in found.found
    (tmp_path / "bin" / "bwrap").unlink()
    found = finished(program.sandbox(settings))
    assert (found.state, found.found) == (
        Kind.NOTE,
        "LibreOffice is not kept apart: bubblewrap is not installed.",
    )
    assert found.fix == "Install bubblewrap (apt install bubblewrap)."
