"""Time and peak memory of a call where no earlier one disturbs them."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from retrieval.efficiency import in_clean_memory, peak_memory


@dataclass(frozen=True)
class Measurement:
    """What a call took and gave: the best time in seconds, and the memory in bytes that it needed on top."""

    seconds: float
    peak_bytes: int
    result: Tensor


def measure(call: Callable[..., Tensor], *arguments: Any, device: str, repeat: int) -> Measurement:
    """Measure `call(*arguments)` where no earlier call has left a higher peak.

    Args:
        call: a function of a module, not a lambda; its tensors are moved to the device before the clock starts.
        arguments: of the call.
        device: `cpu` or `cuda`.
        repeat: times that it runs; the best one counts.
    """
    return in_clean_memory(device, _measure, call, arguments, device, repeat)


def _measure(call: Callable[..., Tensor], arguments: tuple[Any, ...], device: str, repeat: int) -> Measurement:
    arguments = tuple(each.to(device) if isinstance(each, Tensor) else each for each in arguments)
    call(*(each[:1] if isinstance(each, Tensor) else each for each in arguments))  # loads libraries and kernels
    before = peak_memory(device, reset=True)
    seconds = []
    for _ in range(repeat):
        start = time.perf_counter()
        result = call(*arguments).cpu()  # which waits for the device
        seconds.append(time.perf_counter() - start)
    return Measurement(min(seconds), peak_memory(device) - before, result)
