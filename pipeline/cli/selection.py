"""Several letters at once: by kind, by how they stand, or by a file of codes."""

import csv
import difflib
import io
import sys
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from pipeline import run
from pipeline.errors import BadData, Refused
from pipeline.ledger import choice
from pipeline.ledger.choice import STATES, Chosen
from pipeline.ledger.runs import Run
from pipeline.letter import KINDS

STANDARD_INPUT = "-"

_SEPARATORS = ",;\t"


def select(
    pipeline: run.Pipeline,
    found: Run,
    *,
    kinds: Sequence[str],
    states: Sequence[str],
    codes: str | None,
) -> list[Chosen]:
    """The letters of the run that fit every option that was given, in the order of the codes.

    Raises Refused for a kind or a state that there is not, and for a file that cannot be read;
    BadData, with every line that is wrong, for codes that the run does not have or that are twice.
    """
    of_kinds = [_one_of("--kind", one, KINDS) for one in kinds]
    in_states = [_one_of("--state", one, STATES) for one in states]
    db, mode = pipeline.ledger, pipeline.outbox.mode
    listed = None
    if codes is not None:
        known = {one.authority.casefold(): one.authority for one in choice.choose(db, found, mode)}
        listed = _checked(codes, known, found.year)
    return choice.choose(db, found, mode, kinds=of_kinds, states=in_states, codes=listed)


def _one_of(option: str, given: str, known: Collection[str]) -> str:
    plain = "_".join(given.strip().casefold().replace("-", " ").replace("_", " ").split())
    if plain in known:
        return plain
    near = difflib.get_close_matches(plain, known, n=1)
    hint = f"did you mean {near[0]}? It may be" if near else "it may be"
    raise Refused(f"{option} {given}: {hint} {', '.join(known)}.")


def _checked(file: str, known: dict[str, str], year: int) -> set[str]:
    """The codes of the file, as the run writes them."""
    listed: dict[str, int] = {}
    faults: list[str] = []
    for line, code in codes_in(file):
        if code.casefold() not in known:
            faults.append(f"line {line}: the {year} run has no letter for the code {code}")
        elif known[code.casefold()] in listed:
            first = listed[known[code.casefold()]]
            faults.append(f"line {line}: {code} was on line {first} already")
        else:
            listed[known[code.casefold()]] = line
    if faults:
        raise BadData(f"Nothing was sent. {_named(file)} has codes to put right:", faults)
    if not listed:
        raise Refused(f"{_named(file)} holds no codes; write one a line.")
    return set(listed)


def codes_in(file: str) -> Iterator[tuple[int, str]]:
    """Line numbers, from 1, and the codes there: one a line, or the `code` column of a CSV file.

    `-` is standard input. Raises Refused for a file that cannot be read as either.
    """
    text = _text(file)
    lines = [(number, line.split("#")[0].strip()) for number, line in enumerate(_lines(text), 1)]
    lines = [(number, line) for number, line in lines if line]
    first = lines[0][1] if lines else ""
    separator = next((one for one in _SEPARATORS if one in first), None)
    if separator is None:
        header = bool(lines) and first.strip('"').casefold() == "code"
        yield from ((number, line.strip('"')) for number, line in lines[header:])
        return
    reader = csv.reader(io.StringIO(text), delimiter=separator)
    column: int | None = None
    for row in reader:
        if not any(cell.strip() for cell in row) or row[0].lstrip().startswith("#"):
            continue
        if column is None:
            headings = [cell.strip().casefold() for cell in row]
            if "code" not in headings:
                raise Refused(
                    f"{_named(file)} has several columns and none of them is headed code; "
                    "write one code a line, or a CSV file with a code column."
                )
            column = headings.index("code")
            continue
        code = row[column].strip() if column < len(row) else ""
        yield reader.line_num, code or "(empty)"


def _lines(text: str) -> list[str]:
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _text(file: str) -> str:
    try:
        data = sys.stdin.buffer.read() if file == STANDARD_INPUT else Path(file).read_bytes()
    except OSError as error:
        raise Refused(f"--codes {file} cannot be read: {error.strerror}. Name another.") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Refused(
            f"{_named(file)} is not UTF-8 text; write one code a line, or a CSV file with a code "
            "column, and save it as UTF-8."
        ) from error


def _named(file: str) -> str:
    return "The standard input" if file == STANDARD_INPUT else file
