"""What may be shown of a place and of what is wrong with it: never a login, never a token."""

import re

_URL = re.compile(r"://([^/\s]*@)?([^?\s]*)(\?\S+)?")


def without_secrets(text: str) -> str:
    """A URL, or words that hold one, without the login before its host and what it asks for."""

    def shown(found: re.Match[str]) -> str:
        login, place, asked = found.groups(default="")
        if "?" in login:  # where the one ends and the other begins cannot be told
            return "://***"
        return f"://{'***@' if login else ''}{place}{'?***' if asked else ''}"

    return _URL.sub(shown, text)


def reason(fault: OSError) -> str:
    """What the system says, in its own few words."""
    return fault.strerror or sentence(fault)


def sentence(fault: Exception) -> str:
    """What an error says, without a full stop at its end."""
    return without_secrets(str(fault)).rstrip(".")
