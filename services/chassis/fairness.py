"""Queues in which nobody waits behind the crowd of another."""

from collections import OrderedDict, deque
from collections.abc import Mapping
from enum import Enum
from typing import Generic, TypeVar

T = TypeVar("T")


class Kind(Enum):
    """Whose work it is: a caller's who waits, a caller's with many things at once, our own."""

    INTERACTIVE = "interactive"
    BATCH = "batch"
    CONSUMER = "consumer"


# Of so many turns that all kinds want, each has its own number.
TURNS: Mapping[Kind, int] = {Kind.INTERACTIVE: 8, Kind.CONSUMER: 2, Kind.BATCH: 1}


class RoundRobin(Generic[T]):
    """Things that wait, taken from their owners in turn, and of each in the order they came."""

    def __init__(self) -> None:
        self._by_owner: OrderedDict[str, deque[T]] = OrderedDict()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def has_room(self, owner: str, limit: int) -> bool:
        """Whether one more of an owner may wait where so many may.

        Where it is full, an owner who has less than an even share of it still finds room: a
        crowd of one owner keeps out nobody else.
        """
        if self._length < limit:
            return True
        things = self._by_owner.get(owner, ())
        owners = len(self._by_owner) + (not things)
        return len(things) < max(1, limit // owners)

    def put(self, owner: str, thing: T) -> None:
        """Add what an owner waits for; an owner who waited for nothing comes last."""
        self._by_owner.setdefault(owner, deque()).append(thing)
        self._length += 1

    def take(self) -> T:
        """Take the next thing; raises KeyError if nothing waits."""
        owner, things = self._by_owner.popitem(last=False)
        thing = things.popleft()
        self._length -= 1
        if things:
            self._by_owner[owner] = things
        return thing


class FairQueue(Generic[T]):
    """Work of all kinds: each has its share of the turns, and the owners of a kind take turns."""

    def __init__(self) -> None:
        self._waiting: dict[Kind, RoundRobin[T]] = {kind: RoundRobin() for kind in TURNS}
        # How many turns a kind is owed, in parts of a round.
        self._owed = dict.fromkeys(TURNS, 0)

    def __len__(self) -> int:
        return sum(len(waiting) for waiting in self._waiting.values())

    def has_room(self, kind: Kind, owner: str, limit: int) -> bool:
        """Whether one more of an owner may wait where so many of a kind may; as RoundRobin's."""
        return self._waiting[kind].has_room(owner, limit)

    def put(self, kind: Kind, owner: str, work: T) -> None:
        """Add work."""
        self._waiting[kind].put(owner, work)

    def take(self) -> T:
        """Take the next work; raises KeyError if none waits."""
        wanting = [kind for kind, waiting in self._waiting.items() if waiting]
        if not wanting:
            raise KeyError("no work waits")
        for kind in wanting:
            self._owed[kind] += TURNS[kind]
        chosen = max(wanting, key=self._owed.__getitem__)
        self._owed[chosen] -= sum(TURNS[kind] for kind in wanting)
        waiting = self._waiting[chosen]
        work = waiting.take()
        if not waiting:
            # Who comes back later has no old debts and no old claims.
            self._owed[chosen] = 0
        return work
