"""From TensorRT's layer profiles to the times of groups: on the GPU by layer names, on the DLA by differences of waits."""

import bisect
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from multidnn.errors import InputError, suggestion
from multidnn.targets.jetson.parsers.names import block
from multidnn.targets.jetson.parsers.profile import Profile, ProfileLayer

# how a profile shows a DLA block: "submission" as 7.1 does, "inclusive" as 8.5 and later do (8.0 to 8.4 were not recorded)
DlaForm = Literal["submission", "inclusive"]

# what TensorRT puts in front of the name of a layer that it inserts before or after one of the network
_INSERTED = re.compile(
    r"^(?:copied_)?(?:squeeze|unsqueeze|unsqueeze_node|reshape|shuffle|transpose)_(?:after|before)_(.+)$"
)
_BETWEEN = re.compile(r"^(?:copied_)?(?:shuffle|reshape)_between_(.+)_and_(.+)$")
# and what it puts behind it
_ADDED = re.compile(r"^(.+?)(?:_clone_\d+|_myl\d+_\d+| \[[A-Za-z ]+\]|_\(Unnamed Layer\* \d+\) \[[A-Za-z ]+\]_output)$")


@dataclass(frozen=True)
class Straddling:
    """An entry made of layers of several groups; its whole time was given to `groups[0]`, the group of its first part."""

    name: str
    time_ms: float
    groups: tuple[int, ...]


@dataclass(frozen=True)
class GroupTimes:
    """GPU times of groups in ms per iteration.

    `times_ms`: None for a group that no entry belongs to (it ran elsewhere, or was fused into another group: see
    `straddling`). `apart`: reformatters, copies and waits, and the blocks on the DLA; not part of any group's time.
    """

    times_ms: tuple[float | None, ...]
    straddling: tuple[Straddling, ...]
    apart: tuple[ProfileLayer, ...]

    @property
    def apart_ms(self) -> float:
        """What the entries apart take together, per iteration."""
        return sum(entry.time_ms for entry in self.apart)


def on_dla(entry: ProfileLayer, dla_blocks: Collection[str] = ()) -> bool:
    """Return whether the entry is a block on the DLA: ``{a,b}`` (7.1 names only DLA blocks so), or one of `dla_blocks`."""
    return entry.kind == "foreign" and (entry.name in dla_blocks or _submission(entry))


def _submission(entry: ProfileLayer) -> bool:
    return entry.kind == "foreign" and entry.name.startswith("{") and not entry.name.startswith("{ForeignNode[")


def gpu_group_times(
    profile: Profile,
    groups: Sequence[Sequence[str]],
    dla_blocks: Collection[str] = (),
    origins: Mapping[str, Sequence[str]] | None = None,
) -> GroupTimes:
    """Return what each group takes on the GPU, by the names of its layers (of the ONNX or Caffe network).

    An entry belongs to the group of its first part that is a layer of the network; parts that TensorRT made itself
    (constants, unnamed layers) do not count beside it. An entry whose parts lie in several groups goes to the first
    part's group as a whole, since its kernel cannot be divided, and is reported in `straddling`: the sum over the groups
    stays right, and with groups that never begin between a convolution and its activation it does not happen.
    ``X copy`` (a concatenation) counts for X's group. `dla_blocks`: blocks that the build log or the inspector places on
    the DLA; they are set apart. Other ForeignNodes are Myelin's on the GPU: they belong to the group of their ends.

    Some names say nothing of layers: kernels of Myelin (``__myl_...``), and copies that are called after a tensor. They
    belong to the layers that `origins` gives (`layer_info.origins`: what the engine inspector says), or else to the group
    of the entries around them if both are of the same one.

    Raises:
        InputError: an entry that matches no group, a layer in two groups, or a GPU block from one group into another.
    """
    owner: dict[str, int] = {}
    for index, names in enumerate(groups):
        for name in names:
            if owner.setdefault(name, index) != index:
                raise InputError(f"layer {name!r} is in group {owner[name]} and in group {index}; expected one")
    collected = _Collected(profile, len(groups))
    named = [
        None if _apart(entry, dla_blocks) else [group for part in entry.parts for group in _owners(part, owner)]
        for entry in profile.layers
    ]
    for position, (entry, found) in enumerate(zip(profile.layers, named, strict=True)):
        if found is None:
            collected.apart.append(entry)
            continue
        if not found:
            found = [group for part in (origins or {}).get(entry.name, ()) for group in _owners(part, owner)]
            if found:
                # the inspector names every layer, so a kernel of several groups is as any fused one
                collected.add(entry, found, is_block=False)
                continue
            found = _around(named, position)
        if not found:
            hint = suggestion(entry.parts[0], owner) if entry.parts else ""
            raise InputError(
                f"{profile.at(entry)}: {entry.name!r} matches no layer of any group{hint}; expected an entry that is made of "
                "the network's layers, or a reformatter"
            )
        collected.add(entry, found)
    return collected.result()


