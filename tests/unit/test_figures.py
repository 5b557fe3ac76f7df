"""Exact rates and the one rounding rule."""

from decimal import ROUND_HALF_UP, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import LetterFault
from pipeline.figures import Counts, Rate


@st.composite
def rates(draw: st.DrawFn) -> Rate:
    whole = draw(st.integers(1, 10**9))
    return Rate(part=draw(st.integers(0, whole)), whole=whole)


@given(rates())
def test_percent_is_half_up_except_at_the_ends(rate: Rate) -> None:
    exact = Decimal(100 * rate.part) / Decimal(rate.whole)
    rounded = int(exact.quantize(Decimal(1), ROUND_HALF_UP))
    if 0 < rate.part < rate.whole:
        rounded = min(max(rounded, 1), 99)
    assert rate.percent == rounded


@given(rates())
def test_100_and_0_are_claims_about_every_case(rate: Rate) -> None:
    assert (rate.percent == 100) == (rate.part == rate.whole)
    assert (rate.percent == 0) == (rate.part == 0)


@pytest.mark.parametrize(
    ("part", "whole", "percent"),
    [
        (1, 1, 100),
        (0, 1, 0),
        (5, 9, 56),
        (2, 3, 67),
        (31, 39, 79),  # Buckinghamshire, 2023
        (1, 200, 1),  # half up: 0.5
        (1, 1000, 1),  # not 0
        (999, 1000, 99),  # not 100
        (1, 8, 13),  # 12.5
        (3, 8, 38),  # 37.5
        (12_345, 40_000, 31),  # 30.8625
        (199, 200, 99),  # half up, 99.5, would be 100
        (249, 250, 99),  # 99.6
        (3, 1000, 1),  # 0.3
        (4_999_999_999, 10**10, 50),  # just under a half, and floats would not know
        (4_949_999_999, 10**10, 49),
        (0, 0, None),
    ],
)
def test_percent(part: int, whole: int, percent: int | None) -> None:
    assert Rate(part=part, whole=whole).percent == percent


@pytest.mark.parametrize(("part", "whole"), [(2, 1), (-1, 1), (0, -1)])
def test_impossible_counts_are_a_fault(part: int, whole: int) -> None:
    with pytest.raises(LetterFault, match=r"negative|larger than its whole"):
        Rate(part=part, whole=whole)


@given(rates())
def test_the_average_of_one_is_its_own(rate: Rate) -> None:
    """Pooled is summed: over a kind with one authority nothing is added."""
    counts = Counts(upheld=rate.part, not_upheld=rate.whole - rate.part)
    assert counts.uphold.percent == rate.percent


def test_each_rate_has_its_own_denominator() -> None:
    counts = Counts(
        upheld=3, not_upheld=1, remedied_early=2, complied=4, complied_late=1, not_complied=5
    )
    assert counts.uphold == Rate(part=3, whole=4)
    assert counts.compliance == Rate(part=5, whole=10)
    assert counts.remedy == Rate(part=2, whole=3)
