"""Captured work, its memory and the chains that are made of it, on a stand-in device."""

from collections.abc import Callable, Mapping
from typing import Any

from multidnn.targets.cuda.graphs import Chains, Mark
from multidnn.targets.cuda.target import CudaTarget

Open = Callable[[Mapping[str, Any]], CudaTarget]
TWO = {"partitions": {"small": {"sms": 32}, "large": {"sms": 100}}}


def test_the_same_work_on_the_same_lane_is_one_chain(cpu_target: Open) -> None:
    device = cpu_target(TWO).opened()
    lane, other = device.lanes.values()
    part, again = (lane.capture(dict, None) for _ in range(2))
    chains = Chains(device)
    chain = chains.of(lane, [Mark.STAMP, part, part, Mark.STAMP])
    assert chains.of(lane, [Mark.STAMP, part, part, Mark.STAMP]) is chain
    different = [(other, [Mark.STAMP, part, part, Mark.STAMP]), (lane, [part, part]), (lane, [Mark.STAMP, part, again, Mark.STAMP])]  # fmt: skip
    assert len({id(chain), *(id(chains.of(*one)) for one in different)}) == 4
    chain.launch()
    assert len(chain.times()) == 2


def test_each_instance_has_a_pool_per_lane(cpu_target: Open) -> None:
    from multidnn.targets.cuda.memory import GraphMemory

    device = cpu_target(TWO).opened()
    memory = GraphMemory(device)
    parts = [
        memory.capture(lane, instance, dict) for lane in device.lanes.values() for instance in ("one", "other", "one")
    ]
    pools = [part.pool for part in parts]
    assert pools[0] is pools[2]
    assert pools[3] is pools[5]
    assert len({id(pool) for pool in pools}) == 4
    small, large = device.lanes.values()
    assert memory.small_kernel(small).lane is small
    assert memory.small_kernel(large).lane is large
