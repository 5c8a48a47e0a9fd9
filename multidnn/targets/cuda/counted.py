"""The child process of `counting`: runs every group of some networks once, a marker kernel before and after each.

Started under ncu as ``python -m multidnn.targets.cuda.counted JSON``; prints nothing of its own.
"""

import json
import sys
from pathlib import Path

from multidnn.errors import exit_on_input_error


def main() -> None:
    """Run the job that the JSON in the first argument describes."""
    from multidnn.targets.cuda.driver import require_gpu

    job = json.loads(sys.argv[1])
    require_gpu(job["device"])
    import torch

    from multidnn.targets.cuda.batching import batched
    from multidnn.targets.cuda.counting import MARKER
    from multidnn.targets.cuda.executor import Program, WeightStore
    from multidnn.targets.cuda.kernels import kernels_of, pointer
    from multidnn.targets.cuda.model import read_model
    from multidnn.targets.cuda.precision import Precision

    kernels, times = kernels_of(job["device"]), torch.zeros(1, dtype=torch.int64, device="cuda")
    precision = Precision(job["precision"])

    def mark() -> None:
        kernels.launch(MARKER, 1, 1, int(torch.cuda.current_stream().cuda_stream), [pointer(times.data_ptr())])

    for paths in job["networks"]:
        store = WeightStore("cuda")
        values = {}
        with precision.applied():
            programs = [Program(Path(path), precision, job["batch"], store) for path in paths]
            for name, shape in read_model(Path(paths[0])).inputs.items():
                values[name] = torch.randn(batched(shape, job["batch"]), device="cuda")
            # two passes to set everything up, a third that is counted
            for counting in (False, False, True):
                if counting:
                    torch.cuda.synchronize()
                    torch.cuda.profiler.start()
                for program in programs:
                    mark()
                    values |= program.run(values)
                torch.cuda.synchronize()
                torch.cuda.profiler.stop()
    # the last marker, or the only one: whether counters can be read at all
    mark()
    torch.cuda.synchronize()
    torch.cuda.profiler.start()
    mark()
    torch.cuda.synchronize()
    torch.cuda.profiler.stop()


if __name__ == "__main__":
    with exit_on_input_error():
        main()
