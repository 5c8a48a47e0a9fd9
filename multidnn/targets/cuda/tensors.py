"""Where the tensors that cross groups are: on the device once per lane, and in the host's memory for who asks."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from multidnn.networks.exported import ExportedNetwork
from multidnn.targets.cuda.batching import batched
from multidnn.targets.cuda.device import Device, Lane
from multidnn.targets.cuda.groups import outputs_of

Key = tuple[str, str]
# the lane of network inputs, which every lane reads from one place
_SHARED = ""


class Tensors:
    """All tensors that cross groups, of all instances.

    On the device, the inputs of a network are float32 in one place. Every other tensor has a place on each lane: where
    that lane's group writes it, and where that lane's next group reads it, in the lane's precision and layout. A lane
    that takes over from another copies the tensor to its own place.

    On the host, a tensor has a mirror (pinned float32) from the first time that someone asks for it. Mirrors are
    uploaded, to every place, before each run, and downloaded after it.
    """

    def __init__(self, device: Device, instances: Mapping[str, ExportedNetwork]) -> None:
        self._device = device
        self._instances = instances
        self._shapes: dict[Key, tuple[int, ...]] = {}
        self._places: dict[Key, dict[str, Any]] = {}
        self._written: dict[Key, str] = {}
        self._mirrors: dict[Key, Any] = {}
        self._inputs = {(instance, name) for instance, network in instances.items() for name in network.inputs}
        for instance, network in instances.items():
            for shapes in (network.inputs, *(part for g in network.groups for part in (g.inputs, g.outputs))):
                for name, shape in shapes.items():
                    self._shapes[instance, name] = batched(shape, device.spec.batch) if shape else shape
        for key in self._inputs:
            self._places[key] = {_SHARED: self._new(key)}

    def _new(self, key: Key) -> Any:
        tensor = torch.zeros(self._shapes[key], dtype=torch.float32, device=self._device.name)
        torch.cuda.current_stream().synchronize()
        return tensor

    def place(self, lane: Lane, instance: str, name: str) -> Any:
        """Return where `lane` reads a tensor; made here if its own groups have not made it."""
        key = (instance, name)
        if key in self._inputs:
            return self._places[key][_SHARED]
        places = self._places.setdefault(key, {})
        if lane.name not in places:
            places[lane.name] = lane.precision.arranged(self._new(key))
            # the lane's stream does not wait for the one that this ran on
            self._device.synchronize()
        return places[lane.name]

    def existing(self, lane: Lane, instance: str, name: str) -> Any | None:
        """Return the place of a tensor on `lane` if there is one already."""
        return self._places.get((instance, name), {}).get(lane.name)

    def keep(self, lane: Lane, instance: str, outputs: Mapping[str, Any]) -> None:
        """Take note of where `lane` writes tensors."""
        for name, tensor in outputs.items():
            self._places.setdefault((instance, name), {})[lane.name] = tensor

    def written(self, lane: Lane, instance: str, group: int) -> None:
        """Take note that a run has written what a group gives, on `lane`."""
        for name in outputs_of(self._instances[instance], group):
            self._written[instance, name] = lane.name

    def mirror(self, instance: str, name: str) -> NDArray[np.float32]:
        """Return the host's array of a tensor; it holds what the device has."""
        key = (instance, name)
        if key not in self._mirrors:
            self._mirrors[key] = torch.zeros(self._shapes[key], dtype=torch.float32).pin_memory()
            self._download(key)
        array: NDArray[np.float32] = self._mirrors[key].numpy()
        return array

    def upload(self) -> None:
        """Copy every mirror to all places of its tensor."""
        if not self._mirrors:
            return
        with torch.cuda.stream(self._device.main_stream):
            for key, mirror in self._mirrors.items():
                for place in self._places.get(key, {}).values():
                    place.copy_(mirror, non_blocking=True)
        self._device.main_stream.synchronize()

    def download(self) -> None:
        """Copy every tensor that has a mirror to it, from where it was written last."""
        for key in self._mirrors:
            self._download(key)

    def _download(self, key: Key) -> None:
        places = self._places.get(key, {})
        # a tensor that nothing has written yet is the same everywhere
        source = (
            places.get(self._written.get(key, _SHARED)) if key in self._written else next(iter(places.values()), None)
        )
        if source is None:
            return
        with torch.cuda.stream(self._device.main_stream):
            self._mirrors[key].copy_(source.float(), non_blocking=True)
        self._device.main_stream.synchronize()

    def fill(self, rng: np.random.Generator, only_inputs: bool) -> None:
        """Write standard normal noise into the inputs, or into every tensor, wherever they are."""
        for key, shape in self._shapes.items():
            if only_inputs and key not in self._inputs:
                continue
            noise = torch.from_numpy(rng.standard_normal(shape, dtype=np.float32))
            if key in self._mirrors:
                self._mirrors[key].copy_(noise)
            for place in self._places.get(key, {}).values():
                place.copy_(noise)
        torch.cuda.current_stream().synchronize()

    def close(self) -> None:
        """Free all places and mirrors; arrays that were given out stay with who has them."""
        self._shapes, self._places, self._mirrors = {}, {}, {}
        self._written, self._inputs = {}, set()
