"""Why a letter came back: what a person does about it is in its class."""

import pytest

from pipeline.report import Reason, reason_of


@pytest.mark.parametrize(
    ("status", "said", "reason"),
    [
        ("5.1.1", "smtp; 550 5.1.1 no such user", Reason.NO_MAILBOX),
        ("5.1.10", "RESOLVER.ADR.RecipientNotFound", Reason.NO_MAILBOX),
        ("5.4.1", "Recipient address rejected: Access denied", Reason.NO_MAILBOX),
        ("5.0.0", "550 User unknown in virtual mailbox table", Reason.NO_MAILBOX),
        ("", "550 that address doesn't exist", Reason.NO_MAILBOX),
        ("5.2.2", "mailbox for chief is full", Reason.FULL),
        ("4.2.2", "over quota", Reason.FULL),
        ("", "552 quota exceeded", Reason.FULL),
        ("5.2.1", "disabled", Reason.NOT_TAKING),
        ("5.7.1", "message looks like spam", Reason.POLICY),
        ("5.7.509", "does not pass DMARC", Reason.POLICY),
        ("5.0.0", "blocked by our policy", Reason.POLICY),
        ("4.4.1", "connect to mx[192.0.2.1]:25: Connection timed out", Reason.UNREACHABLE),
        ("5.4.1", "no answer from host", Reason.UNREACHABLE),
        ("5.3.4", "message too big", Reason.CONTENT),
        ("5.0.0", "something else", Reason.OTHER),
        ("", "", Reason.OTHER),
    ],
)
def test_a_reason_is_known_by_its_code_and_else_by_its_words(
    status: str, said: str, reason: Reason
) -> None:
    assert reason_of(status, said) is reason
