"""Install the peers, once, into a folder of their own.

    python -m bench.peers.setup FOLDER

Nothing of them belongs to letters, and nothing is put anywhere else: unoserver goes into a virtual
environment of the distribution's Python (the only one that can `import uno`), Carbone into a
node_modules. What cannot be installed is named, and is then not measured. docxtpl is here already:
the letters' template is compiled with it.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

UNOSERVER = "3.7"
CARBONE = "3.8.2"
PYTHON = Path("/usr/bin/python3")
DEFAULT = Path.home() / ".cache" / "letters-bench"


def unoserver(installed: Path) -> Path:
    """The Python that has unoserver."""
    return installed / "unoserver" / "bin" / "python"


def carbone(installed: Path) -> Path:
    """The folder that `require("carbone")` is answered from."""
    return installed / "carbone" / "node_modules"


def has_unoserver(installed: Path) -> bool:
    """Whether unoserver can be measured."""
    return unoserver(installed).with_name("unoserver").is_file()


def has_carbone(installed: Path) -> bool:
    """Whether Carbone can be measured."""
    return (carbone(installed) / "carbone").is_dir() and shutil.which("node") is not None


def main() -> None:
    """Install both; what is there already is left alone."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", default=DEFAULT)
    folder: Path = parser.parse_args().folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if not has_unoserver(folder):
        environment = folder / "unoserver"
        _run("unoserver", PYTHON, "-m", "venv", "--system-site-packages", environment)
        _run(
            "unoserver", unoserver(folder), "-m", "pip", "install", "-q", f"unoserver=={UNOSERVER}"
        )
    if not has_carbone(folder):
        npm = shutil.which("npm")
        if npm is None:
            print("Carbone needs Node: apt-get install nodejs npm", file=sys.stderr)
        else:
            target = folder / "carbone"
            target.mkdir(exist_ok=True)
            quiet = ("--no-audit", "--no-fund", "--loglevel=error")
            _run("Carbone", npm, "install", *quiet, "--prefix", target, f"carbone@{CARBONE}")
    for name, there in (("unoserver", has_unoserver), ("Carbone", has_carbone)):
        print(f"{name:<10} {'installed in' if there(folder) else 'is not in'} {folder}")


def _run(what: str, *command: str | Path) -> None:
    done = subprocess.run(command, check=False)
    if done.returncode:
        print(f"{what} could not be installed.", file=sys.stderr)


if __name__ == "__main__":
    main()
