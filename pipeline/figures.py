"""Counts, exact rates and the one rounding rule.

Definitions (Local Government and Social Care Ombudsman, annual review letters):

- investigated = upheld + not upheld: detailed investigations decided in the period;
- uphold rate = upheld / investigated;
- compliance rate = (complied + complied late) / recommendations due in the period;
- satisfactory remedy rate = upheld cases that the authority had already put right / upheld;
- the average of similar authorities is pooled: the rate of their summed counts.

Nothing here is a floating-point number: a letter must not depend on how a machine rounds.
"""

from dataclasses import dataclass

from pipeline.errors import LetterFault


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A part of a whole, both counts of cases; `part` never exceeds `whole`.

    Raises LetterFault for a negative count or a part that is larger than its whole.
    """

    part: int
    whole: int

    def __post_init__(self) -> None:
        if self.part < 0 or self.whole < 0:
            raise LetterFault(f"A count is negative: {self.part} of {self.whole}.")
        if self.part > self.whole:
            raise LetterFault(f"A part is larger than its whole: {self.part} of {self.whole}.")

    @property
    def percent(self) -> int | None:
        """Whole per cent, half up; None where there is nothing to divide by.

        A shortfall never reads 100 and a non-zero part never reads 0: 999 of 1,000 is 99 and 1 of
        1,000 is 1, because “100%” and “0%” are claims about every single case.
        """
        if self.whole == 0:
            return None
        percent = (200 * self.part + self.whole) // (2 * self.whole)
        if percent == 100 and self.part < self.whole:
            return 99
        if percent == 0 and self.part > 0:
            return 1
        return percent


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What was counted for one authority, or pooled over several, in an edition's period."""

    upheld: int = 0
    not_upheld: int = 0
    remedied_early: int = 0
    complied: int = 0
    complied_late: int = 0
    not_complied: int = 0

    @property
    def uphold(self) -> Rate:
        """Upheld of investigated."""
        return Rate(part=self.upheld, whole=self.upheld + self.not_upheld)

    @property
    def compliance(self) -> Rate:
        """Complied, late or not, of recommendations due."""
        met = self.complied + self.complied_late
        return Rate(part=met, whole=met + self.not_complied)

    @property
    def remedy(self) -> Rate:
        """Upheld cases already put right, of upheld."""
        return Rate(part=self.remedied_early, whole=self.upheld)
