"""Whether and how the towers are compiled: the knob `compile` of whatever encodes with a model.

Block by block (`true`): one graph serves all blocks of the video tower and all numbers of tokens, which is soon made
and as fast as a graph of the whole tower. Graphs are kept between runs, see `keep_graphs`.
"""

import logging
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils._pytree import tree_map

from retrieval.errors import UserError
from retrieval.model.clip import CLIP
from retrieval.model.halves import compile_blocks

CHOICES = ("auto", True, False, "reduce-overhead")
WORTHWHILE = 900.0
"""Seconds of work from which on compiling is worth it: it takes up to half a minute on the CPU and saves 5 %."""
SPEEDS = {"cpu": 30e9, "cuda": 30e12}
"""Multiply-accumulates a second, of a core and of a GPU (a guess): rough, but the same in every run of a job."""
_log = logging.getLogger(__name__)


def compile_towers(model: CLIP, choice: str | bool, gmacs: float) -> None:
    """Let the towers run compiled from now on if the knob says so; where it says `auto`, if the job is long enough.

    Where the machine has no compiler that works they run as they are, and a line says so.

    Args:
        model: on the device that it will run on.
        choice: the knob: auto, true, false, or reduce-overhead: CUDA graphs of whole towers, for fixed shapes.
        gmacs: 10^9 multiply-accumulates of the whole job on this device.

    Raises:
        UserError: another choice, or CUDA graphs without CUDA.
    """
    if choice not in CHOICES:
        raise UserError(f"compile={choice}: auto, true, false or reduce-overhead")
    device = model.logit_scale.device
    if choice == "reduce-overhead" and device.type != "cuda":
        raise UserError(f"compile=reduce-overhead: CUDA graphs are not to be had on {device.type}: take compile=true")
    seconds = gmacs * 1e9 / _speed(device)
    if choice == "auto":
        reason = f"about {max(1.0, seconds):,.0f} s of work for this device, and it pays from {WORTHWHILE:.0f} s on"
        if seconds < WORTHWHILE:
            _log.info("compile=auto: no, %s", reason)
            return
    else:
        reason = "as asked"
    if choice is not False:
        how = "CUDA graphs of whole towers" if choice == "reduce-overhead" else "block by block"
        kept = keep_graphs()
        _log.info("compile=%s: %s, %s; graphs are kept in %s", str(choice).lower(), how, reason, kept)
        (capture_towers if choice == "reduce-overhead" else compile_blocks)(model)
        for tower in (model.visual, model.text):
            tower._compiled_call_impl = _or_as_it_is(tower)


def keep_graphs() -> Path:
    """Let Inductor keep its graphs between runs.

    Returns:
        The folder: TORCHINDUCTOR_CACHE_DIR where it is set, which this sets otherwise.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache / "retrieval" / "compiled")))


def capture_towers(model: CLIP) -> None:
    """Let both towers run as CUDA graphs from now on, one for each shape; they are captured when first called."""
    for tower in (model.visual, model.text):
        graph = torch.compile(tower._call_impl, mode="reduce-overhead", dynamic=False)
        tower._compiled_call_impl = partial(_copied, graph)


def _copied(graph: Callable[..., Any], *inputs: Any, **knobs: Any) -> Any:
    """What a CUDA graph gives, out of the memory that its next run writes to."""
    return tree_map(torch.clone, graph(*inputs, **knobs))


def _speed(device: torch.device) -> float:
    cores = torch.get_num_threads() if device.type == "cpu" else 1
    return cores * SPEEDS.get(device.type, SPEEDS["cuda"])


def _or_as_it_is(tower: Any) -> Callable[..., Any]:
    """The compiled tower until compiling fails: that takes a C++ compiler and Python's headers, or Triton, and room."""
    compiled = tower._compiled_call_impl or tower._call_impl

    def run(*inputs: Any, **knobs: Any) -> Any:
        try:
            return compiled(*inputs, **knobs)
        except torch._dynamo.exc.TorchDynamoException as error:
            inner = getattr(error, "inner_exception", error)
            cause = f"{type(inner).__name__}: {inner}".splitlines()[0]
            _log.warning("compile: not here, so the %s runs as it is: %s", type(tower).__name__, cause)
        tower._compiled_call_impl = None
        for block in tower.blocks:
            block.compiled = False
        return tower(*inputs, **knobs)

    return run
