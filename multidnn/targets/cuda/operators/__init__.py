"""ONNX operators as torch calls: one function per operator, with ONNX's exact meaning; a module per family.

A function gets the node, the opset, and its inputs: torch tensors, `arguments.Constant` for constants of the model,
None for optional inputs that are left out. It returns a tensor, or a tuple for several outputs. Nothing here waits for
the device or reads from it, so that calls can be captured into a CUDA graph. Importing this imports torch.
"""

from multidnn.targets.cuda.operators import (
    activations,
    convolution,
    elementwise,
    layout,
    linear,
    normalization,
    pooling,
    reductions,
)
from multidnn.targets.cuda.operators.arguments import Function

_FAMILIES = (activations, convolution, elementwise, layout, linear, normalization, pooling, reductions)
# each operator by its ONNX name, and what `fusion` makes
OPERATORS: dict[str, Function] = {name: each for family in _FAMILIES for name, each in family.OPERATORS.items()}
