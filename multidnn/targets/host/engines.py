"""The inference runtimes of the host target behind one small interface: load a model, bind buffers, call."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from multidnn.errors import InputError, suggestion
from multidnn.targets.host.arena import Tensor

Call = Callable[[], object]


class Engine(Protocol):
    """A model compiled for a number of threads."""

    def bind(self, inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor]) -> Call:
        """Return a call that reads `inputs` and writes `outputs` in place, without copies."""
        ...


class OnnxRuntimeEngine:
    """ONNX Runtime's CPU execution provider, https://onnxruntime.ai/docs/performance/tune-performance/threading.html.

    Args:
        model: ONNX file.
        threads: threads of one call.
        shared: other work runs on the same cores, so idle threads must sleep instead of spinning.
    """

    def __init__(self, model: Path, threads: int, shared: bool) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0" if shared else "1")
        options.add_session_config_entry("session.force_spinning_stop", "1")
        self._session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])

    def bind(self, inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor]) -> Call:
        """See `Engine.bind`."""
        binding = self._session.io_binding()
        for name, tensor in inputs.items():
            binding.bind_input(name, "cpu", 0, tensor.dtype, tensor.shape, tensor.ctypes.data)
        for name, tensor in outputs.items():
            binding.bind_output(name, "cpu", 0, tensor.dtype, tensor.shape, tensor.ctypes.data)
        run = self._session.run_with_iobinding
        return lambda: run(binding)


class OpenVinoEngine:
    """OpenVINO's CPU plugin, https://docs.openvino.ai (CPU device, performance hints).

    Args:
        model: ONNX file.
        threads: threads of one call.
        shared: unused; OpenVINO's idle threads sleep.
    """

    def __init__(self, model: Path, threads: int, shared: bool) -> None:
        import openvino

        core = openvino.Core()
        options = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            # the process is pinned already; without this the plugin pins its threads again by its own rules
            "ENABLE_CPU_PINNING": False,
            # bf16 on newer CPUs would be a different network from the other accelerator's
            "INFERENCE_PRECISION_HINT": "f32",
        }
        self._tensor = openvino.Tensor
        self._model = core.compile_model(core.read_model(str(model)), "CPU", options)

    def bind(self, inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor]) -> Call:
        """See `Engine.bind`."""
        request = self._model.create_infer_request()
        for name, tensor in (*inputs.items(), *outputs.items()):
            request.set_tensor(name, self._tensor(tensor, shared_memory=True))
        infer: Call = request.infer
        return infer


RUNTIMES: dict[str, Callable[[Path, int, bool], Engine]] = {
    "onnxruntime": OnnxRuntimeEngine,
    "openvino": OpenVinoEngine,
}


def load_engine(runtime: str, model: Path, threads: int, shared: bool = False) -> Engine:
    """Return `model` loaded in `runtime`; a file that the runtime refuses is an `InputError` naming both."""
    if runtime not in RUNTIMES:
        raise InputError(f"runtime {runtime!r} is unknown{suggestion(runtime, RUNTIMES)}; known: {', '.join(RUNTIMES)}")
    try:
        return RUNTIMES[runtime](model, threads, shared)
    except Exception as error:  # each runtime has exception types of its own, not all of them public
        raise InputError(f"{model}: {runtime} cannot load it: {str(error).strip().splitlines()[0]}") from error


def spins(runtime: str) -> bool:
    """Tell whether idle threads of `runtime` spin unless it is told that others share its cores."""
    return runtime == "onnxruntime"


def runtime_versions() -> dict[str, str]:
    """Return the installed version of each runtime."""
    from importlib.metadata import version

    return {name: version(name) for name in RUNTIMES}
