"""Peak memory: of tensors where CUDA's allocator counts them, of the whole process on the CPU."""

import ctypes
import gc
import resource
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import torch

Result = TypeVar("Result")

MMAP_THRESHOLD = -3  # the number by which glibc's mallopt knows it
RETURNED = 2**16
"""Bytes of a piece of memory from which on glibc returns it as soon as it is freed, and not when it suits it."""


def in_clean_memory(device: str, function: Callable[..., Result], *arguments: object) -> Result:
    """Call a function where no earlier call has left a higher peak.

    Args:
        device: `cpu`, where that takes a fresh process, or `cuda`, whose allocator's peak can be reset in this one.
        function: of a module, not a lambda.
        arguments: of the function; on the CPU they and its result are sent between the processes.
    """
    if device != "cpu":
        return function(*arguments)
    context = get_context("forkserver")  # which imports the libraries once, and has run nothing in them
    context.set_forkserver_preload([function.__module__])
    with ProcessPoolExecutor(1, mp_context=context, initializer=_return_freed_memory) as process:
        return process.submit(function, *arguments).result()


def peak_memory(device: str, reset: bool = False) -> int:
    """The highest number of bytes that tensors (on CUDA) or the process (on the CPU) have held so far.

    Args:
        device: `cpu` or `cuda`.
        reset: give back what is free, and count from what is then held.
    """
    if reset:
        gc.collect()
    if device == "cuda":
        if reset:
            torch.cuda.reset_peak_memory_stats()
        return torch.cuda.max_memory_allocated()
    if sys.platform != "linux":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if reset:
        _return_freed_memory()
        Path("/proc/self/clear_refs").write_text("5")
    # Not ru_maxrss: a new process takes that over from the one that started it.
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return 1024 * int(peak.split()[1])


def _return_freed_memory() -> None:
    """Let the C library hand what is freed back to the system, now and from now on, so that a peak is of what is held;
    glibc's alone can.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim"):
        library.mallopt(MMAP_THRESHOLD, RETURNED)
        library.malloc_trim(0)
