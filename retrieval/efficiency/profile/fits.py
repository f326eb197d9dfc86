"""What fits into the memory of a card, from the peaks of training steps of a few batch sizes.

Memory grows by the same number of bytes with every video of a batch, so a line through the measured peaks tells the
batches that were not run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from statistics import linear_regression
from typing import Any

from retrieval.efficiency.profile.settings import Case

RESERVED = 2**30
"""Bytes of a card that are no tensors: the driver's context, the libraries' workspaces, and gaps between blocks."""


def largest_batches(peaks: Mapping[Case, int], cards: Sequence[float | int]) -> list[dict[str, Any]]:
    """A row for each way to train that was measured at two batch sizes or more, those that are no more than a piece of
    `micro_batch` left out: they are encoded at once.

    Args:
        peaks: bytes at the peak of each case.
        cards: GB (2^30 bytes) of memory.

    Returns:
        Rows of the case without its batch size, `fixed_mib`, `mib_a_video`, `measured` (the batch sizes that were run)
        and `batch_sizes`: the largest one for each card, 0 where not even one video fits; None where the line does not
        tell: the peaks do not grow with the batch, or it would be no more than a piece.
    """
    ways: dict[Case, dict[int, int]] = {}
    for case, peak in peaks.items():
        if case.tuning is not None and case.batch_size > (case.micro_batch or 0):
            ways.setdefault(replace(case, batch_size=0), {})[case.batch_size] = peak
    return [_row(way, sizes, cards) for way, sizes in ways.items() if cards and len(sizes) > 1]


def _row(way: Case, sizes: Mapping[int, int], cards: Sequence[float | int]) -> dict[str, Any]:
    slope, fixed = linear_regression(list(sizes), list(sizes.values()))
    facts = asdict(way)
    del facts["batch_size"]
    facts |= {"fixed_mib": fixed / 2**20, "mib_a_video": slope / 2**20, "measured": list(sizes)}
    return facts | {"batch_sizes": [_most(card * 2**30 - RESERVED - fixed, slope, way.micro_batch) for card in cards]}


def _most(room: float, slope: float, micro_batch: int | None) -> int | None:
    if slope <= 0:
        return None
    most = max(0, int(room // slope))
    return most if micro_batch is None or most > micro_batch else None
