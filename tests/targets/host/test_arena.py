"""Shared tensors: seen by every process, disjoint, and gone without a trace."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multidnn.targets.host.arena import Arena, Layout

shapes = st.lists(st.integers(1, 9), max_size=4).map(tuple)

CHILD = """
import sys
import numpy as np
from multidnn.targets.host.arena import Arena, Slot
arena = Arena(int(sys.argv[2]), int(sys.argv[1]))
tensor = arena.tensor(Slot(int(sys.argv[3]), (2, 3)))
print(tensor.tolist())
tensor *= 2
"""


@given(st.dictionaries(st.text(min_size=1, max_size=5), shapes, max_size=8))
def test_slots_are_aligned_and_do_not_overlap(tensors: dict[str, tuple[int, ...]]) -> None:
    layout = Layout()
    for name, shape in tensors.items():
        layout.add(name, shape)
    for name, shape in tensors.items():
        assert layout.add(name, shape) is layout.slots[name]
    spans = sorted((slot.offset, slot.offset + slot.nbytes) for slot in layout.slots.values())
    for (_, end), (start, _) in itertools.pairwise(spans):
        assert end <= start
    # the first bytes hold the common start of an iteration
    assert all(start >= 8 and start % 64 == 0 for start, _ in spans)
    assert all(end <= layout.size for _, end in spans)


def test_one_name_cannot_have_two_shapes() -> None:
    layout = Layout()
    layout.add("x", (2, 3))
    with pytest.raises(ValueError, match=r"tensor x has shape \(2, 3\)"):
        layout.add("x", (3, 2))


def test_two_processes_see_the_same_bytes_and_nothing_is_left_behind() -> None:
    named = set(os.listdir("/dev/shm"))
    layout = Layout()
    slot = layout.add("x", (2, 3))
    arena = Arena(layout.size)
    try:
        tensor = arena.tensor(slot)
        tensor[...] = np.arange(6).reshape(2, 3)
        command = [sys.executable, "-c", CHILD, str(arena.descriptor), str(arena.size), str(slot.offset)]
        answer = subprocess.run(command, pass_fds=[arena.descriptor], capture_output=True, text=True, check=True)
        assert answer.stdout.strip() == "[[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]"
        assert tensor.tolist() == [[0, 2, 4], [6, 8, 10]]
        assert set(os.listdir("/dev/shm")) == named
    finally:
        arena.close()
    assert not Path(f"/proc/self/fd/{arena.descriptor}").exists()
