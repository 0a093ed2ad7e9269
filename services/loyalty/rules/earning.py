"""How many points an order earns."""

from dataclasses import dataclass


@dataclass(frozen=True)
class EarnRate:
    """`points` are earned by every `per_minor` minor units of money; both are above zero."""

    points: int
    per_minor: int

    def __post_init__(self) -> None:
        if self.points <= 0 or self.per_minor <= 0:
            raise ValueError(f"an earn rate has no part of zero or less: {self}")


def points_earned(total_minor: int, rate: EarnRate | None) -> int:
    """Return ⌊total × points ÷ per⌋, reckoned in minor units; 0 without a rate.

    Raises ValueError for a total below zero.
    """
    if total_minor < 0:
        raise ValueError(f"a total is never below zero: {total_minor}")
    if rate is None:
        return 0
    return total_minor * rate.points // rate.per_minor