def gpu_group_times_by_index(profile: Profile, starts: Sequence[int]) -> GroupTimes:
    """Return what each group takes on the GPU, groups given by their first TensorRT layer (ascending, from 0).

    For profiles without a network to take names from. As the paper's artifact counts: every entry that is no
    reformatter stands for as many layers as its name joins, ``X copy`` for the concatenation that it belongs to, and
    entries follow each other as the layers do. That holds at cuts where one tensor is alive, not within a module.

    Raises:
        InputError: the starts do not ascend from 0 or reach beyond the layers, or the profile holds a block, which does
            not say how many layers it stands for.
    """
    if not starts or starts[0] != 0 or any(b <= a for a, b in pairwise(starts)):
        raise InputError(f"groups start at layers {list(starts)}, expected ascending numbers from 0")
    collected = _Collected(profile, len(starts))
    first = 0
    for entry in profile.layers:
        if entry.kind == "reformat":
            collected.apart.append(entry)
            continue
        if entry.kind == "foreign":
            raise InputError(
                f"{profile.at(entry)}: the block {entry.name[:60]!r} does not say which layers it stands for; count layers in "
                "the profile of an engine that runs on the GPU alone, without blocks"
            )
        last = first + len(entry.parts) - 1
        collected.add(entry, range(bisect.bisect(starts, first) - 1, bisect.bisect(starts, last)))
        first = last + 1
    if starts[-1] >= first:
        raise InputError(
            f"{profile.place}: the last group starts at layer {starts[-1]}, the profile has {first} layers"
        )
    return collected.result()


class _Collected:
    """Sums entries into groups."""

    def __init__(self, profile: Profile, count: int) -> None:
        self.profile = profile
        self.times: list[float | None] = [None] * count
        self.straddling: list[Straddling] = []
        self.apart: list[ProfileLayer] = []

    def add(self, entry: ProfileLayer, groups: Sequence[int], is_block: bool | None = None) -> None:
        """Give the entry to the first of `groups`, those that its parts lie in; a block must lie in one."""
        distinct = tuple(dict.fromkeys(groups))
        if len(distinct) > 1:
            if entry.kind == "foreign" if is_block is None else is_block:
                raise InputError(
                    f"{self.profile.at(entry)}: the block {entry.name!r} reaches from group {distinct[0]} into group "
                    f"{distinct[-1]}, and nothing says how its time divides; if it is on the DLA, name it so, otherwise "
                    "measure engines that end at the groups' borders"
                )
            self.straddling.append(Straddling(entry.name, entry.time_ms, distinct))
        self.times[distinct[0]] = (self.times[distinct[0]] or 0.0) + entry.time_ms

    def result(self) -> GroupTimes:
        return GroupTimes(tuple(self.times), tuple(self.straddling), tuple(self.apart))


def _apart(entry: ProfileLayer, dla_blocks: Collection[str]) -> bool:
    """Return whether the entry is a reformatter or a block on the DLA."""
    return entry.kind == "reformat" or on_dla(entry, dla_blocks)


