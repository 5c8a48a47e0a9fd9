"""Engines in this process: loaded on their DLA core, bound to memory, run and timed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Mapping

import numpy as np
import pycuda.driver as cuda

from . import api
from .arena import Arena, Layout, Slot
from .driver import NotRegisteredError, register, unregister
from .errors import BoardError
from .log import LogLines, make_logger


class Loader:
    """Deserialises engines for one DLA core (None: whatever TensorRT takes, for engines that use the GPU alone)."""

    def __init__(self, dla_core: int | None) -> None:
        api.check_supported()
        self.lines = LogLines()
        logger = make_logger(self.lines)
        self._runtime = api.open_runtime(logger)
        if dla_core is not None:
            # the core is fixed when an engine is deserialised, not when it is built
            self._runtime.DLA_core = dla_core

    def load(self, path: Path) -> Engine:
        """Return the engine in the file `path`."""
        try:
            content = path.read_bytes()
        except OSError as error:
            raise BoardError(f"engine {path} cannot be read: {error.strerror}") from None
        mark = self.lines.mark()
        engine = self._runtime.deserialize_cuda_engine(content)
        if engine is None:
            raise BoardError(f"TensorRT {api.VERSION} cannot load engine {path}: {self.lines.errors(mark)}")
        return Engine(engine, path)


class Engine:
    """A loaded engine: its inputs and outputs, and executions with addresses of their own."""

    def __init__(self, engine: Any, path: Path) -> None:
        self._engine = engine
        self.path = path
        self.inputs: dict[str, tuple[int, ...]] = {}
        self.outputs: dict[str, tuple[int, ...]] = {}
        self.types: dict[str, Any] = {}
        for name, is_input, shape, dtype in api.tensors(engine):
            (self.inputs if is_input else self.outputs)[name] = shape
            # in the engine's order, by which older versions take addresses
            self.types[name] = api.numpy_type(dtype)

    def execution(self, addresses: Mapping[str, int]) -> api.Execution:
        """Return an execution of its own on these device addresses."""
        context = self._engine.create_execution_context()
        if context is None:
            raise BoardError(f"TensorRT has no memory for an execution of engine {self.path}")
        return api.Execution(context, {name: addresses[name] for name in self.types})


class Call:
    """One execution that can be run over and over: copies in where needed, the engine, copies out, until all is done."""

    def __init__(self, execution: api.Execution, stream: Any, path: Path) -> None:
        self._enqueue = execution.enqueue
        self._stream = stream
        self._handle = int(stream.handle)
        self._path = path
        self.execution = execution
        self.copies_in: list[tuple[Any, Any]] = []
        self.copies_out: list[tuple[Any, Any]] = []

    def enqueue(self) -> None:
        """Enqueue it without waiting for it."""
        for device, host in self.copies_in:
            cuda.memcpy_htod_async(device, host, self._stream)
        if not self._enqueue(self._handle):
            raise BoardError(f"TensorRT refused to execute engine {self._path}")
        for device, host in self.copies_out:
            cuda.memcpy_dtoh_async(host, device, self._stream)

    def run(self) -> None:
        """Run it once; return when its outputs are written."""
        self.enqueue()
        self._stream.synchronize()


def call_in_arena(
    engine: Engine, stream: Any, arena: Arena, slots: Mapping[str, Slot], base: int | None, instance: str
) -> Call:
    """Return a call on tensors of the arena.

    Args:
        slots: places of the instance's tensors by name.
        base: device address of the arena where the device reads it in place; None: through device memory and copies.
        instance: for messages.
    """
    shapes = {**engine.inputs, **engine.outputs}
    for name, shape in shapes.items():
        if name not in slots:
            raise BoardError(f"engine {engine.path} has {name!r}, which is no tensor of instance {instance!r}")
        if engine.types[name] != np.float32:
            raise BoardError(
                f"engine {engine.path}: {name!r} is {engine.types[name]}; what is handed over must be float32"
            )
        if slots[name].shape != shape:
            raise BoardError(
                f"engine {engine.path} has {name!r} of shape {list(shape)}; tensors of {instance!r} says "
                f"{list(slots[name].shape)}"
            )
    if base is not None:
        return Call(engine.execution({name: base + slots[name].offset for name in shapes}), stream, engine.path)
    memory = {name: cuda.mem_alloc(slots[name].nbytes) for name in shapes}
    call = Call(engine.execution({name: int(memory[name]) for name in shapes}), stream, engine.path)
    call.copies_in = [(memory[name], arena.tensor(slots[name])) for name in engine.inputs]
    call.copies_out = [(memory[name], arena.tensor(slots[name])) for name in engine.outputs]
    return call


class OwnMemory:
    """Memory for the inputs and outputs of one engine, filled with normal noise.

    It is of the kind that a run hands tensors over in, so that what is measured alone holds there too: host memory that
    the device reads in place (`kind` "mapped") where it can, else the device's own ("device").
    """

    def __init__(self, engine: Engine, rng: Any) -> None:
        layout = Layout()
        contents = {}
        for name, shape in {**engine.inputs, **engine.outputs}.items():
            contents[name] = rng.standard_normal(shape).astype(engine.types[name])
            # places are counted in units of four bytes
            layout.add("", name, (-(-contents[name].nbytes // 4),))
        slots = layout.slots[""]
        self._arena: Arena | None = Arena(layout)
        self._device: dict[str, Any] = {}
        try:
            base = register(self._arena.address, layout.size)
        except NotRegisteredError:
            self._arena = None
            self._device = {name: cuda.mem_alloc(content.nbytes) for name, content in contents.items()}
            for name, content in contents.items():
                cuda.memcpy_htod(self._device[name], content)
            self.addresses = {name: int(memory) for name, memory in self._device.items()}
        else:
            for name, content in contents.items():
                self._arena.tensor(slots[name]).view(np.uint8)[: content.nbytes] = content.reshape(-1).view(np.uint8)
            self.addresses = {name: base + slots[name].offset for name in contents}
        self.kind = "device" if self._arena is None else "mapped"

    def close(self) -> None:
        """Give it back; the engine must not run any more."""
        if self._arena is not None:
            unregister(self._arena.address)
        self._arena, self._device = None, {}


def call_alone(engine: Engine, stream: Any, memory: OwnMemory) -> Call:
    """Return a call on memory of the engine's own."""
    return Call(engine.execution(memory.addresses), stream, engine.path)


def time_call(call: Call, stream: Any, repeats: int) -> float:
    """Return milliseconds of one execution by CUDA events, the mean over `repeats` in a row."""
    begin, end = cuda.Event(), cuda.Event()
    begin.record(stream)
    for _ in range(repeats):
        call.enqueue()
    end.record(stream)
    end.synchronize()
    return float(end.time_since(begin)) / repeats
