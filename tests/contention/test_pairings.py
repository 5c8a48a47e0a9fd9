"""Which networks run beside which: every one is a victim everywhere, and what is held out is fitted to nowhere."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from multidnn.contention.pairings import draw_pairings


@given(st.integers(1, 9), st.integers(1, 4), st.integers(1, 5), st.integers(0, 99))
def test_pairings(networks: int, accelerators: int, loads: int, seed: int) -> None:
    names, places = [f"n{i}" for i in range(networks)], [f"a{i}" for i in range(accelerators)]
    pairings = draw_pairings(names, places, np.random.default_rng(seed), loads)
    if accelerators == 1:
        assert pairings == []
        return
    for name in names:
        for place in places:
            own = [p for p in pairings if (p.victim, p.accelerator) == (name, place)]
            assert len(own) == min(loads, networks)
            # of one pairing there is nothing to hold out
            assert [p.held_out for p in own] == [False] * (len(own) - 1) + [len(own) > 1]
            assert len({p.beside for p in own}) == len(own)
    for pairing in pairings:
        busy = [where for where, _ in pairing.beside]
        assert pairing.accelerator not in busy
        assert len(set(busy)) == len(busy) >= 1
        assert set(busy) <= set(places)
    assert {len(p.beside) for p in pairings} <= {1, accelerators - 1}
