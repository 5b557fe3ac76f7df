"""What ends a command from outside: a closed terminal, Ctrl-C, kill -9."""

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.site import LETTERS, Site, part_of_the_sample, read_sample
from tests.acceptance.test_holds import SlowRelay, running

STEVENAGE, WATFORD = "E07000243", "E07000103"
INTERRUPTED = "Everything done so far is kept. To go on, give the same command again."


@pytest.fixture(autouse=True)
def _heard() -> Iterator[None]:
    """A closed terminal is heard of, although the tests themselves may run under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture(scope="module")
def prepared_once(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("signals")
    site = Site(folder)
    site.letters("import", str(part_of_the_sample(folder / "data", [STEVENAGE, WATFORD])))
    site.letters("prepare", "2020")
    return site


@pytest.fixture
def prepared(prepared_once: Site, tmp_path: Path) -> Site:
    """Two letters with two recipients each, made and not sent."""
    folder = tmp_path / "site"
    subprocess.run(["cp", "-a", prepared_once.folder, folder], check=True)
    return Site(folder).confirmed()


def everyone(site: Site) -> list[str]:
    return sorted(a for one in site.json("status", "2020")["letters"] for a in one["recipients"])


@pytest.mark.parametrize("how", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
def test_the_delivery_in_hand_is_settled_before_it_ends(
    prepared: Site, how: signal.Signals
) -> None:
    relay = SlowRelay()
    with running(relay) as live:
        sending = Site(prepared.folder, more=live).start("send", "2020")
        assert relay.arrived.wait(60)
        sending.send_signal(how)
        relay.answer.set()
        _, errors = sending.communicate(timeout=120)
        assert sending.returncode == 130, errors
        assert INTERRUPTED in errors
        assert "Traceback" not in errors
        assert "in_doubt" not in str(prepared.json("status", "2020", env=live)["letters"])
        in_hand = list(relay.taken)
        assert 1 <= len(in_hand) <= 2, "what was in hand, on two connections, and no more"
        prepared.letters("send", "2020", env=live)
        assert sorted(relay.taken) == everyone(prepared), "each of them once"


def test_nohup_keeps_it_going_when_the_terminal_is_closed(prepared: Site) -> None:
    relay = SlowRelay()
    with running(relay) as live:
        sending = subprocess.Popen(
            ["nohup", LETTERS, "send", "2020"],
            env={**prepared.environment, **live},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
        )
        assert relay.arrived.wait(60)
        sending.send_signal(signal.SIGHUP)
        relay.answer.set()
        assert sending.wait(120) == 0
        assert sorted(relay.taken) == everyone(prepared)


def test_closing_the_terminal_leaves_no_doubt(prepared: Site) -> None:
    """Not the signal alone: from then on the terminal refuses every line and every bar."""
    relay = SlowRelay()
    master, slave = pty.openpty()
    with running(relay) as live:
        sending = subprocess.Popen(
            ["setsid", "--ctty", LETTERS, "send", "2020"],
            env={**prepared.environment, **live, "TERM": "xterm-256color"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd="/",
        )
        os.close(slave)
        assert relay.arrived.wait(60)
        os.close(master)
        relay.answer.set()
        assert sending.wait(120) == 130
        assert "in_doubt" not in str(prepared.json("status", "2020", env=live)["letters"])
        prepared.letters("send", "2020", env=live)
        assert sorted(relay.taken) == everyone(prepared), "each of them once"


_WHILE_TYPER_BUILDS = """
import os, signal, sys
from pipeline.__main__ import main

def interrupt(frame, event, _):
    if event == "call" and frame.f_code.co_name == "get_command":
        sys.setprofile(None)
        os.kill(os.getpid(), signal.SIGINT)

sys.setprofile(interrupt)
sys.argv = ["letters", "status", "2020"]
main()
"""


def test_ctrl_c_before_the_command_has_begun_is_one_line(prepared: Site) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _WHILE_TYPER_BUILDS],
        env=prepared.environment,
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == f"Interrupted. {INTERRUPTED}\n"


def test_kill_9_says_nothing_of_semaphores(tmp_path: Path) -> None:
    site = Site(tmp_path)
    codes = [row["code"] for row in read_sample("authorities")[:30]]
    site.letters("import", str(part_of_the_sample(tmp_path / "data", codes)))
    preparing = site.start("run", "2020")
    while not list(site.archive.glob("2020/*.pdf")):
        assert preparing.poll() is None
        time.sleep(0.05)
    preparing.kill()
    _, errors = preparing.communicate(timeout=60)  # to the end of the process that tidies up
    assert preparing.returncode == -signal.SIGKILL
    assert "Preparing" in errors
    assert "semaphore" not in errors
    assert "Warning" not in errors
