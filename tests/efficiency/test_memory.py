"""Peak memory against allocations of a known size."""

import pytest
import torch

from retrieval.efficiency import in_clean_memory, peak_memory

MIB = 2**20


def peak_of_allocating(mib: int) -> int:
    torch.ones(mib * MIB // 4)  # freed, but its peak stays
    before = peak_memory("cpu", reset=True)
    torch.ones(mib * MIB // 4)
    return peak_memory("cpu") - before


@pytest.mark.slow
def test_what_is_allocated_and_freed_again_counts_once():
    assert 60 * MIB <= in_clean_memory("cpu", peak_of_allocating, 64) <= 80 * MIB


def test_an_earlier_peak_does_not_count():
    torch.ones(256 * MIB // 4)
    assert in_clean_memory("cpu", peak_of_allocating, 16) <= 32 * MIB
