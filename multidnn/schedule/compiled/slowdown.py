"""The slowdown grids of a problem, read by compiled code."""

from multidnn.schedule.compiled.jit import inlined
from multidnn.schedule.compiled.packing import Tables


@inlined
def slowdown(tables: Tables, instance: int, group: int, accelerator: int, external: float) -> float:
    """The factor by which a group beside `external` GB/s is slower: linear between the points, clamped outside."""
    count = tables.points[accelerator]
    if external <= 0.0 or count == 1:
        return 1.0
    axis = tables.external[accelerator]
    row = tables.factor[instance, group, accelerator]
    if external >= axis[count - 1]:
        return row[count - 1]
    k = 1
    while axis[k] <= external:
        k += 1
    return row[k - 1] + (external - axis[k - 1]) / (axis[k] - axis[k - 1]) * (row[k] - row[k - 1])
