"""Latency of calls that are compared: all take turns, so that what disturbs the machine falls on all of them alike."""

import time
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

import torch
from jaxtyping import UInt8
from torch import Tensor

from retrieval.errors import UserError
from retrieval.model import CLIP

Name = TypeVar("Name", bound=Hashable)


def interleaved(
    calls: Mapping[Name, Callable[[], object]],
    *,
    rounds: int,
    warmup: int,
    device: str | torch.device = "cpu",
    finished: Callable[[Name], object] | None = None,
) -> dict[Name, list[float]]:
    """Seconds of each call in each round; every round runs every call once, in the same order.

    Args:
        calls: what to measure, by name.
        rounds: rounds that are timed.
        warmup: rounds before them that are not, in which kernels are loaded, compiled and chosen.
        device: where the calls work; on CUDA, where they only queue it, the clock waits until it is done.
        finished: told the name of each call after it ran, for a progress bar.

    Raises:
        UserError: fewer rounds than one, or fewer to warm up than none.
    """
    if rounds < 1 or warmup < 0:
        raise UserError(f"rounds={rounds}, warmup={warmup}: at least 1 round is timed, and 0 or more warm up")
    seconds: dict[Name, list[float]] = {name: [] for name in calls}
    for turn in range(-warmup, rounds):
        for name, call in calls.items():
            taken = timed(call, device)
            if turn >= 0:
                seconds[name].append(taken)
            if finished is not None:
                finished(name)
    return seconds


def timed(call: Callable[[], object], device: str | torch.device) -> float:
    """Seconds of one call, from when the device is idle until its work is done."""
    wait = torch.cuda.synchronize if torch.device(device).type == "cuda" else lambda: None
    wait()
    start = time.perf_counter()
    call()
    wait()
    return time.perf_counter() - start


def random_videos(model: CLIP, videos: int, frames: int) -> UInt8[Tensor, "{videos} {frames} 3 height width"]:
    """The same random bytes every time, on the model's device."""
    shape = (videos, frames, 3, model.image_size, model.image_size)
    numbers = torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return numbers.to(model.logit_scale.device)
