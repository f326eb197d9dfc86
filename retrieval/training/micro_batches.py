"""Batches bigger than memory, with exact gradients (GradCache; Gao et al., RepL4NLP 2021).

A contrastive loss compares all pairs of a batch, but only by what the head keeps of them. So the batch is encoded in
pieces of which nothing else is kept, and the loss is computed from these. When its gradient comes back, each piece is
encoded again, this time with all that the gradient needs, and passes it on to the parameters. This takes a second
forward pass, and the memory of one piece.

It is a node of PyTorch's graph like any other. A parameter therefore receives one gradient a step, the sum over all
pieces: several devices exchange it once, and accumulation, clipping and scaling see nothing unusual.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import get_device_states, set_device_states

from retrieval.errors import UserError

Encode = Callable[[Tensor], Tensor]
"""From frames or token ids to what the head keeps of them, item by item."""


def encode_in_pieces(encode: Encode, items: Tensor, size: int | None, parameters: Iterable[nn.Parameter]) -> Tensor:
    """What `encode` makes of all items, its gradient included, in the memory of `size` of them.

    Args:
        encode: of a model in training; random numbers that it draws are the same in both passes of a piece.
        items: frames or token ids, the batch first.
        size: items of a piece; the last one may have fewer. None: all at once.
        parameters: of the model; those that require gradients receive them.
    """
    if size is None or len(items) <= size:
        return encode(items)
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    return torch.cat([_Piece.apply(encode, piece, *trained) for piece in items.split(size)])


def check_micro_batch(size: Any, knob: str = "micro_batch") -> None:
    """Raise UserError, naming the knob, for what is neither a number of pairs nor None."""
    if size is not None and (type(size) is not int or size < 1):  # true is no number of pairs
        raise UserError(f"{knob}={size}: at least 1 pair at a time, or null for the whole batch")


class _Piece(torch.autograd.Function):
    """Encodes without a graph; backward encodes again, with one."""

    @staticmethod
    def forward(ctx: Any, encode: Encode, items: Tensor, *parameters: nn.Parameter) -> Tensor:
        ctx.encode, ctx.items, ctx.parameters = encode, items, parameters
        ctx.circumstances = _Circumstances(items)
        kept = encode(items)
        torch.clear_autocast_cache()  # whose copies of weights lead no gradient back, in older PyTorch
        return kept

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        with torch.enable_grad(), ctx.circumstances.restored():
            kept = ctx.encode(ctx.items)
        if not kept.requires_grad:  # none of the parameters is this tower's
            return (None, None, *(None for _ in ctx.parameters))
        return (None, None, *torch.autograd.grad(kept, ctx.parameters, gradient, allow_unused=True))


class _Circumstances:
    """What a pass depends on beside its arguments: random numbers, autocast, and the default type of numbers.

    The first pass runs inside of what Lightning's precision plugins set up, the second one outside.
    """

    def __init__(self, items: Tensor) -> None:
        self.kind = items.device.type
        self.dtype = torch.get_default_dtype()
        self.autocast: dict[str, Any] = {
            "dtype": torch.get_autocast_dtype(self.kind),
            "enabled": torch.is_autocast_enabled(self.kind),
            "cache_enabled": torch.is_autocast_cache_enabled(),
        }
        self.random = torch.get_rng_state()
        self.devices, self.random_on_devices = get_device_states(items)

    @contextmanager
    def restored(self) -> Iterator[None]:
        """As they were; afterwards as they are now."""
        dtype = torch.get_default_dtype()
        with torch.random.fork_rng(self.devices), torch.autocast(self.kind, **self.autocast):
            torch.set_rng_state(self.random)
            set_device_states(self.devices, self.random_on_devices, device_type=self.kind)
            torch.set_default_dtype(self.dtype)
            try:
                yield
            finally:
                torch.set_default_dtype(dtype)
