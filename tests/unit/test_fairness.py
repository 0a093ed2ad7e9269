"""Queues in which nobody waits behind the crowd of another, against what a bystander counts."""

from collections import Counter, defaultdict, deque
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.chassis.fairness import TURNS, FairQueue, Kind, RoundRobin

OWNERS = ["ada", "bob", "cyd", "dan"]
owners = st.sampled_from(OWNERS)
# Whose thing is put, or, for None, that one is taken.
steps = st.lists(st.one_of(owners, st.none()), max_size=80)
ROUND = sum(TURNS.values())


@settings(deadline=None)
@given(steps)
def test_each_thing_is_taken_once_and_those_of_one_owner_in_the_order_they_came(
    steps: Sequence[str | None],
) -> None:
    queue: RoundRobin[tuple[str, int]] = RoundRobin()
    waiting: defaultdict[str, deque[int]] = defaultdict(deque)
    for n, owner in enumerate(steps):
        if owner is not None:
            queue.put(owner, (owner, n))
            waiting[owner].append(n)
        elif any(waiting.values()):
            taken_from, thing = queue.take()
            assert waiting[taken_from].popleft() == thing
        else:
            with pytest.raises(KeyError):
                queue.take()
        assert len(queue) == sum(map(len, waiting.values()))


@settings(deadline=None)
@given(steps, owners, st.lists(owners, max_size=80))
def test_a_thing_is_taken_as_soon_as_each_owner_has_had_as_many_turns_as_it_had_things_before_it(
    before: Sequence[str | None], owner: str, crowd: Sequence[str]
) -> None:
    queue: RoundRobin[tuple[str, bool]] = RoundRobin()
    for other in before:
        if other is not None:
            queue.put(other, (other, False))
        elif queue:
            queue.take()
    own_before = 0
    queue.put(owner, (owner, True))
    for other in crowd:
        queue.put(other, (other, False))
    turns: Counter[str] = Counter()
    while True:
        taken_from, wanted = queue.take()
        if wanted:
            break
        turns[taken_from] += 1
        own_before += taken_from == owner
    assert all(turns[other] <= own_before + 1 for other in OWNERS if other != owner)


@settings(deadline=None)
@given(steps, st.integers(1, 12))
def test_a_crowd_of_one_owner_keeps_out_nobody_who_has_less_than_an_even_share(
    steps: Sequence[str | None], limit: int
) -> None:
    queue: RoundRobin[str] = RoundRobin()
    present: Counter[str] = Counter()
    for owner in steps:
        if owner is None:
            if queue:
                present[queue.take()] -= 1
            continue
        among = len({one for one in OWNERS if present[one]} | {owner})
        has_room = queue.has_room(owner, limit)
        if len(queue) < limit or present[owner] < limit // among:
            assert has_room
        if has_room:
            queue.put(owner, owner)
            present[owner] += 1
        # The second to come when it is full finds half of it kept for him, the third a third.
        assert len(queue) <= limit * (1 + 1 / 2 + 1 / 3 + 1 / 4) + len(OWNERS)


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(Kind), owners), max_size=60))
def test_work_of_all_kinds_is_done_once(works: Sequence[tuple[Kind, str]]) -> None:
    queue: FairQueue[int] = FairQueue()
    for n, (kind, owner) in enumerate(works):
        queue.put(kind, owner, n)
    assert len(queue) == len(works)
    assert sorted(queue.take() for _ in works) == list(range(len(works)))
    with pytest.raises(KeyError):
        queue.take()


def test_kinds_that_all_wait_have_their_shares_of_each_round() -> None:
    queue: FairQueue[Kind] = FairQueue()
    for kind in Kind:
        for _ in range(10 * ROUND):
            queue.put(kind, "", kind)
    for _ in range(5):
        assert Counter(queue.take() for _ in range(ROUND)) == TURNS


@settings(deadline=None)
@given(st.lists(st.one_of(st.sampled_from(Kind), st.none()), max_size=200))
def test_no_kind_that_waits_is_passed_over_for_longer_than_two_rounds(
    steps: Sequence[Kind | None],
) -> None:
    queue: FairQueue[Kind] = FairQueue()
    passed_over: Counter[Kind] = Counter()
    waiting: Counter[Kind] = Counter()
    for step in steps:
        if step is not None:
            queue.put(step, "", step)
            waiting[step] += 1
        elif queue:
            taken = queue.take()
            waiting[taken] -= 1
            passed_over.update(kind for kind in Kind if waiting[kind] and kind is not taken)
            passed_over[taken] = 0
            assert max(passed_over.values()) <= 2 * ROUND


@pytest.mark.parametrize("crowding", list(Kind))
def test_a_single_call_waits_for_one_thing_of_a_crowd(crowding: Kind) -> None:
    queue: FairQueue[str] = FairQueue()
    for _ in range(100):
        queue.put(crowding, "crowd", "crowd")
    for _ in range(7):
        assert queue.take() == "crowd"
        queue.put(Kind.INTERACTIVE, "ada", "ada")
        taken = [queue.take(), queue.take()]
        assert "ada" in taken
