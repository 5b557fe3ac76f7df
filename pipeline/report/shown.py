"""What anybody may have written, made fit to show and of bounded length."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from pipeline.address import hidden_character

DIAGNOSTIC_LIMIT: Final = 500
"""Characters of a remote server's words that are kept."""

ADDRESS_LIMIT: Final = 320
NAME_LIMIT: Final = 255


def shown_text(text: str, limit: int) -> str:
    """Return a text that anybody may have written so that it can be shown on one line.

    Blanks are single spaces, characters that do not show or change the direction of writing become
    the replacement character, and what is longer than `limit` characters ends in an ellipsis.
    """
    words = " ".join(text[: 4 * limit].split())
    plain = words
    if not (words.isascii() and words.isprintable()):
        plain = "".join("\ufffd" if hidden_character(one) else one for one in words)
    cut = len(plain) > limit or len(text) > 4 * limit
    return f"{plain[: limit - 1]}…" if cut else plain


def utc_date(value: str) -> datetime | None:
    """A date field in UTC; one without a zone is taken to be in UTC."""
    if not value:
        return None
    try:
        date = parsedate_to_datetime(value[:100])
        return date.replace(tzinfo=UTC) if date.tzinfo is None else date.astimezone(UTC)
    except (ValueError, TypeError, LookupError, OverflowError, AttributeError):
        return None
