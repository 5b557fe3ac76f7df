"""The program as installed from a wheel, away from its checkout."""

import subprocess
import sys
import zipfile
from pathlib import Path

from tests.acceptance.site import ROOT


def test_a_wheel_brings_its_migrations(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path / "dist"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    [wheel] = (tmp_path / "dist").glob("*.whl")
    installed = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(installed)
    project = tmp_path / "project"
    (project / "config").mkdir(parents=True)
    config = project / "config" / "letters.toml"
    config.write_text('[database]\nurl = "sqlite:///var/letters.db"\n', encoding="utf-8")

    def letters(*arguments: str) -> str:
        return subprocess.run(
            [
                sys.executable,
                "-c",
                "import pipeline, sys; assert sys.argv[1] in pipeline.__file__; del sys.argv[1];"
                " from pipeline.cli import main; main()",
                str(installed),
                *arguments,
            ],
            cwd="/",
            env={"PYTHONPATH": str(installed), "PATH": "/usr/bin:/bin"},
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    assert "is now at version" in letters("db", "upgrade", "--config", str(config))
    # relative paths are the project's, told by where its settings lie
    assert (project / "var" / "letters.db").is_file()
    assert "already" in letters("--config", str(config), "db", "upgrade")