def _around(named: Sequence[Sequence[int] | None], position: int) -> list[int]:
    """Return the group of the entries before and after `position` that are known, if it is the same."""
    before = next((groups[-1] for groups in reversed(named[:position]) if groups), None)
    after = next((groups[0] for groups in named[position + 1 :] if groups), None)
    return [before] if before is not None and before == after else []


def _owners(part: str, owner: Mapping[str, int]) -> list[int]:
    """Return the group of the layer that `part` is or was made from, if there is one."""
    if part in owner:
        return [owner[part]]
    if between := _BETWEEN.match(part):
        return [group for end in between.groups() for group in _owners(end, owner)][:1]
    for pattern in (_INSERTED, _ADDED):
        if found := pattern.match(part):
            return _owners(found[1], owner)
    return []


def dla_wait(profile: Profile, form: DlaForm, dla_blocks: Collection[str] | None = None) -> float:
    """Return how long an iteration waits for the DLA, in ms, from the profile of an engine that ends on it.

    `form` says how this TensorRT accounts for the DLA, which nothing in the file says:

    - "submission" (7.1): a ``{a,b,...}`` entry is over once the work is submitted, and the time passes in whatever waits
      for the result (a reformatter, ``finish``). So the wait is everything after the first entry of the block up to, not
      including, the next layer on the GPU (such as ``prob``). That first entry is the block's input reformatter where
      the GPU ran before, and the block itself in an engine that starts on the DLA; there the rule also counts ``data
      copy finish`` (GoogleNet on Xavier: 3.352, where the longest entry alone is 3.332).
    - "inclusive" (8.5 and later): the ForeignNode carries the time itself, reformatters around it run on the GPU. So the
      wait is what the blocks take. `dla_blocks` names them (from the build log or the inspector), because a ForeignNode
      may just as well be Myelin's on the GPU.

    Raises:
        InputError: the profile has no such block, or is of the other form.
    """
    blocks = [entry for entry in profile.layers if entry.kind == "foreign"]
    submitted = [entry for entry in blocks if _submission(entry)]
    if form == "submission":
        others = [entry for entry in blocks if not _submission(entry)]
        if others or not submitted:
            what = f"found {others[0].name[:60]!r}" if others else "found no block"
            raise InputError(
                f"{profile.place}:{(others or profile.layers)[0].line}: {what}, expected a DLA block of TensorRT 7.1, "
                "'{layer,layer,...}'"
            )
        return _submitted_wait(profile)
    if submitted:
        raise InputError(
            f"{profile.at(submitted[0])}: {_refusal(submitted[0])}; take the wait in the form 'submission'"
        )
    if dla_blocks is None:
        raise InputError(
            f"{profile.place}:1: a ForeignNode may be on the DLA or Myelin's on the GPU; say which blocks are on the DLA "
            "(parse the build log or the layer information)"
        )
    known = {entry.name for entry in blocks}
    for name in dla_blocks:
        if name not in known:
            raise InputError(
                f"{profile.place}:1: the profile has no DLA block {name!r}; found {', '.join(known) or 'no block'}"
            )
    if not dla_blocks:
        raise InputError(f"{profile.place}:1: no block is on the DLA, so nothing waits for it")
    return sum(entry.time_ms for entry in blocks if entry.name in dla_blocks)


def _submitted_wait(profile: Profile) -> float:
    wait, waiting = 0.0, False
    for entry in profile.layers:
        if waiting and entry.kind == "layer":
            waiting = False
        elif waiting:
            wait += entry.time_ms
        elif entry.name.startswith("{"):
            waiting = True
    return wait


