"""What LibreOffice alone takes: letters that are stamped already, and nothing proved or recorded.

    python -m bench.peers.floor ... plain|fast

* plain: each letter's docx is loaded, exported and closed.
* fast: one docx is loaded once in each process; each letter's values are put in the places of the
  last one's, and it is exported. Only letters that have all three figures and no paragraph of
  their own, whose pages thus are alike; the rings stay as they are. No lane can do less.

Stamping is done before, and is not counted: nothing is faster than what this measures.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench import contender
from bench.contender import Asked
from pipeline.convert import find_office
from pipeline.letter import MEASURES, MERGE_FIELDS, Letter
from pipeline.template import load_template

_OWN = ("authority", "salutation", "noun")
_FIGURES = ("percent", "average", "part", "part_label", "whole", "whole_label")


def _values(fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The values that differ between letters of one shape, by their marks; none of them empty."""
    for name in _OWN:
        yield f"(({name}))", fields[name]
    for number, line in enumerate(fields["address_lines"][:-1]):
        yield f"((line {number}))", line
    for measure in MEASURES:
        for name in _FIGURES:
            if fields[measure][name]:
                yield f"(({measure} {name}))", fields[measure][name]


def _marked(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A letter of the same shape, with a mark in the place of each such value."""
    made = dict(fields)
    for name in _OWN:
        made[name] = f"(({name}))"
    lines = [f"((line {number}))" for number, _ in enumerate(fields["address_lines"][:-1])]
    made["address_lines"] = [*lines, "((authority))"]
    for measure in MEASURES:
        panel = dict(fields[measure])
        for name in _FIGURES:
            panel[name] = f"(({measure} {name}))" if panel[name] else ""
        made[measure] = panel
    return made


def _is_alike(letter: Letter) -> bool:
    fields = letter.fields
    panels = [fields[measure] for measure in MEASURES]
    return (
        all(panel["rated"] and panel["compared"] for panel in panels)
        and not fields["remarks"]
        and not fields["succession"]
        and len(fields["address_lines"]) == 3
        and fields["address_lines"][-1] == fields["authority"]
    )


def _laid_out(asked: Asked, lane: str) -> None:
    """Write what each worker is to convert into a folder of its own."""
    letters = contender.composed(asked.statistics)
    template = load_template(
        contender.TEMPLATE, fields=set(MERGE_FIELDS) | _facts(letters[0].fields)
    )
    if lane == "fast":
        letters = [letter for letter in letters if _is_alike(letter)]
        marked = template.stamp(_marked(letters[0].fields))
        (asked.folder / "marked.docx").write_bytes(marked)
    # Round and round, where fewer letters are alike than are asked for.
    wanted = [letters[number % len(letters)] for number in range(asked.letters)]
    for worker in range(asked.workers):
        mine = asked.folder / str(worker)
        mine.mkdir()
        share = wanted[worker :: asked.workers]
        if lane == "fast":
            lines = [json.dumps(dict(_values(letter.fields))) for letter in share]
            (mine / "values.jsonl").write_text("\n".join(lines), encoding="utf-8")
            continue
        for number, letter in enumerate(share):
            (mine / f"{number:06}.docx").write_bytes(template.stamp(letter.fields))


def _facts(fields: Mapping[str, Any]) -> set[str]:
    return {f"facts.{name}" for name in fields["facts"]}


def main() -> None:
    """Convert what is asked for."""
    asked = contender.asked()
    lane = asked.more[0]
    _laid_out(asked, lane)
    contender.tell_composed(0.0, asked.letters)
    office = find_office()
    script = Path(__file__).with_name("office.py")
    running = [
        subprocess.Popen(
            [office.python, "-I", script, office.program, asked.folder, str(number), lane]
        )
        for number in range(asked.workers)
    ]
    sys.exit(max(one.wait() for one in running))


if __name__ == "__main__":
    main()
