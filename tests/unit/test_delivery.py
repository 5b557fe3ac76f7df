"""The transition table: what may follow what."""

from pipeline.delivery import (
    ATTENTION_FIRST,
    LEASED,
    OPEN,
    TRANSITIONS,
    State,
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
    without_intent = frozenset({(State.CLAIMED, State.SENDING)})
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
