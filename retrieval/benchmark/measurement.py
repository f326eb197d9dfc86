"""Time and peak memory of a call, in a process of its own."""

import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Measurement:
    """What a call took and gave: the best time in seconds, and the memory in bytes that it needed on top."""

    seconds: float
    peak_bytes: int
    result: Tensor


def measure(call: Callable[..., Tensor], *arguments: Any, device: str, repeat: int) -> Measurement:
    """Measure `call(*arguments)` in a fresh process, where no earlier call has left a higher peak.

    Args:
        call: a function of a module, not a lambda; its tensors are moved to the device before the clock starts.
        arguments: of the call.
        device: `cpu` or `cuda`.
        repeat: times that it runs; the best one counts.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(_measure, call, arguments, device, repeat).result()


def _measure(call: Callable[..., Tensor], arguments: tuple[Any, ...], device: str, repeat: int) -> Measurement:
    arguments = tuple(each.to(device) if isinstance(each, Tensor) else each for each in arguments)
    call(*(each[:1] if isinstance(each, Tensor) else each for each in arguments))  # loads libraries and kernels
    before = _memory(device, reset=True)
    seconds = []
    for _ in range(repeat):
        start = time.perf_counter()
        result = call(*arguments).cpu()  # which waits for the device
        seconds.append(time.perf_counter() - start)
    return Measurement(min(seconds), _memory(device) - before, result)


def _memory(device: str, reset: bool = False) -> int:
    """The highest number of bytes that tensors (on CUDA) or the process (on the CPU) have held so far."""
    if device == "cuda":
        if reset:
            torch.cuda.reset_peak_memory_stats()
        return torch.cuda.max_memory_allocated()
    if sys.platform != "linux":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    # Not ru_maxrss: a new process takes that over from the one that started it.
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return 1024 * int(peak.split()[1])
