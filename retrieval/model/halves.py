"""How the two halves of a block run: as they are, compiled once for all blocks, or recomputed going backward."""

import logging
from collections.abc import Callable
from functools import cache, wraps
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
    def run(block: Any, x: torch.Tensor, *arguments: Any, **knobs: Any) -> Any:
        call = _compiled(method) if block.compiled and not _begins_gradients(block, x) else method
        if block.checkpointed and block.training and torch.is_grad_enabled():
            return checkpoint(call, block, x, *arguments, use_reentrant=False, **knobs)
        return call(block, x, *arguments, **knobs)

    return run  # type: ignore[return-value]


def _begins_gradients(block: nn.Module, x: torch.Tensor) -> bool:
    """Whether it is the first block that trains: one in a tower, not worth graphs of its own."""
    if x.requires_grad or not torch.is_grad_enabled():
        return False
    return any(weight.requires_grad for weight in block.parameters())


@cache
def _compiled(method: Callable[..., Any]) -> Callable[..., Any]:
    """One graph for all blocks and numbers of tokens; the weights are inputs to it."""
    return torch.compile(method, dynamic=True)


def compile_blocks(model: nn.Module) -> None:
    """Let all blocks of the video tower run compiled from now on; they are when first called.

    The text tower, a few hundredths of the work, would gain as many hundredths and cost as many graphs again.
    """
    dynamo = torch._dynamo.config
    dynamo.cache_size_limit = max(64, dynamo.cache_size_limit)  # precisions, with and without gradients
    dynamo.specialize_float = True  # epsilons and scales: taken for variables, every half is traced and lowered twice
    torch.fx.experimental._config.use_duck_shape = False  # as many frames as tokens is chance, and no other graph
    torch._inductor.config.cpp.vec_isa_ok = True  # what the processor says it has, without a test program of 4 s
    if hasattr(torch._functorch.config, "force_non_lazy_backward_lowering"):  # not in older torch
        torch._functorch.config.force_non_lazy_backward_lowering = True  # what fails does so going forward
    logging.getLogger("torch._inductor.scheduler").disabled = True  # what it tells at length, the error says
    for block in model.get_submodule("visual.blocks").children():
        block.compiled = True  # type: ignore[assignment]


def check_checkpointing(every: Any, knob: str = "backbone.checkpointing") -> None:
    """Raise UserError, naming the knob, for what is neither yes, no nor a positive number."""
    if not isinstance(every, bool | int) or (every is not False and every < 1):
        raise UserError(f"{knob}={every}: true, false, or n for every n-th block")


def checkpoint_blocks(model: nn.Module, every: Any) -> None:
    """Keep of every n-th block of both towers only what its halves are given, and compute the rest again going back.

    Args:
        model: a CLIP.
        every: n; True: all blocks, False: none.

    Raises:
        UserError: neither yes, no nor a positive number.
    """
    check_checkpointing(every)
    for block in _blocks(model, 1):
        block.checkpointed = False
    for block in _blocks(model, int(every)) if every else ():
        block.checkpointed = True


def _blocks(model: nn.Module, every: int) -> list[Any]:
    """Every n-th block of both towers."""
    towers = [list(model.get_submodule(f"{tower}.blocks").children()) for tower in ("visual", "text")]
    return [block for tower in towers for block in tower[::every]]
