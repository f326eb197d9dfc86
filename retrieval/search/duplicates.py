"""Groups of near-equal moments across files: every moment is compared with every other, in blocks.

Two moments of different files that are near enough belong to one group, and so do overlapping moments of one file that
both have such a partner: a copied film is one group, and not one for each of its moments.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, runtime_checkable

import torch
from rich.progress import track
from torch import Tensor

from retrieval.errors import UserError
from retrieval.search.moments import Moment

BLOCK = 2**24
"""Similarities that are held at a time."""


@dataclass(frozen=True)
class Place:
    """A stretch of a video."""

    path: str
    start: float
    end: float


@dataclass(frozen=True)
class Group:
    """Near-equal places of several files.

    Attributes:
        similarity: the highest between moments of two of its files.
        places: by path and time; one a stretch without a gap.
    """

    similarity: float
    places: tuple[Place, ...]


@runtime_checkable
class Comparable(Protocol):
    """What is needed of an index."""

    @property
    def moments(self) -> Sequence[Moment]: ...
    @property
    def vectors(self) -> Tensor: ...
    def scores(self, kept: Tensor) -> Tensor: ...


def duplicates(index: Comparable, threshold: float) -> list[Group]:
    """Groups of moments of different files, at least so similar to each other pair by pair; the nearest first.

    Args:
        index: whose moments are compared.
        threshold: the head's similarity from which on two moments are near-equal; 1 is the same for a cosine.

    Raises:
        UserError: a threshold that every pair would reach.
    """
    if not 0 < threshold <= 1:
        raise UserError(f"duplicates={threshold:g}: a similarity above 0 and up to 1, such as 0.95")
    moments = list(index.moments)
    label = torch.arange(len(moments))  # of the group, the smallest number in it
    best = torch.zeros(len(moments))
    for row, columns, similarities in _near(index, moments, threshold):
        best[row] = similarities.max()
        _join(label, torch.cat([columns, columns.new_tensor([row])]))
    found = best.nonzero().flatten().tolist()
    found.sort(key=lambda number: (moments[number].path, moments[number].start))
    for one, other in pairwise(found):
        if _overlap(moments[one], moments[other]):
            _join(label, torch.tensor([one, other]))
    members: dict[int, list[int]] = {}
    for number in found:
        members.setdefault(int(label[number]), []).append(number)
    made = [Group(float(best[each].max()), _places([moments[n] for n in each])) for each in members.values()]
    return sorted(made, key=lambda group: (-group.similarity, group.places[0].path, group.places[0].start))


def _near(index: Comparable, moments: Sequence[Moment], threshold: float) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Each moment that has near ones in other files: its number, theirs, and how similar they are."""
    count = len(moments)
    numbers: dict[str, int] = {}
    files = torch.tensor([numbers.setdefault(moment.path, len(numbers)) for moment in moments])
    rows = max(1, BLOCK // max(1, count))
    for start in track(range(0, count, rows), description="Comparing moments", transient=True):
        scores = index.scores(index.vectors[start : start + rows])
        near = (scores >= threshold) & (files[start : start + rows, None] != files)
        for row in near.any(1).nonzero().flatten().tolist():
            columns = near[row].nonzero().flatten()
            yield start + row, columns, scores[row, columns]


def _join(label: Tensor, members: Tensor) -> None:
    """Make one group of those that some moments are in."""
    labels = label[members].unique()
    if len(labels) > 1:
        label[torch.isin(label, labels)] = labels[0]


def _overlap(one: Moment, other: Moment) -> bool:
    return one.path == other.path and other.start < one.end


def _places(moments: Sequence[Moment]) -> tuple[Place, ...]:
    """Stretches without a gap of moments that are sorted by path and start."""
    places: list[Place] = []
    for moment in moments:
        last = places[-1] if places else None
        if last and last.path == moment.path and moment.start <= last.end:
            places[-1] = Place(last.path, last.start, max(last.end, moment.end))
        else:
            places.append(Place(moment.path, moment.start, moment.end))
    return tuple(places)
