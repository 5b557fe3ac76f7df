"""The transition table: what may follow what."""

import random

from hypothesis import assume, given
from hypothesis import strategies as st

from pipeline.delivery import (
    ATTENTION_FIRST,
    LEASED,
    OPEN,
    TRANSITIONS,
    State,
    fold,
    may_follow,
    most_pressing,
    retry_after,
)


def _reachable(start: State, without: frozenset[tuple[State, State]] = frozenset()) -> set[State]:
    seen, waiting = {start}, [start]
    while waiting:
        here = waiting.pop()
        for move in TRANSITIONS:
            if move.source is here and (here, move.target) not in without:
                if move.target not in seen:
                    waiting.append(move.target)
                seen.add(move.target)
    return seen


def test_every_state_can_be_reached_from_the_queue() -> None:
    assert _reachable(State.QUEUED) == set(State)


def test_nothing_is_accepted_without_a_committed_intent() -> None:
    # What evidence of an earlier attempt moves has had its intent then.
    without_intent = frozenset(
        {
            (State.CLAIMED, State.SENDING),
            (State.QUEUED, State.ACCEPTED),
            (State.QUEUED, State.DELIVERED),
        }
    )
    assert State.ACCEPTED not in _reachable(State.QUEUED, without_intent)
    assert State.IN_DOUBT not in _reachable(State.QUEUED, without_intent)


def test_what_was_accepted_is_never_queued_again() -> None:
    for settled in (State.ACCEPTED, State.DELIVERED, State.BOUNCED, State.REJECTED):
        assert not _reachable(settled) & set(OPEN)


def test_a_doubt_is_never_claimed_directly() -> None:
    assert not may_follow(State.IN_DOUBT, State.CLAIMED)
    assert not may_follow(State.IN_DOUBT, State.SENDING)


def test_leased_states_are_open_and_every_state_has_its_place() -> None:
    assert set(LEASED) < set(OPEN)
    assert sorted(ATTENTION_FIRST) == sorted(State)
    assert len({(move.source, move.target) for move in TRANSITIONS}) == len(TRANSITIONS)


def test_the_most_pressing_state_wins() -> None:
    assert most_pressing([State.ACCEPTED, State.IN_DOUBT, State.QUEUED]) is State.IN_DOUBT
    assert most_pressing([State.ACCEPTED, State.BOUNCED]) is State.BOUNCED
    assert most_pressing([]) is None


def test_waits_grow_and_stay_bounded() -> None:
    waits = [retry_after(deferrals, chance=0.5) for deferrals in range(1, 100)]
    assert waits == sorted(waits)
    assert waits[0].total_seconds() == 300
    assert waits[-1].total_seconds() == 4 * 3600


def test_what_was_put_off_together_does_not_come_back_together() -> None:
    early, late = retry_after(1, chance=0), retry_after(1, chance=0.999)
    assert 239 < early.total_seconds() < 300 < late.total_seconds() < 361


Move = tuple[State, State]


@st.composite
def _walks(draw: st.DrawFn) -> list[Move]:
    """The moves of a delivery that did nothing but what the table permits."""
    here, moves = State.QUEUED, []
    for _ in range(draw(st.integers(0, 25))):
        onwards = [move.target for move in TRANSITIONS if move.source is here]
        if not onwards:
            break
        there = draw(st.sampled_from(onwards))
        moves.append((here, there))
        here = there
    return moves


def test_a_delivery_of_which_nothing_is_told_is_queued() -> None:
    assert fold([]) is State.QUEUED


@given(_walks(), st.randoms(use_true_random=False))
def test_moves_in_any_order_lead_where_they_led(moves: list[Move], chance: random.Random) -> None:
    last = moves[-1][1] if moves else State.QUEUED
    told = list(moves)
    chance.shuffle(told)
    assert fold(told) is last


@given(_walks().filter(bool), st.data())
def test_a_move_that_is_lacking_never_leads_to_the_same(
    moves: list[Move], data: st.DataObject
) -> None:
    lost = data.draw(st.integers(0, len(moves) - 1), label="lost")
    assert fold([*moves[:lost], *moves[lost + 1 :]]) is not moves[-1][1]
    assert fold([*moves, moves[lost]]) is not moves[-1][1], "nor one that is told twice"


@given(_walks(), st.sampled_from(State), st.sampled_from(State))
def test_a_move_that_may_not_be_made_leads_nowhere(
    moves: list[Move], source: State, target: State
) -> None:
    assume(not may_follow(source, target))
    assert fold([*moves, (source, target)]) is None
