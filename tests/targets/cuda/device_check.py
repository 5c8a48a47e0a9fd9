"""Checks the cuda target on a real GPU and prints what it finds: ``python -m tests.targets.cuda.device_check``.

Run it from the project's root on a machine with an NVIDIA GPU, PyTorch, cuda-bindings, onnx and onnxruntime. It sets
nothing on the GPU. Everything is printed as short tables; the exit code is 1 if a check fails.
"""

import argparse
import itertools
import json
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from multidnn import networks
from multidnn.measure.emc import graph_traffic_bytes
from multidnn.measure.isolation.case import IsolationCase, IsolationOptions
from multidnn.measure.isolation.job import measure_isolation
from multidnn.networks.exported import ExportedNetwork
from multidnn.targets.base import Loop, Timed, Traffic
from multidnn.targets.cuda.counting import METRICS, counted_bytes
from multidnn.targets.cuda.target import CudaTarget

Result = dict[str, Any]
# deviation from ONNX Runtime on the CPU that is rounding, as a share of the largest output
TOLERANCES = {"fp32": 1e-3, "tf32": 2e-2, "fp16": 3e-2, "bf16": 2e-1}


def partitions(*sms: int, precision: str = "fp32") -> dict[str, dict[str, Any]]:
    """Return a split with a partition per count of SMs, called after it."""
    return {str(count): {"sms": count, "precision": precision} for count in sms}


class Check:
    """What the checks share: exported networks and where to write."""

    def __init__(self, arguments: argparse.Namespace, folder: Path) -> None:
        self.names: list[str] = arguments.networks
        self.precision: str = arguments.precision
        self.precisions: list[str] = arguments.precisions
        self.sms: list[int] = arguments.sms
        self.batch: int = arguments.batch
        self.large_clusters: bool = arguments.large_clusters
        self.folder = folder
        self.failed: list[str] = []
        self.results: Result = {}

    def target(self, *sms: int) -> CudaTarget:
        """Return a target with one split."""
        spec = {
            "kind": "cuda",
            "batch": self.batch,
            "large_clusters": self.large_clusters,
            "partitions": partitions(*sms, precision=self.precision),
        }
        return CudaTarget("cuda", spec)

    def network(self, name: str) -> ExportedNetwork:
        """Return an exported network."""
        return ExportedNetwork.read(self.folder / name)

    def require(self, condition: bool, what: str) -> None:
        """Note a failure."""
        if not condition:
            self.failed.append(what)
            print(f"   FAILED: {what}")


def export(check: Check) -> None:
    """Networks and convolutions, written to a temporary folder."""
    for name in check.names:
        network = networks.load(Path("prototxt") / f"{name}.prototxt", seed=2024, name=name)
        networks.export(network, networks.choose_groups(network), check.folder / name)
    for path in sorted(Path("prototxt/convolution").glob("*.prototxt")):
        network = networks.load(path, seed=2024)
        networks.export(network, networks.choose_groups(network, count=1), check.folder / "convolutions" / path.stem)


def splits(check: Check) -> None:
    """SMs of two- and three-way splits: as many as asked for, disjoint, in captured graphs too."""
    import torch

    from multidnn.targets.cuda.graphs import Chain
    from multidnn.targets.cuda.kernels import pointer, unsigned

    for sms in ((32, 100), (64, 68), (44, 88), (40, 48, 44), (32, 32, 32, 36), (64, 64)):
        try:
            device = check.target(*dict.fromkeys(sms)).opened() if len(set(sms)) == len(sms) else None
            if device is None:
                named = {f"p{i}": {"sms": count} for i, count in enumerate(sms)}
                device = CudaTarget("cuda", {"partitions": named}).opened()
        except Exception as error:
            print(f"   {sms}: {error}")
            continue
        used: dict[str, set[int]] = {}
        for name, lane in device.lanes.items():
            blocks = torch.zeros(1024, dtype=torch.int32, device="cuda")
            torch.cuda.synchronize()

            def where(device: Any = device, lane: Any = lane, blocks: Any = blocks) -> None:
                arguments = [pointer(blocks.data_ptr()), unsigned(100_000)]
                device.kernels.launch("where", 2 * device.total_sms, 1024, lane.address, arguments)

            captured = lane.capture(where, torch.cuda.graph_pool_handle())
            chain = Chain(device, lane, 1)
            chain.add([captured])
            chain.stamp()
            chain.ready().launch()
            lane.stream.synchronize()
            used[name] = set(blocks.nonzero().flatten().tolist())
            chain.close()
        disjoint = all(not a & b for a, b in itertools.combinations(used.values(), 2))
        counts = {name: (lane.sms, len(used[name])) for name, lane in device.lanes.items()}
        print(f"   {sms}: given, seen {counts}, disjoint {disjoint}, clusters kept {set(device.clusters.values())}")
        check.require(disjoint and all(a == b for a, b in counts.values()), f"split {sms}")


