"""Which TensorRT version has what: the one table that the board's code and the tests' stand-in both read.

Sources: NVIDIA's release notes and API references of TensorRT 7.1 to 11.4, and logs of trtexec of those versions. Data and
three functions; nothing else in this folder compares a version.
"""

from __future__ import annotations

# feature: half-open ranges of versions that have it, [since, gone); None: from the beginning, or to this day
FEATURES = {
    # ---- the DLA
    "dla": ((None, (10, 8)), ((11, 4), None)),
    # ---- network and builder
    "max_workspace_size": ((None, (10, 0)),),
    "memory_pools": (((8, 4), None),),
    "build_engine": ((None, (10, 0)),),
    "build_serialized_network": (((8, 0), None),),
    "explicit_batch_flag": ((None, (11, 0)),),  # the enum member exists; ignored from 10.0
    "explicit_batch_needed": ((None, (10, 0)),),  # without the flag a network has an implicit batch dimension
    "strongly_typed_flag": (((10, 0), (11, 0)),),
    "always_strongly_typed": (((11, 0), None),),
    "precision_flags": ((None, (11, 0)),),  # BuilderFlag.FP16 and INT8
    "precision_constraints": (((8, 2), (11, 0)),),  # PREFER_/OBEY_PRECISION_CONSTRAINTS, layer.precision
    "int8_calibrator": ((None, (11, 0)),),
    "direct_io": (((8, 2), (11, 0)),),
    "timing_cache": (((8, 0), None),),
    "profiling_verbosity": (((8, 2), None),),
    "old_layer_methods": ((None, (10, 0)),),  # add_convolution, add_pooling, add_deconvolution, add_fully_connected
    "caffe_parser": ((None, (9, 0)),),
    # ---- engine and context
    "bindings": ((None, (10, 0)),),  # num_bindings, get_binding_*, execute_async_v2
    "named_tensors": (((8, 5), None),),  # num_io_tensors, set_tensor_address, execute_async_v3
    "engine_inspector": (((8, 2), None),),
    "enqueue_emits_profile": (((8, 2), None),),
    # ---- trtexec: options
    "trtexec_mem_pool_size": (((8, 4), None),),
    "trtexec_layer_device_types": (((8, 6), None),),
    "trtexec_export_layer_info": (((8, 2), None),),
    "trtexec_separate_profile_run": (((8, 0), None),),
    # ---- trtexec: what it prints
    "trtexec_banner_version": (((8, 0), None),),  # [TensorRT v8502]
    "trtexec_summary_line": (((8, 0), None),),  # one line `GPU Compute Time: min = ..`; before, a block of lines
    "trtexec_summary_percentiles": (((8, 5), None),),  # 90 %, 95 % and 99 %; before, 99 % only
    "trtexec_no_summary_with_profile": (((8, 4), (10, 4)),),  # unless --separateProfileRun
    "trtexec_profile_median": (((8, 4), None),),
    "trtexec_profile_name_last": (((8, 6), None),),
    "trtexec_times_h2d": (((8, 0), None),),  # startH2dMs.. in --exportTimes; before, startEnqMs..
    "foreign_node": (((8, 0), None),),  # {ForeignNode[a...b]}; before, {a,b,...}
    "placement_lines": (((8, 0), None),),  # [DlaLayer] and [GpuLayer] in the build log
    "placement_lines_verbose": (((10, 0), None),),  # ... at verbosity V instead of I (seen in a log of 10.3.0)
    "layer_info_io_tensors": (((11, 0), None),),  # "I/O Tensors"; before, "Bindings"
}

# what this folder is written for: [from, to) ranges, as text for messages beside them
SUPPORTED = (((8, 4), (10, 8)), ((11, 4), (12, 0)))
SUPPORTED_TEXT = "8.4 to 10.7, and 11.4 or later"


def parse(version: str) -> tuple[int, ...]:
    """Return "8.5.2" or "8.5.2.2" as (8, 5, 2) or (8, 5, 2, 2); digits before the first other sign count ("10.3.0.dev1")."""
    numbers = []
    for part in version.split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
    if len(numbers) < 2:
        raise ValueError(f"TensorRT version {version!r} does not begin with two numbers")
    return tuple(numbers)


def has(version: str, feature: str) -> bool:
    """Return whether TensorRT `version` ("8.5.2") has `feature`, a key of `FEATURES`."""
    number = parse(version)
    return any(
        (since is None or number >= since) and (gone is None or number < gone) for since, gone in FEATURES[feature]
    )


def supported(version: str) -> bool:
    """Return whether this folder is written for TensorRT `version`."""
    number = parse(version)
    return any(since <= number < gone for since, gone in SUPPORTED)
