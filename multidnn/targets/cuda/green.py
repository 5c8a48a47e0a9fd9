"""Green contexts: parts of a GPU that own disjoint multiprocessors and share its memory.

torch.cuda.green_contexts asks the driver for each context on its own, so that two of them get the same SMs; here the
contexts of a split come from one division of the device. Kernels launched into a stream of a green context, by torch
too, run on its SMs only, and a graph captured from such a stream keeps that for each of its nodes (both checked by
tests/targets/cuda/device_check.py).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from multidnn.errors import InputError
from multidnn.targets.cuda.driver import check
from multidnn.targets.cuda.partitions import Division, divide
from multidnn.targets.cuda.spec import Size

# CU_DEV_SM_RESOURCE_SPLIT_IGNORE_SM_COSCHEDULING and _MAX_POTENTIAL_CLUSTER_SIZE of cuda.h; versions of cuda-bindings
# name their enumeration differently
_IGNORE_COSCHEDULING = 1
_LARGE_CLUSTERS = 2
# SMs that stay together for the largest thread-block clusters; dealt out in fewer, no partition would hold one
_LARGEST_CLUSTER = 16


@dataclass(frozen=True)
class GreenContext:
    """One partition: the driver's context, a stream in it, and its SMs. `clusters` says whether the driver keeps SMs
    together that kernels with thread-block clusters need."""

    context: Any
    stream: int
    sms: int
    clusters: bool


def multiprocessors(device: int, large_clusters: bool) -> tuple[int, int]:
    """Return how many SMs `device` has, and in units of how many they are dealt out.

    Args:
        large_clusters: whether a partition must hold the largest thread-block clusters.

    Raises:
        InputError: the driver cannot partition this device.
    """
    sm = _resource(device).sm
    # drivers before CUDA 13 do not say; 8 is right for every device since compute capability 9.0
    unit = max(int(getattr(sm, "smCoscheduledAlignment", 0)), 8)
    return int(sm.smCount), math.lcm(unit, _LARGEST_CLUSTER) if large_clusters else unit


def create(device: int, wanted: Mapping[str, Size], large_clusters: bool, place: str) -> dict[str, GreenContext]:
    """Return a green context per partition of one split; `large_clusters` keeps 16 SMs together rather than 8.

    Raises:
        InputError: the partitions do not fit, or the driver refuses.
    """
    from cuda.bindings import driver

    total, granularity = multiprocessors(device, large_clusters)
    division = divide(wanted, total, granularity, place)
    groups, rest, clusters = _dealt(device, division, large_clusters, place)
    contexts: dict[str, GreenContext] = {}
    for name, count in division.groups.items():
        resources = [rest] if name == division.rest else [groups.pop(0) for _ in range(count)]
        description = check(driver.cuDevResourceGenerateDesc(resources, len(resources)), f"describing {name}")
        green = check(
            driver.cuGreenCtxCreate(
                description, _handle(device), driver.CUgreenCtxCreate_flags.CU_GREEN_CTX_DEFAULT_STREAM
            ),
            f"making partition {name}",
        )
        stream = check(
            driver.cuGreenCtxStreamCreate(green, driver.CUstream_flags.CU_STREAM_NON_BLOCKING, 0),
            f"making the stream of partition {name}",
        )
        found = check(
            driver.cuGreenCtxGetDevResource(green, driver.CUdevResourceType.CU_DEV_RESOURCE_TYPE_SM),
            f"reading partition {name}",
        )
        context = check(driver.cuCtxFromGreenCtx(green), f"reading partition {name}")
        contexts[name] = GreenContext(context, int(stream), int(found.sm.smCount), clusters)
        asked = wanted[name]
        least = asked if isinstance(asked, int) else division.counts[name]
        if contexts[name].sms < least:
            raise InputError(f"{place}: the driver gave {name} {contexts[name].sms} SMs, not {least}")
    return contexts


def _handle(device: int) -> Any:
    from cuda.bindings import driver

    return check(driver.cuDeviceGet(device), f"opening CUDA device {device}")


def _resource(device: int) -> Any:
    from cuda.bindings import driver

    return check(
        driver.cuDeviceGetDevResource(_handle(device), driver.CUdevResourceType.CU_DEV_RESOURCE_TYPE_SM),
        "asking for the multiprocessors (green contexts need a driver of CUDA 12.4 or newer)",
    )


def _dealt(device: int, division: Division, large_clusters: bool, place: str) -> tuple[list[Any], Any, bool]:
    """Return equal groups of SMs, the rest, and whether SMs that clusters need stay together."""
    from cuda.bindings import driver

    needed = sum(division.groups.values())
    resource = _resource(device)
    if not needed:
        return [], resource, True
    # the driver deals out more groups if it need not keep neighbours together
    for flags in (_LARGE_CLUSTERS,) if large_clusters else (0, _IGNORE_COSCHEDULING):
        groups, found, rest = check(
            driver.cuDevSmResourceSplitByCount(needed, resource, flags, division.unit), "dividing the multiprocessors"
        )
        groups = list(groups)[: int(found)]
        counts_right = all(int(group.sm.smCount) == division.unit for group in groups)
        rest_right = division.rest is None or int(rest.sm.smCount) == division.counts[division.rest]
        if len(groups) == needed and counts_right and rest_right:
            return groups, rest, flags != _IGNORE_COSCHEDULING
    raise InputError(
        f"{place}: the driver gives {len(groups)} groups of {division.unit} SMs and {int(rest.sm.smCount)} left over, "
        f"not {needed} as wanted; choose other sizes"
    )
