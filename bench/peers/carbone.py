"""Carbone 3, over the same letter with Carbone's tags in the place of Jinja's.

    python -m bench.peers.carbone ...

The template is made from templates/letter.docx, in the file's XML: `{{ x }}` becomes `{d.x}`; a
paragraph that holds `if`, `else` or `endif` becomes showBegin, hideBegin and their ends, between
the paragraphs; a list is a paragraph with `[i]` and the same with `[i+1]`, as Carbone repeats. What
asks for the last of a loop takes its `else`. The rings stay as they are drawn in the template,
because Carbone changes no shape's angles.
"""

import io
import json
import os
import re
import subprocess
import sys
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench import contender
from bench.peers.setup import PYTHON, carbone
from pipeline.convert import find_office

_PARAGRAPH = re.compile(r"<w:p>(?:(?!</w:p>).)*</w:p>", re.DOTALL)
_TAG = re.compile(r"\{%p\s*(.*?)\s*%\}")
_FIELD = re.compile(r"\{\{\s*([\w.]+)\s*\}\}")
_TEXT = "text"


def template(docx: bytes) -> bytes:
    """The letter's docx with Carbone's tags in the place of Jinja's."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(docx)) as source, zipfile.ZipFile(made, "w") as target:
        for member in source.infolist():
            data = source.read(member)
            if member.filename.endswith(".xml"):
                data = _tagged(data.decode()).encode()
            target.writestr(member, data, zipfile.ZIP_DEFLATED)
    return made.getvalue()


def _tagged(xml: str) -> str:
    """One part, paragraph by paragraph: `open_` are the tags that are not ended yet."""
    open_: list[tuple[str, str]] = []
    skipped = False
    lists: dict[str, str] = {}

    def replaced(found: re.Match[str]) -> str:  # noqa: PLR0911 - one for each kind of tag
        nonlocal skipped
        paragraph = found[0]
        tag = _TAG.search(paragraph)
        if tag is None:
            if skipped:
                return ""
            here = _with_fields(paragraph, lists)
            repeats = "[i]" in here
            return here + here.replace("[i]", "[i+1]") if repeats else here
        word, _, rest = tag[1].partition(" ")
        match word:
            case "for":
                name, _, many = rest.partition(" in ")
                lists[name] = many
                open_.append(("for", name))
                return ""
            case "endfor":
                lists.pop(open_.pop()[1])
                return ""
            case "if" if rest == "loop.last":
                open_.append(("last", ""))
                skipped = True
                return ""
            case "if":
                open_.append(("show", rest))
                return f"{{d.{rest}:showBegin}}"
            case "else":
                kind, asked = open_.pop()
                if kind == "last":
                    open_.append((kind, asked))
                    skipped = False
                    return ""
                open_.append(("hide", asked))
                return f"{{d.{asked}:showEnd}}{{d.{asked}:hideBegin}}"
            case "endif":
                kind, asked = open_.pop()
                return "" if kind == "last" else f"{{d.{asked}:{kind}End}}"
            case _:
                sys.exit(f"The template has a tag that Carbone is not given: {tag[0]}")

    return _with_fields(_PARAGRAPH.sub(replaced, xml), {})


def _with_fields(xml: str, lists: Mapping[str, str]) -> str:
    def replaced(found: re.Match[str]) -> str:
        name = found[1]
        return f"{{d.{lists[name]}[i].{_TEXT}}}" if name in lists else f"{{d.{name}}}"

    return _FIELD.sub(replaced, xml)


def _data(fields: Mapping[str, Any]) -> str:
    """One letter's fields as Carbone repeats them: a list of things, not of words."""
    return json.dumps(
        {
            name: [{_TEXT: one} for one in value] if isinstance(value, list) else value
            for name, value in fields.items()
        }
    )


def main() -> None:
    """Make the letters that are asked for."""
    asked = contender.asked()
    begun = time.monotonic()
    letters = contender.composed(asked.statistics)
    data = asked.folder / "letters.jsonl"
    with data.open("w", encoding="utf-8") as file:
        file.writelines(f"{_data(letter.fields)}\n" for letter in letters[: asked.letters])
    contender.tell_composed(time.monotonic() - begun, len(letters))
    source = asked.folder / "template.docx"
    source.write_bytes(template(contender.TEMPLATE.read_bytes()))
    # Carbone looks for programs of these names: a Python that can import uno, and LibreOffice's.
    programs = asked.folder / "programs"
    programs.mkdir(exist_ok=True)
    for name in ("python", "python3"):
        (programs / name).symlink_to(PYTHON)
    path = os.pathsep.join([str(programs), str(find_office().program.parent), os.environ["PATH"]])
    done = subprocess.run(
        [  # noqa: S607 - whichever node is there
            "node",
            Path(__file__).with_name("carbone.js"),
            *(source, data, asked.folder, str(asked.workers)),
        ],
        env={**os.environ, "NODE_PATH": str(carbone(asked.installed)), "PATH": path},
        check=False,
    )
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
