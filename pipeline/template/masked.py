"""A letter's fields without what differs in every letter, so that letters can be compared."""

from collections.abc import Mapping
from typing import Any

from pipeline.letter import MEASURES

_DATES = (
    "letter_date", "letter_year", "period_start", "period_end", "period_end_short", "published_on",
)  # fmt: skip


def without_figures(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields with names, dates and figures taken out, and everything else as it is.

    One line of an address stands for any: how many there are is what tells a vacant post, or one
    that two people hold.
    """
    lines = fields.get("address_lines", [])
    plain = {
        **fields,
        **{name: f"‹{name.replace('_', ' ')}›" for name in _DATES if name in fields},
        "authority": "‹authority›",
        "address_lines": ["‹line›"] * len(lines),
        "salutation": "‹salutation›",
        "facts": dict.fromkeys(fields.get("facts", {}), "‹number›"),
        "succession": "‹succession›" if fields.get("succession") else "",
        "replaces": "‹replaces›" if fields.get("replaces") else "",
    }
    for measure in MEASURES:
        if measure in fields:
            plain[measure] = _panel(fields[measure])
    return plain


def _panel(panel: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **panel,
        "percent": "‹rate›" if panel.get("percent") else "",
        "percent_number": 0,
        "average": "‹average›" if panel.get("average") else "",
        "part": "‹count›",
        "whole": "‹count›",
        **{
            name: str(panel[name]).removesuffix("s")
            for name in ("part_label", "whole_label")
            if name in panel
        },
    }
