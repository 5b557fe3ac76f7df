"""The unit files for systemd: they can be read, and they call commands that there are."""

import configparser
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli.app import app

UNITS = sorted((Path(__file__).resolve().parents[2] / "setup" / "systemd").iterdir())
SERVICES = [unit for unit in UNITS if unit.suffix == ".service"]


def read(unit: Path) -> configparser.RawConfigParser:
    # a key may stand twice in a unit, but in none of these
    parsed = configparser.RawConfigParser(delimiters="=", comment_prefixes="#")
    parsed.optionxform = str  # type: ignore[assignment, method-assign]
    parsed.read_string(unit.read_text(encoding="utf-8"))
    return parsed


def test_there_are_a_server_and_a_timer_with_its_service() -> None:
    assert [unit.name for unit in UNITS] == [
        "letters-tick.service",
        "letters-tick.timer",
        "letters.service",
    ]


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_a_service_calls_a_command_that_there_is(unit: Path) -> None:
    service = read(unit)["Service"]
    program, *arguments = shlex.split(service["ExecStart"])
    assert Path(program).name == "letters"
    assert CliRunner().invoke(app, [*arguments, "--help"]).exit_code == 0


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_a_service_lets_a_delivery_in_hand_finish(unit: Path) -> None:
    """A mail server may take 600 s to answer the dot; only the server itself hears SIGTERM."""
    service = read(unit)["Service"]
    assert int(service["TimeoutStopSec"]) > 600
    assert service["KillMode"] == "mixed"


def test_a_command_in_a_comment_is_one_that_there_is() -> None:
    text = "".join(unit.read_text(encoding="utf-8") for unit in UNITS)
    named = set(re.findall(r"bin/letters (\w+)", text))
    assert named == {"serve", "tick"}


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
def test_systemd_understands_them(tmp_path: Path) -> None:
    for unit in UNITS:
        # a program and a user that are on every machine
        text = re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", unit.read_text("utf-8"))
        text = re.sub(r"(?m)^(User|Group)=.*", r"\1=root", text)
        (tmp_path / unit.name).write_text(text, encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", *(tmp_path / unit.name for unit in UNITS)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr.replace(str(tmp_path), "")) == (0, "")
