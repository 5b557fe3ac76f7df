"""What the shell offers after Tab, asked as the shells ask it."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.acceptance.site import LETTERS, Site, part_of_the_sample

CODES = ["E07000103", "E07000243", "E07000146", "E09000013"]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A site with a run of 2020; its letters need not be made for this."""
    folder = tmp_path_factory.mktemp("completion")
    site = Site(folder)
    site.letters("import", str(part_of_the_sample(folder / "data", CODES)))
    site.letters("run", "2020", env={"LETTERS_SOFFICE": "/nowhere"}, expect=78)
    return site


def offered(site: Site, line: str, env: Mapping[str, str] | None = None) -> list[str]:
    """What Bash is given for what was typed so far."""
    words = line.split(" ")
    done = subprocess.run(
        [LETTERS],
        env={
            **site.environment,
            "_LETTERS_COMPLETE": "complete_bash",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words) - 1),
            **(env or {}),
        },
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("letters resend E070002", ["E07000243"]),
        ("letters resend e070002", ["e07000243"]),
        ("letters show ", sorted(CODES)),
        ("letters show st", ["stevenage"]),
        ("letters letter Ki", ["Kings-lynn-and-west-norfolk"]),
        ("letters show --year 2020 hamm", ["hammersmith-and-fulham"]),
        ("letters show --year 2019 hamm", []),
        ("letters show atlantis", []),
        ("letters status ", ["2020"]),
        ("letters show --year ", ["2020"]),
        ("letters resend --kind cou", ["county"]),
        ("letters resend --kind county --state in", ["in_doubt"]),
    ],
)
def test_the_shell_offers_what_is_on_record(filled: Site, line: str, expected: list[str]) -> None:
    assert offered(filled, line) == expected
    if expected and "resend E" in line:  # and what is offered is understood
        assert filled.json("show", expected[0])["authority"] == "E07000243"


def test_an_offered_name_is_understood(filled: Site) -> None:
    [name] = offered(filled, "letters show kin")
    assert filled.json("show", name)["name"] == "Borough Council of King's Lynn and West Norfolk"


def test_where_the_shell_shows_it_the_full_name_stands_beside(filled: Site) -> None:
    done = subprocess.run(
        [LETTERS],
        env={
            **filled.environment,
            "_LETTERS_COMPLETE": "complete_zsh",
            "_TYPER_COMPLETE_ARGS": "letters show E070002",
        },
        capture_output=True, text=True, check=False, cwd="/",
    )  # fmt: skip
    assert '"E07000243":"Stevenage Borough Council"' in done.stdout


def test_without_a_ledger_the_shell_is_offered_nothing_and_nothing_is_made(site: Site) -> None:
    assert offered(site, "letters show st") == []
    assert offered(site, "letters status ") == []
    assert list(site.folder.iterdir()) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"LETTERS_DATABASE__URL": "nonsense"},
        {"LETTERS_DATABASE__URL": "postgresql://nobody@127.0.0.1:1/nowhere"},
        {"LETTERS_MAIL__MODE": "nonsense"},
    ],
)
def test_what_is_wrong_elsewhere_is_not_said_to_a_shell(
    filled: Site, wrong: dict[str, str]
) -> None:
    assert offered(filled, "letters show st", env=wrong) == []


def test_the_settings_file_that_is_named_is_read(filled: Site, tmp_path: Path) -> None:
    config = tmp_path / "other.toml"
    config.write_text(f'[database]\nurl = "sqlite:///{filled.folder}/letters.db"\n')
    unset = {"LETTERS_DATABASE__URL": f"sqlite:///{tmp_path}/none.db"}
    assert offered(filled, "letters show st", env=unset) == []
    environment = {
        name: value for name, value in filled.environment.items() if name != "LETTERS_DATABASE__URL"
    }
    done = subprocess.run(
        [LETTERS],
        env={
            **environment,
            "_LETTERS_COMPLETE": "complete_bash",
            "COMP_WORDS": f"letters show --config {config} st",
            "COMP_CWORD": "4",
        },
        capture_output=True, text=True, check=False, cwd="/",
    )  # fmt: skip
    assert done.stdout.split() == ["stevenage"]


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_the_script_for_bash_is_one_that_bash_reads() -> None:
    shown = subprocess.run(
        [LETTERS],
        env={**os.environ, "_LETTERS_COMPLETE": "source_bash"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "complete" in shown.stdout
    checked = subprocess.run(["bash", "-n"], input=shown.stdout, text=True, check=False)
    assert (shown.returncode, checked.returncode) == (0, 0)
