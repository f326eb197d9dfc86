"""How the two halves of a block run: as they are, compiled once for all blocks, or recomputed going backward."""

from collections.abc import Callable
from functools import cache, wraps
from itertools import chain
from typing import Any, TypeVar

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from retrieval.errors import UserError

Half = TypeVar("Half", bound=Callable[..., Any])


def half(method: Half) -> Half:
    """Let a block's method run as its attributes `compiled` and `checkpointed` say.

    Reducers act between the halves and are therefore no part of either: what they chose going forward holds going
    backward, random or not, and is not computed twice. Checkpoints are those that keep no activation of the half but
    its input (Chen et al. 2016), non-reentrant, in training alone.
    """

    @wraps(method)
    def run(block: Any, *arguments: Any, **knobs: Any) -> Any:
        call = _compiled(method) if block.compiled else method
        if block.checkpointed and block.training and torch.is_grad_enabled():
            return checkpoint(call, block, *arguments, use_reentrant=False, **knobs)
        return call(block, *arguments, **knobs)

    return run  # type: ignore[return-value]


@cache
def _compiled(method: Callable[..., Any]) -> Callable[..., Any]:
    """One graph for the blocks of a tower and all numbers of tokens; the weights are inputs to it."""
    return torch.compile(method, dynamic=True)


def compile_blocks(model: nn.Module) -> None:
    """Let all blocks of both towers run compiled from now on; they are when first called."""
    config = torch._dynamo.config
    config.cache_size_limit = max(64, config.cache_size_limit)  # towers, precisions, with and without gradients
    for block in _blocks(model):
        block.compiled = True


def checkpoint_blocks(model: nn.Module, every: bool | int) -> None:
    """Keep of every n-th block of both towers only what its halves are given, and compute the rest again going back.

    Args:
        model: a CLIP.
        every: n; True: all blocks, False: none.

    Raises:
        UserError: neither yes, no nor a positive number.
    """
    if not isinstance(every, bool | int) or (every is not False and every < 1):
        raise UserError(f"backbone.checkpointing={every}: true, false, or n for every n-th block")
    for tower in ("visual", "text"):
        for number, block in enumerate(model.get_submodule(f"{tower}.blocks").children()):
            block.checkpointed = every is not False and number % every == 0  # type: ignore[assignment]


def _blocks(model: nn.Module) -> chain[Any]:
    return chain(*(model.get_submodule(f"{tower}.blocks").children() for tower in ("visual", "text")))
