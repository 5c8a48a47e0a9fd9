"""Which networks run beside which while contention is measured, and which of these co-runs no grid is fitted to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

# networks that each network runs beside on each accelerator; of two or more the last is held out
_LOADS = 6


@dataclass(frozen=True)
class Pairing:
    """One co-run: a network, group by group, while others run over and over on other accelerators.

    Attributes:
        victim: network whose groups are timed.
        accelerator: where.
        beside: accelerator to the network that runs there.
        held_out: whether the grid is checked on it instead of fitted to it.
    """

    victim: str
    accelerator: str
    beside: tuple[tuple[str, str], ...]
    held_out: bool


def draw_pairings(
    networks: Sequence[str], accelerators: Sequence[str], rng: np.random.Generator, loads: int = _LOADS
) -> list[Pairing]:
    """Return up to `loads` pairings of every network on every accelerator, in random order of what runs beside.

    With more than two accelerators, every second one has all others at work, the rest one of them.
    """
    pairings = []
    for accelerator in accelerators if len(accelerators) > 1 else ():
        others = [name for name in accelerators if name != accelerator]
        for victim in networks:
            orders: Mapping[str, list[str]] = {other: rng.permutation(np.array(networks)).tolist() for other in others}
            count = min(loads, len(networks))
            for number in range(count):
                busy = others if number % 2 == 0 else [others[int(rng.integers(len(others)))]]
                beside = tuple((other, orders[other][number]) for other in busy)
                pairings.append(Pairing(victim, accelerator, beside, held_out=number > 0 and number == count - 1))
    return pairings
