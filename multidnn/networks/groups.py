"""Chooses the groups of a network: from the graph alone, so that they are the same on every target.

A group should take about as long as any other and hand over little. Without measurements the time of a layer is taken
from the roofline of the chip the paper profiles, Jetson AGX Xavier (published: 512 CUDA cores at 1.377 GHz, that is
0.705e12 fp32 MAC/s; LPDDR4x at 136.5 GB/s): the larger of MACs over peak and bytes moved over bandwidth. A group
also pays for writing its output once more and reading it back. Dynamic programming over the cuts finds the groups
with the least sum of squared times.
"""

from collections.abc import Sequence

import numpy as np

from multidnn.errors import InputError
from multidnn.networks import GROUP_COUNT
from multidnn.networks.graph import Network

PEAK_MACS_PER_S = 512 * 1.377e9
BYTES_PER_S = 136.5e9

# a group shorter than this share of an even split is not worth a transition
SMALLEST_SHARE = 0.25

# a runtime computes the second kind together with a layer of the first, so a cut between costs a pass over memory
FUSED_INTO = frozenset({"Add", "BatchNormalization", "Conv", "ConvTranspose", "Gemm", "MatMul", "Mul", "Sum"})
FUSED = frozenset({"BatchNormalization", "Clip", "HardSwish", "LeakyRelu", "PRelu", "Relu", "Sigmoid"})

# GoogleNet's groups of Dagli and Belviranli (PPoPP 2024), transitions studied at these layers of 141; the network is
# recognised by the layers that join its nine inception modules
GOOGLENET_STARTS = (0, 10, 24, 38, 53, 67, 81, 95, 110, 124)
GOOGLENET_LAYERS = 141
GOOGLENET_JOINS = (23, 37, 52, 66, 80, 94, 108, 123, 137)


def choose_groups(
    network: Network, count: int | None = None, starts: Sequence[int] | None = None
) -> list[tuple[int, int]]:
    """Return groups as (first, last) layer indices, inclusive, that cover the network in order.

    Args:
        network: what to split.
        count: how many groups at most, by default 10; a network with few cuts, or whose cost sits in few places,
            gets fewer. GoogleNet gets the paper's ten groups when `count` is 10 or left out.
        starts: the first layer of each group, in place of an automatic choice; 0 may be left out.

    Raises:
        InputError: `count` is below 1, or a start is not a cut (the message lists cuts near it).
    """
    if starts is not None:
        return _spans(network, _checked(network, starts))
    count = GROUP_COUNT if count is None else count
    if count < 1:
        raise InputError(f"{network.source}: found {count} groups, expected at least 1")
    if count == GROUP_COUNT and _is_googlenet(network):
        return _spans(network, GOOGLENET_STARTS)
    return _spans(network, _balanced(network, count))


def handover_cuts(network: Network) -> list[int]:
    """Return the cuts between which groups may lie: those whose tensor is fp32, what every target hands over."""
    return [cut for cut, tensor in network.cut_tensors.items() if network.dtypes[tensor] == np.float32]


def _spans(network: Network, starts: Sequence[int]) -> list[tuple[int, int]]:
    ends = [*starts[1:], len(network.layers)]
    return [(first, end - 1) for first, end in zip(starts, ends, strict=True)]


def _checked(network: Network, starts: Sequence[int]) -> list[int]:
    whole = [start for start in starts if isinstance(start, int) and not isinstance(start, bool)]
    found = sorted({0, *whole})
    if list(starts) not in (found, found[1:]) or len(whole) != len(starts):
        raise InputError(f"{network.source}: group starts {list(starts)} are not ascending layer indices")
    legal = handover_cuts(network)
    for start in found[1:]:
        if start not in legal:
            near = sorted(sorted(legal, key=lambda cut: abs(cut - start))[:6])
            raise InputError(
                f"{network.source}: a group cannot start at layer {start}, more than one tensor is alive there (or the "
                f"one is not fp32); cuts near it: {', '.join(map(str, near)) or 'none'}"
            )
    return found


def _is_googlenet(network: Network) -> bool:
    joins = tuple(layer.index for layer in network.layers if layer.type == "Concat")
    return (
        len(network.layers) == GOOGLENET_LAYERS
        and joins == GOOGLENET_JOINS
        and set(GOOGLENET_STARTS[1:]) <= set(handover_cuts(network))
    )


def _balanced(network: Network, count: int) -> list[int]:
    times = [
        max(layer.macs / PEAK_MACS_PER_S, (layer.activation_bytes + layer.weight_bytes) / BYTES_PER_S)
        for layer in network.layers
    ]
    elapsed = np.concatenate([[0.0], np.cumsum(times)])
    layers = network.layers
    cuts = handover_cuts(network)
    starts = [0, *(cut for cut in cuts if not (layers[cut].type in FUSED and layers[cut - 1].type in FUSED_INTO))]
    positions = np.array([*starts, len(layers)])
    handover = np.array([0.0, *(2 * network.nbytes(network.cut_tensors[cut]) / BYTES_PER_S for cut in starts[1:]), 0.0])
    # row i, column j: the group from position i to position j, and whether it is long enough
    span = elapsed[positions][None, :] - elapsed[positions][:, None]
    cost = (span + handover[None, :]) ** 2
    for groups in range(min(count, len(starts)), 0, -1):
        allowed = span >= (SMALLEST_SHARE * elapsed[-1] / groups if groups > 1 else -1.0)
        allowed &= np.arange(len(positions))[None, :] > np.arange(len(positions))[:, None]
        edges = np.where(allowed, cost, np.inf)
        best = np.full(len(positions), np.inf)
        best[0] = 0.0
        origins = []
        for _ in range(groups):
            candidates = best[:, None] + edges
            origins.append(np.argmin(candidates, axis=0))
            best = np.min(candidates, axis=0)
        if np.isfinite(best[-1]):
            chosen, position = [], len(positions) - 1
            for origin in reversed(origins):
                position = int(origin[position])
                chosen.append(int(positions[position]))
            return chosen[::-1]
    raise AssertionError("one group is always possible")
