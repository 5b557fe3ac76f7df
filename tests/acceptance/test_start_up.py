"""What a command does not load: a shell waits for each Tab, and a person for each page of help."""

import os
import subprocess
import sys
import tomllib
from collections.abc import Collection, Mapping
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.acceptance.site import ROOT, Site, part_of_the_sample

CHECKS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]
HEAVY = set(CHECKS["lint"]["flake8-tidy-imports"]["banned-module-level-imports"])
"""What is imported only in the functions that need it, as the linter has it."""

BEFORE_A_COMMAND = {"app", "completion", "listing", "options", "unforeseen", "__init__"}
STEVENAGE = "E07000243"

_AS_THE_COMMAND = r"""
import sys
from pipeline.__main__ import main

sys.argv[0] = "letters"
try:
    main()
finally:
    print(*sys.modules, sep="\n", file=sys.stderr)
"""


def loaded(*arguments: str, env: Mapping[str, str] = os.environ) -> tuple[set[str], str]:
    """The modules that a call of the command loads, and what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", _AS_THE_COMMAND, *arguments],
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )
    assert done.returncode == 0, done.stderr
    names = set(done.stderr.split())
    assert names >= {"typer", "pipeline.cli.app"}
    return names, done.stdout


def completing(line: str) -> dict[str, str]:
    return {
        "_LETTERS_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(line.count(" ")),
    }


def of(names: Collection[str], rooms: Collection[str]) -> set[str]:
    """Those of the modules that are one of these or within one of them."""
    return {name for name in names if any(f"{name}.".startswith(f"{room}.") for room in rooms)}


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A site with a run of 2020; its letters need not be made for this."""
    folder = tmp_path_factory.mktemp("start-up")
    site = Site(folder)
    site.letters("import", str(part_of_the_sample(folder / "data", [STEVENAGE])))
    site.letters("run", "2020", env={"LETTERS_SOFFICE": "/nowhere"}, expect=78)
    return site


def test_what_is_called_heavy_is_there() -> None:
    assert {name for name in HEAVY if find_spec(name) is None} == set()


@pytest.mark.parametrize(
    ("arguments", "line", "printed"),
    [
        (("--version",), None, "letters "),
        (("--help",), None, "Prove the archive against the ledger."),
        ((), "letters ver", "verify"),
        ((), "letters --conf", "--config"),
    ],
    ids=["version", "help", "a command's name", "an option's name"],
)
def test_no_command_is_loaded_before_one_is_called(
    arguments: tuple[str, ...], line: str | None, printed: str
) -> None:
    names, output = loaded(*arguments, env={**os.environ, **(completing(line) if line else {})})
    assert printed in output
    modules = {path.stem for path in (ROOT / "pipeline" / "cli").glob("*.py")}
    assert modules >= {"year", "letter"} | BEFORE_A_COMMAND
    assert of(names, {f"pipeline.cli.{one}" for one in modules - BEFORE_A_COMMAND}) == set()
    rooms = {"pipeline.bootstrap", "pipeline.database", "pipeline.ledger", "pipeline.settings"}
    assert of(names, {*HEAVY, *rooms, "sqlalchemy", "rich"}) == set()


def test_a_look_at_a_year_loads_nothing_that_makes_or_sends(opened: Site) -> None:
    names, output = loaded("status", "2020", env=opened.environment)
    assert "2020" in output
    assert of(names, HEAVY - {"fsspec"}) == set(), "the archive itself is asked where files lie"
    assert of(names, {"pipeline.cli.check", "pipeline.checks", "pipeline.importer"}) == set()
    assert {"pipeline.cli.year", "pipeline.bootstrap", "sqlalchemy"} <= names


def test_a_letters_story_loads_nothing_that_makes_or_sends(opened: Site) -> None:
    names, output = loaded("show", STEVENAGE, env=opened.environment)
    assert "Stevenage" in output
    assert of(names, HEAVY - {"fsspec"}) == set()


@pytest.mark.parametrize(
    ("line", "expected"),
    [("letters show st", "stevenage"), ("letters status ", "2020")],
)
def test_a_name_or_year_is_offered_with_little_more_than_the_database(
    opened: Site, line: str, expected: str
) -> None:
    names, output = loaded(env={**opened.environment, **completing(line)})
    assert output.split() == [expected]
    assert of(names, HEAVY) == set()
    assert {"sqlalchemy", "pipeline.ledger.runs"} <= names


def test_a_kind_is_offered_without_the_ledger(opened: Site, tmp_path: Path) -> None:
    """Nor is it asked: no file is made where there is none."""
    nowhere = {"LETTERS_DATABASE__URL": f"sqlite:///{tmp_path}/letters.db"}
    line = "letters resend --kind cou"
    names, output = loaded(env={**opened.environment, **completing(line), **nowhere})
    assert output.split() == ["county"]
    assert of(names, HEAVY) == set()
    assert list(tmp_path.iterdir()) == []
