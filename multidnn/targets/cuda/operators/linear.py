"""Products of matrices."""

from typing import Any

from torch.nn import functional

from multidnn.targets.cuda.model import Node
from multidnn.targets.cuda.operators.arguments import Function, Tensor, optional_tensor, tensor


def _gemm(node: Node, opset: int, a: Any, b: Any, c: Any = None) -> Tensor:
    attributes = node.attributes
    x = tensor(a).t() if attributes.get("transA", 0) else tensor(a)
    weight = tensor(b) if attributes.get("transB", 0) else tensor(b).t()
    alpha, beta = attributes.get("alpha", 1.0), attributes.get("beta", 1.0)
    summand = optional_tensor(c)
    if alpha == 1.0 and (summand is None or (beta == 1.0 and summand.dim() == 1)):
        return functional.linear(x, weight, summand)
    result = alpha * (x @ weight.t())
    return result if summand is None else result + beta * summand


def _matmul(node: Node, opset: int, a: Any, b: Any) -> Tensor:
    return tensor(a) @ tensor(b)


OPERATORS: dict[str, Function] = {"Gemm": _gemm, "MatMul": _matmul}