def outputs(check: Check) -> None:
    """Outputs on both partitions and on the whole chip against ONNX Runtime on the CPU, groups in a chain."""
    import onnxruntime

    rng = np.random.default_rng(1)
    for precision in check.precisions:
        target = CudaTarget("cuda", {"partitions": partitions(*check.sms, precision=precision)})
        for name in check.names:
            network = check.network(name)
            runner = onnxruntime.InferenceSession(str(network.whole_path), providers=["CPUExecutionProvider"])
            begin = time.monotonic()
            with target.open_session({name: network}, chip={name: target.chip_runtimes[0]}) as session:
                session.load()
                loading = time.monotonic() - begin
                for accelerator in target.accelerators:
                    for group in network.groups:
                        reason = session.refusal(accelerator, name, group.index)
                        check.require(reason is None, f"{name} group {group.index}: {reason}")
                inputs = {key: rng.standard_normal(shape, dtype=np.float32) for key, shape in network.inputs.items()}
                for key, value in inputs.items():
                    session.tensor(name, key)[...] = value
                expected = dict(zip(network.outputs, runner.run(list(network.outputs), inputs), strict=True))
                errors = {}
                for accelerator in (*target.accelerators, "chip"):
                    for key in network.outputs:
                        session.tensor(name, key)[...] = np.nan
                    if accelerator == "chip":
                        session.time_whole(name, 1)
                    else:
                        session.time(accelerator, [Timed(name, group.index) for group in network.groups], 1)
                    errors[accelerator] = max(
                        float(np.abs(session.tensor(name, key) - value).max() / np.abs(value).max())
                        for key, value in expected.items()
                    )
            listing = ", ".join(f"{key} {value:.1e}" for key, value in errors.items())
            print(f"   {precision} {name}: {listing}; loaded in {loading:.1f} s")
            check.require(max(errors.values()) < TOLERANCES[precision], f"outputs of {name} in {precision}")


def alone(check: Check) -> None:
    """Each network alone: on partitions (one segment), and on the whole chip; ms."""
    for precision in dict.fromkeys(("fp32", "tf32", check.precision)):
        target = CudaTarget("cuda", {"batch": check.batch, "partitions": partitions(32, 100, precision=precision)})
        for name in check.names:
            network = check.network(name)
            with target.open_session({name: network}, chip={name: target.chip_runtimes[0]}) as session:
                session.load()
                session.fill_inputs(np.random.default_rng(0))
                groups = [Timed(name, group.index) for group in network.groups]
                summed = {a: np.median(np.sum(session.time(a, groups, 30), axis=1)) for a in target.accelerators}
                whole = np.median(session.time_whole(name, 30))
                segments = {}
                for accelerator in target.accelerators:
                    from multidnn.targets.base import Step

                    session.plan(accelerator, accelerator, [Step(tuple(f"{name}/{t.group}" for t in groups))], True)
                    times = [session.iterate(accelerator, [accelerator], 5)[1][accelerator][0] for _ in range(30)]
                    segments[accelerator] = np.median([t.end_ns[-1] - t.start_ns for t in times]) / 1e6
            check.results[f"alone/{precision}/{name}"] = {"segments": segments, "whole": whole}
            print(
                f"   {precision} b{check.batch} {name}: 132: {whole:.3f}; "
                + "; ".join(f"{a}: {segments[a]:.3f} (groups {summed[a]:.3f})" for a in target.accelerators)
            )


