"""Errors, sorted by whose they are.

A `LetterFault` belongs to one letter: it is recorded and the other letters go on. `Unavailable`
belongs to something leaned on (a database, LibreOffice, a disk): work stops and everything done so
far is kept. `Refused` belongs to what a person asked or supplied, and says how to put it right.

Every message is one or more whole sentences that name the thing, the place and the fix; it is
shown to a person as it stands, so it never holds a secret.
"""

from collections.abc import Sequence


class LettersError(Exception):
    """The root of every error that is shown to a person as a sentence, without a traceback.

    `exit_code` is what the command line ends with when the error reaches it.
    """

    exit_code = 1


class LetterFault(LettersError):
    """One letter cannot be made or cannot be trusted; the reason is recorded with the letter."""


class Unavailable(LettersError):
    """Something leaned on is not there or does not answer; trying again later may work."""

    exit_code = 69


class Refused(LettersError):
    """What was asked cannot be done as asked."""

    exit_code = 2


class Misconfigured(Refused):
    """A setting, a template or the installation is wrong; a person has to mend it first."""

    exit_code = 78


class BadData(Refused):
    """Data that was supplied is wrong; `faults` lists every one that was found, worst first."""

    exit_code = 1

    def __init__(self, summary: str, faults: Sequence[str]) -> None:
        super().__init__(summary)
        self.summary = summary
        self.faults = tuple(faults)

    def __str__(self) -> str:
        return "\n".join([self.summary, *(f"  {fault}" for fault in self.faults)])
