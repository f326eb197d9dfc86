"""An index of moments and vectors that are given, compared by their cosine: what a search does, told in two lines."""

from collections.abc import Sequence

import torch
from torch import Tensor

from retrieval.heads.mean import cosine
from retrieval.search.answers import ALL
from retrieval.search.moments import Filters, Moment


def moments_of(*places: tuple[str, float, float]) -> list[Moment]:
    return [Moment(number, path, float(start), float(end), 0.0, 0) for number, (path, start, end) in enumerate(places)]


class Shelf:
    """Counts how often it is asked."""

    def __init__(self, moments: Sequence[Moment], vectors: Tensor) -> None:
        self.moments, self.vectors, self.asked = moments, vectors, 0

    def scores(self, kept: Tensor) -> Tensor:
        return cosine(kept.double(), self.vectors.double()).float()

    def nearest(self, kept: Tensor, top: int, filters: Filters = ALL) -> list[list[tuple[float, Moment]]]:
        self.asked += 1
        found = []
        for scores in self.scores(kept):
            order = scores.argsort(descending=True, stable=True).tolist()
            hits = [(float(scores[number]), self.moments[number]) for number in order]
            found.append([hit for hit in hits if filters.allow(hit[1].path, hit[1].modified)][:top])
        return found


def angled(*cosines: float) -> Tensor:
    """Vectors with these cosines to (1, 0)."""
    return torch.tensor([[score, (1 - score**2) ** 0.5] for score in cosines])


QUESTION = torch.tensor([[1.0, 0.0]])
