"""Reading one list or mapping out of one cell, where it is written as JSON."""

import json
import re
from typing import Any

from pipeline.importer.cells import WHITE_SPACE, Wrong, one_of, shown, text
from pipeline.letter import CASES, CHIEF_EXECUTIVE, ROLES


def texts(value: str) -> list[str]:
    """A list of texts, none of them empty."""
    example = '["Ombudsman", "Chair"]'
    found = _json(value, example)
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise Wrong(f"“{shown(value)}” is not a JSON list of texts, such as {example}.")
    read = [text(200)(one.strip(WHITE_SPACE)) for one in found]
    if not all(read):
        raise Wrong("holds an empty text; leave it out of the list.")
    return read


def copied_roles(value: str) -> list[str]:
    """A list of different roles, the chief executive's not among them."""
    roles = [one_of(ROLES)(one) for one in texts(value)]
    if CHIEF_EXECUTIVE in roles:
        raise Wrong(f"holds {CHIEF_EXECUTIVE}, who is written to and needs no copy; take it out.")
    if len(set(roles)) < len(roles):
        raise Wrong("holds a role twice.")
    return roles


def enclosures(value: str) -> list[str]:
    """A list of what is enclosed with each letter, none twice."""
    found = [one_of(tuple(CASES))(one) for one in texts(value)]
    if len(set(found)) < len(found):
        raise Wrong("holds an enclosure twice.")
    return found


def facts(value: str) -> dict[str, int | str]:
    """A mapping of whole numbers and texts, by names that a template can use."""
    example = '{"delegates": 178, "people": 1400}'
    found = _json(value, example)
    if not isinstance(found, dict):
        raise Wrong(f"“{shown(value)}” is not a JSON object, such as {example}.")
    for name in found:
        # In a template facts.items would be the mapping's own method, not the fact.
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,59}", name) or hasattr(dict, name):
            raise Wrong(
                f"“{shown(name)}” cannot be a fact's name in a template; use a word such as "
                "delegates or more_courses (letters, digits and underscores)."
            )
    return {name: _fact(name, fact) for name, fact in found.items()}


def _fact(name: str, fact: object) -> int | str:
    if isinstance(fact, str):
        return text(500)(fact.strip(WHITE_SPACE))
    if isinstance(fact, int) and not isinstance(fact, bool) and abs(fact) < 10**15:
        return fact
    raise Wrong(
        f"the fact {name} is neither a whole number nor a text; "
        "write a number with a fraction as a text."
    )


def _json(value: str, example: str) -> Any:
    try:
        return json.loads(value, object_pairs_hook=_no_repeats)
    except (ValueError, RecursionError) as error:
        where = f" at character {error.pos + 1}" if isinstance(error, json.JSONDecodeError) else ""
        raise Wrong(
            f"“{shown(value)}” is not JSON{where}; write for example {example} with straight "
            "quotation marks."
        ) from None


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object as it is written; on its own the parser would keep the last of two values."""
    seen: dict[str, Any] = {}
    for name, value in pairs:
        if name in seen:
            raise Wrong(f"gives “{shown(name)}” twice.")
        seen[name] = value
    return seen
