"""A CUDA device without a card: fake tensors, which have shapes, types and a device but no numbers.

What looks at numbers (`.item()`, `.tolist()`, `if tensor`, `nonzero`, a mask as an index) raises PyTorch's own
DataDependentOutputException or DynamicOutputShapeException, and `Watch` refuses what moves between host and device.
"""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

PRODUCTS = ("mm", "bmm", "addmm", "baddbmm")


class MovedError(AssertionError):
    """A tensor was made on the host or moved between host and device."""


WAITS = (DataDependentOutputException, DynamicOutputShapeException, MovedError)


class Watch(TorchDispatchMode):
    """Refuses tensors outside the device; a number of no dimension, which rides along with a kernel, is none.

    Attributes:
        products: the types of all matrix products.
    """

    def __init__(self) -> None:
        super().__init__()
        self.products: set[torch.dtype] = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and not tensor.is_cuda and (tensor.ndim or "lift_fresh" in str(function)):
                raise MovedError(f"{function} makes a tensor {tuple(tensor.shape)} on {tensor.device}")
        if function.__name__.partition(".")[0] in PRODUCTS:
            self.products.add(result.dtype)
        return result


@contextmanager
def fake_cuda(capability: tuple[int, int] = (9, 0), autocast: bool = False) -> Iterator[Watch]:
    """Everything within is fake and watched.

    Args:
        capability: of the device.
        autocast: to bfloat16; `torch.autocast` itself would see that there is no card.
    """
    with ExitStack() as stack:
        stack.enter_context(patch.object(torch.cuda, "get_device_capability", lambda device=None: capability))
        stack.enter_context(FakeTensorMode(allow_non_fake_inputs=False))
        watch = stack.enter_context(Watch())
        before = torch.is_autocast_enabled("cuda")
        torch.set_autocast_enabled("cuda", autocast)
        torch.set_autocast_dtype("cuda", torch.bfloat16)
        try:
            yield watch
        finally:
            torch.set_autocast_enabled("cuda", before)
            torch.clear_autocast_cache()


def empty(*shape: int, dtype: torch.dtype = torch.float32, grad: bool = False) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="cuda", requires_grad=grad)


def call(module: nn.Module, *arguments, dtype: torch.dtype | None = None):
    """Call a module whose weights are on the host as if they were on the device, floating ones as `dtype`."""
    weights = {
        name: empty(*each.shape, dtype=each.dtype if dtype is None else dtype, grad=each.requires_grad)
        for name, each in (*module.named_parameters(), *module.named_buffers())
    }
    return torch.func.functional_call(module, weights, arguments)


def backward(output: Tensor) -> dict[Tensor, Tensor]:
    """The gradients of a number, by leaf; outside autocast, as one does.

    Node by node, as PyTorch's engine starts no thread for a device that is not there.
    """
    torch.set_autocast_enabled("cuda", False)
    pending, gradients = defaultdict(dict), {}
    pending[output.grad_fn][0] = torch.ones_like(output)
    for node in reversed(_ordered(output.grad_fn)):
        given = pending.pop(node, {})
        if hasattr(node, "variable"):
            gradients[node.variable] = given[0]
            continue
        results = node(*(given.get(place) for place in range(len(node._input_metadata))))
        for (parent, place), gradient in zip(node.next_functions, tree_leaves((results,)), strict=True):
            if parent is not None and gradient is not None:
                pending[parent][place] = pending[parent][place] + gradient if place in pending[parent] else gradient
    return gradients


def _ordered(last) -> list:
    """The nodes of a graph, each after those that its gradients go to."""
    order, seen, stack = [], set(), [(last, False)]
    while stack:
        node, is_left = stack.pop()
        if is_left:
            order.append(node)
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack.extend((parent, False) for parent, _ in node.next_functions if parent is not None)
    return order
