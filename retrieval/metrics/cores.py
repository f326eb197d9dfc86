"""Blocks of scores on all cores: a thread a core, each with blocks of its own, where torch would share out every one.

Most of what is done to a block is over too soon to be worth sharing.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch

Map = Callable[..., Iterator[Any]]


@contextmanager
def a_core_each(on_cpu: bool) -> Iterator[Map]:
    """`map` over as many threads as torch works with, and with float32 products in full precision meanwhile.

    Both are settings of the whole process, and are put back.

    Args:
        on_cpu: whether the work is the CPU's; elsewhere it is a plain `map`, and products are as they are.
    """
    if not on_cpu:
        yield map
        return
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")  # a lower one makes bfloat16 of them
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool.map
    finally:
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(precision)
