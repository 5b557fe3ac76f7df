"""Why a letter came back, in the few classes that a person acts on."""

import re
from enum import StrEnum
from typing import Final


class Reason(StrEnum):
    """A class of reasons; the value is what people read."""

    NO_MAILBOX = "no such mailbox"
    FULL = "mailbox full"
    NOT_TAKING = "mailbox takes no mail"
    POLICY = "refused by policy"
    UNREACHABLE = "their server could not be reached"
    CONTENT = "too large, or of a kind that they do not take"
    OTHER = "another reason"


# By the enhanced status code (RFC 3463), the first that fits.
_BY_STATUS: Final = (
    (re.compile(r"[45]\.1\.([12346]|10)"), Reason.NO_MAILBOX),
    (re.compile(r"[45]\.2\.2"), Reason.FULL),
    (re.compile(r"[45]\.2\.1"), Reason.NOT_TAKING),
    (re.compile(r"[45]\.(2\.3|3\.4|6\.\d+)"), Reason.CONTENT),
    (re.compile(r"[45]\.7\.\d+|[45]\.1\.8"), Reason.POLICY),
    (re.compile(r"[45]\.4\.\d+"), Reason.UNREACHABLE),
)
# By the words, where the code says nothing. Exchange gives 5.4.1 to whom it does not know.
_BY_WORDS: Final = (
    (
        re.compile(
            r"user unknown|unknown user|no such (user|recipient|mailbox)|does ?n[o']t exist|"
            r"recipient ?not ?found|recipient address rejected: access denied",
            re.IGNORECASE,
        ),
        Reason.NO_MAILBOX,
    ),
    (re.compile(r"quota|mailbox (is )?full", re.IGNORECASE), Reason.FULL),
    (re.compile(r"\bspam\b|blocked|blocklist|polic(y|ies)|dmarc", re.IGNORECASE), Reason.POLICY),
    (
        re.compile(r"timed? ?out|connection refused|host not found|unreachable", re.IGNORECASE),
        Reason.UNREACHABLE,
    ),
)
_MISNAMED: Final = re.compile(r"5\.4\.1\b")


def reason_of(status: str, said: str) -> Reason:
    """The class of what a report says: its enhanced status code ("5.1.1", or "") and its words."""
    by_status = next((reason for known, reason in _BY_STATUS if known.fullmatch(status)), None)
    if by_status is not None and not _MISNAMED.match(status):
        return by_status
    by_words = next((reason for known, reason in _BY_WORDS if known.search(said)), None)
    return by_words or by_status or Reason.OTHER
