"""Latency of calls that are compared: all take turns, so that what disturbs the machine falls on all of them alike."""

import time
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

from retrieval.errors import UserError

Name = TypeVar("Name", bound=Hashable)


def interleaved(
    calls: Mapping[Name, Callable[[], object]],
    *,
    rounds: int,
    warmup: int,
    synchronize: Callable[[], None] | None = None,
    finished: Callable[[Name], object] | None = None,
) -> dict[Name, list[float]]:
    """Seconds of each call in each round; every round runs every call once, in the same order.

    Args:
        calls: what to measure, by name.
        rounds: rounds that are timed.
        warmup: rounds before them that are not, in which kernels are loaded, compiled and chosen.
        synchronize: waits for the device, `torch.cuda.synchronize` where the calls only queue their work; None where
            they return when it is done.
        finished: told the name of each call after it ran, for a progress bar.

    Raises:
        UserError: fewer rounds than one, or fewer to warm up than none.
    """
    if rounds < 1 or warmup < 0:
        raise UserError(f"rounds={rounds}, warmup={warmup}: at least 1 round is timed, and 0 or more warm up")
    seconds: dict[Name, list[float]] = {name: [] for name in calls}
    for turn in range(-warmup, rounds):
        for name, call in calls.items():
            taken = _timed(call, synchronize)
            if turn >= 0:
                seconds[name].append(taken)
            if finished is not None:
                finished(name)
    return seconds


def _timed(call: Callable[[], object], synchronize: Callable[[], None] | None) -> float:
    if synchronize is not None:
        synchronize()
    start = time.perf_counter()
    call()
    if synchronize is not None:
        synchronize()
    return time.perf_counter() - start