def dla_block_times(profile: Profile, dla_blocks: Collection[str]) -> dict[str, float]:
    """Return what each block on the DLA takes, in ms, from a profile of TensorRT 8.5 or later.

    Raises:
        InputError: the profile is of 7.1, whose blocks hold no time of the DLA, or a block is not in it.
    """
    for entry in profile.layers:
        if _submission(entry):
            raise InputError(
                f"{profile.at(entry)}: {_refusal(entry)}; measure engines that move to the DLA at successive cuts"
            )
    return {name: dla_wait(profile, "inclusive", [name]) for name in dla_blocks}


def dla_layer_times(profile: Profile) -> dict[str, float]:
    """Refuse to read times of single layers on the DLA out of a profile, which is what the paper's artifact did.

    Raises:
        InputError: always, if a block is in the profile; a profile without one has no layer on the DLA, and {} is returned.
    """
    for entry in profile.layers:
        if _submission(entry):
            raise InputError(
                f"{profile.at(entry)}: {_refusal(entry)}; take differences of the waits of engines that move to the DLA at "
                "successive cuts (dla_wait, dla_group_times)"
            )
        if entry.kind == "foreign" and block(entry.name):
            raise InputError(
                f"{profile.at(entry)}: the block {entry.name[:60]!r} has one time for all its layers; take differences between "
                "engines that move to the DLA at successive cuts (dla_wait, dla_group_times)"
            )
    return {}


def _refusal(entry: ProfileLayer) -> str:
    return (
        f"the entry {entry.name[:40]!r}... takes {entry.time_ms:.4g} ms to submit its work and says nothing of how long the DLA "
        "takes: in profiles of TensorRT 7.1 '{...}' entries hold submission time only, the DLA's time shows on the entry "
        "that waits for it"
    )


def dla_group_times(waits: Mapping[int, float], whole_ms: float, noise_ms: float = 0.0) -> tuple[float, ...]:
    """Return what each group takes on the DLA in ms: how much less one waits when the DLA begins one cut later.

    `waits`: from a cut (first layer after it) to the wait of the engine that moves to the DLA there; `whole_ms`: the
    wait of the engine that is on the DLA from the start. The group before the first cut takes the whole wait less the
    first cut's, the last group takes the last cut's wait; together they take `whole_ms` where no wait was adjusted.

    A wait that does not fall from one cut to the next by more than `noise_ms` against the order is an error. Up to
    `noise_ms` it is noise of the measurement: the waits concerned are replaced by their mean (isotonic regression), so
    the group between them takes 0, its neighbours change by half the contradiction, and no time is ever negative. An
    adjustment that reaches the whole wait changes the sum by as little.

    Raises:
        InputError: a wait rises by more than `noise_ms`, or is not a positive number.
    """
    cuts = sorted(waits)
    values = [whole_ms, *(waits[cut] for cut in cuts)]
    names = ["the whole network", *(f"cut {cut}" for cut in cuts)]
    for name, value in zip(names, values, strict=True):
        if not math.isfinite(value) or value <= 0:
            raise InputError(f"the DLA's wait at {name} is {value:g} ms, expected a positive number")
    for (before, longer), (after, shorter) in pairwise(zip(names, values, strict=True)):
        if shorter > longer + noise_ms or (shorter == longer and noise_ms == 0):
            raise InputError(
                f"the DLA's wait does not fall from {before} ({longer:.4f} ms) to {after} ({shorter:.4f} ms), although fewer "
                f"layers are left; up to {noise_ms:.3g} ms counts as noise: measure again, with clocks locked and nothing beside"
            )
    smooth = _falling(values)
    return tuple(a - b for a, b in pairwise([*smooth, 0.0]))


def _falling(values: Sequence[float]) -> list[float]:
    """Return the non-increasing sequence closest to `values` in least squares (pool adjacent violators)."""
    pools: list[tuple[float, int]] = []
    for value in values:
        pools.append((value, 1))
        while len(pools) > 1 and pools[-1][0] > pools[-2][0]:
            (last, many), (before, count) = pools.pop(), pools.pop()
            pools.append(((last * many + before * count) / (many + count), many + count))
    return [mean for mean, count in pools for _ in range(count)]