def kernels(check: Check) -> None:
    """Where a network's time goes on the whole chip: kernels by their share, of one eager pass."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    from multidnn.targets.cuda.batching import batched
    from multidnn.targets.cuda.executor import Program, WeightStore
    from multidnn.targets.cuda.precision import Precision

    for name in check.names:
        network, precision, store = check.network(name), Precision(check.precision), WeightStore("cuda")
        with precision.applied():
            program = Program(network.whole_path, precision, check.batch, store)
            inputs = {k: torch.randn(batched(s, check.batch), device="cuda") for k, s in network.inputs.items()}
            program.run(inputs)
            torch.cuda.synchronize()
            with profile(activities=[ProfilerActivity.CUDA]) as recorded:
                program.run(inputs)
                torch.cuda.synchronize()
        rows = sorted(recorded.key_averages(), key=lambda row: -row.self_device_time_total)
        total = sum(row.self_device_time_total for row in rows)
        print(f"   {check.precision} {name}: {sum(row.count for row in rows)} kernels, {total:.0f} us")
        for row in rows[:9]:
            print(f"      {row.self_device_time_total:7.1f} us {row.count:4d} x {row.key[:110]}")


def clock(check: Check) -> None:
    """The device's clock: how finely it ticks and whether it agrees with the host's; what a plain copy reaches."""
    import torch

    from multidnn.targets.cuda.kernels import integer, kernels_of, pointer, unsigned

    kernels, stream = kernels_of(0), int(torch.cuda.current_stream().cuda_stream)
    times = torch.zeros(4096, dtype=torch.int64, device="cuda")
    kernels.launch("ticks", 1, 1, stream, [pointer(times.data_ptr()), integer(4096)])
    steps = np.diff(np.unique(times.cpu().numpy()))
    print(f"   steps of the clock: {np.unique(steps)[:8].tolist()} ns, median {np.median(steps):.0f} ns")
    blocks = torch.zeros(1024, dtype=torch.int32, device="cuda")
    for seconds in (0.1, 0.5):
        torch.cuda.synchronize()
        begin = time.monotonic()
        kernels.launch("where", 1, 1, stream, [pointer(blocks.data_ptr()), unsigned(int(1e9 * seconds))])
        torch.cuda.synchronize()
        wall = time.monotonic() - begin
        print(f"   {seconds} s by the device's clock are {wall:.4f} s by the host's")
        check.require(abs(wall / seconds - 1) < 0.02, "the device's clock agrees with the host's")
    source = torch.rand(1 << 28, device="cuda")
    sink = torch.empty_like(source)
    spans = []
    for _ in range(20):
        first, second = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        first.record()
        sink.copy_(source)
        second.record()
        torch.cuda.synchronize()
        spans.append(first.elapsed_time(second))
    copied = 8 * source.numel() / np.median(spans) / 1e6
    print(f"   torch's copy of 1 GiB: {copied:.0f} GB/s read and written")
    check.results["copy_gb_s"] = copied


def counters(check: Check) -> None:
    """What each group moves per run through the L2 cache and to the memory, by hardware counters, and by the graph."""
    spec = check.target(32, 100).spec
    folders = [*(check.folder / name for name in check.names), *sorted((check.folder / "convolutions").iterdir())]
    networks = {folder.name: ExportedNetwork.read(folder) for folder in folders}
    found = {
        label: counted_bytes(spec, check.precision, networks, metrics)
        for label, metrics in {"dram": METRICS, "l2": ("lts__t_bytes.sum",)}.items()
    }
    rows = []
    for name, network in networks.items():
        for group in network.groups:
            moved = [found[label][name, group.index] for label in ("dram", "l2")]
            rows.append([name, group.index, *moved, graph_traffic_bytes(group)])
    check.results["counters"] = rows
    for name, index, dram, l2, graph in rows:
        if name in check.names:
            print(f"   {name} {index}: memory {dram / 1e6:.2f}, L2 {l2 / 1e6:.2f}, graph {graph / 1e6:.2f} MB")


def traffic(check: Check) -> None:
    """The generator: GB/s per partition and duty, together, and what timing beside it is like."""
    target = check.target(32, 100)
    name = check.names[0]
    network = check.network(name)
    with target.open_session({name: network}) as session:
        session.load()
        session.fill_tensors(np.random.default_rng(0))
        for accelerator in target.accelerators:
            row = []
            for duty in (0.25, 0.5, 1.0):
                begin = time.monotonic()
                with session.background({accelerator: Traffic(duty)}) as answers:
                    time.sleep(0.1)
                wall = time.monotonic() - begin
                moved, seconds = answers[accelerator]
                row.append(f"{moved / seconds / 1e9:.0f} ({moved / wall / 1e9:.0f} by the host's clock)")
                fastest = 1.05 * check.results.get("copy_gb_s", np.inf)
                check.require(moved / seconds / 1e9 < fastest, f"generator on {accelerator} no faster than a copy")
            print(f"   generator on {accelerator}: " + ", ".join(row) + " GB/s")
        print(f"   peak {session.peak_traffic(0.2) / 1e9:.0f} GB/s")
        groups = [Timed(name, group.index, 20) for group in network.groups]
        for accelerator, other in itertools.permutations(target.accelerators):
            free = np.median(session.time(accelerator, groups, 5), axis=0)
            for label, load in (("traffic", Traffic(1.0)), ("loop", Loop(tuple((name, g.group) for g in groups)))):
                with session.background({other: load}) as answers:
                    begin = time.monotonic()
                    first = session.time(accelerator, groups, 1)[0]
                    once = time.monotonic() - begin
                    begin = time.monotonic()
                    loaded = session.time(accelerator, groups, 5)
                    five = time.monotonic() - begin
                slow = np.median(loaded, axis=0) / free
                print(
                    f"   {name} on {accelerator} beside {label}: slowdown per group "
                    + " ".join(f"{value:.2f}" for value in slow)
                    + f"; first {np.sum(first) / np.sum(np.median(loaded, axis=0)):.2f}; wall {1e3 * once:.1f}, "
                    f"{1e3 * five / 5:.1f} ms, expected {20 * np.sum(free * slow):.1f}; did {answers[other]}"
                )


def isolation(check: Check) -> None:
    """One network's requests alone and beside another: latencies by the host's clock, and how much of them is the host."""
    target, (protected, other) = check.target(*check.sms), check.names[:2]
    small, large = target.accelerators[:2]
    runtimes = dict.fromkeys((protected, other), target.chip_runtimes[0])
    directories = {name: check.folder / name for name in (protected, other)}
    case = IsolationCase.of("check", {"network": protected, "accelerator": small}, {large: [other]})
    out = check.folder / "isolation.json"
    measure_isolation(target, case, directories, runtimes, IsolationOptions(requests=1000, blocks=10), out)
    found = json.loads(out.read_text())
    for name, entry in found["conditions"].items():
        p50, p99 = entry["p50"], entry["p99"]
        print(
            f"   {protected} {name}: p50 {p50['ms']:.3f} ms ({p50['ratio']:.2f}), p99 {p99['ms']:.3f} ({p99['ratio']:.2f}), "
            + ", ".join(f"{key} {value:.1f}/s" for key, value in entry["beside_per_s"].items())
        )
    check.require(all(v["ok"] for v in found["outputs"].values()), "outputs of isolation")
    check.results["isolation"] = found["conditions"]
    # the same by the device's clock: the rest of a request is the launch, the wait and Python
    with target.open_session({name: check.network(name) for name in directories}) as session:
        session.load(only={})
        for accelerator, name in ((small, protected), (large, other)):
            check.require(session.load_whole(accelerator, name) is None, f"{name} uncut on {accelerator}")
        for label, beside in (("alone_on_partition", {}), ("partitions", {large: Loop(((other, -1),))})):
            with session.background(beside):
                times = [row[0] for row in session.time(small, [Timed(protected, -1)], 300)]
            p50, p99 = np.percentile(times, [50, 99])
            print(f"   {label} by the device's clock: p50 {p50:.3f} ms, p99 {p99:.3f}")


CHECKS: dict[str, Callable[[Check], None]] = {
    "splits": splits,
    "outputs": outputs,
    "alone": alone,
    "kernels": kernels,
    "clock": clock,
    "counters": counters,
    "traffic": traffic,
    "isolation": isolation,
}


def main() -> int:
    """Run the checks; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--networks", nargs="+", default=["googlenet", "resnet101", "vgg19", "resnet152"])
    parser.add_argument("--sms", nargs="+", type=int, default=[32, 100], help="multiprocessors of each partition")
    parser.add_argument("--precisions", nargs="+", default=["fp32", "tf32", "fp16", "bf16"], help="of `outputs`")
    parser.add_argument("--precision", default="tf32")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--large-clusters", action="store_true", help="keep 16 multiprocessors together")
    parser.add_argument("--only", nargs="+", choices=list(CHECKS), default=list(CHECKS))
    parser.add_argument("--benchmark", action="store_true", help="let cudnn time its kernels and take the fastest")
    parser.add_argument("--out", type=Path, help="write the numbers to this JSON file")
    arguments = parser.parse_args()
    if arguments.benchmark:
        import torch

        torch.backends.cudnn.benchmark = True
    with tempfile.TemporaryDirectory() as folder:
        check = Check(arguments, Path(folder))
        begin = time.monotonic()
        export(check)
        print(f"== exported {', '.join(check.names)} in {time.monotonic() - begin:.1f} s")
        target = check.target(*check.sms)
        print(json.dumps({"facts": target.facts(), "clocks": target.clocks()}))
        for name in arguments.only:
            begin = time.monotonic()
            print(f"== {name}: {CHECKS[name].__doc__}", flush=True)
            try:
                CHECKS[name](check)
            except Exception:
                traceback.print_exc(file=sys.stdout)
                check.failed.append(name)
            print(f"   [{time.monotonic() - begin:.1f} s]", flush=True)
        print("clocks after", json.dumps(target.clocks()))
        if arguments.out:
            arguments.out.write_text(json.dumps(check.results))
    print("failed:", check.failed or "nothing")
    return 1 if check.failed else 0


if __name__ == "__main__":
    sys.exit(main())
