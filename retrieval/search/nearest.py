"""The moments nearest to a question: all scores in one product, exact to the digit, or LanceDB's vector index.

Scores are those of evaluation (`retrieval.metrics.features`): computed in float64 and rounded to float32 once, so that
equal moments score equally. Of cosines a float32 product finds those that can be among the best, by the bound that is
stated there, and only these are computed again. Of equal scores the earlier moment comes first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from retrieval.heads.base import Similarity
from retrieval.heads.mean import cosine
from retrieval.metrics.features import FeatureScores

BLOCK = 8192  # moments that are compared in float64 at a time
MOST = 1_000_000
"""Moments up to which a product answers by itself; the vector index of more is asked."""
CANDIDATES = 3
"""Times as many moments as are wanted are taken from the vector index, whose distances are of rounded vectors."""

Best = list[list[tuple[float, int]]]
"""For each question scores and numbers of moments, the best first."""


@dataclass(frozen=True)
class Exact:
    """Scores of questions with moments that are held in memory.

    Attributes:
        kept: of all moments, on the CPU.
        similarity: the head's.
        norms: of vectors that are compared by their cosine.
    """

    kept: Float[Tensor, "moment ..."]
    similarity: Similarity
    norms: Float[Tensor, " moment"] | None

    @classmethod
    def of(cls, kept: Float[Tensor, "moment ..."], similarity: Similarity) -> "Exact":
        norms = None
        if similarity is cosine:
            parts = [torch.linalg.vector_norm(part.double(), dim=1) for part in kept.split(BLOCK)]
            norms = torch.cat([*parts, torch.empty(0).double()]).clamp_(min=1e-12)  # as F.normalize does
        return cls(kept, similarity, norms)

    def scores(self, questions: Float[Tensor, "question ..."]) -> Float[Tensor, "question moment"]:
        """All of them, each to the digit."""
        score, rows = FeatureScores(questions, self.kept, self.similarity), torch.arange(len(questions))
        blocks = [score(rows, block)[0] for block in torch.arange(len(self.kept)).split(BLOCK)]
        return torch.cat([*blocks, torch.empty(len(questions), 0)], dim=1)

    def best(
        self, questions: Float[Tensor, "question ..."], top: int, allowed: Bool[Tensor, " moment"] | None = None
    ) -> Best:
        """The `top` best of the moments that are allowed, for each question."""
        return [self._best(question[None], top, allowed) for question in questions]

    def _best(
        self, question: Float[Tensor, "1 ..."], top: int, allowed: Bool[Tensor, " moment"] | None
    ) -> list[tuple[float, int]]:
        if self.norms is None:
            scores = self.scores(question)[0]
            numbers = torch.arange(len(scores)) if allowed is None else allowed.nonzero()[:, 0]
            return ordered(scores[numbers], numbers, top)
        numbers = self._candidates(question[0], top, allowed)
        return ordered(self.of_moments(question, numbers), numbers, top)

    def of_moments(self, question: Float[Tensor, "1 ..."], numbers: Int[Tensor, " moment"]) -> Float[Tensor, " moment"]:
        """A question's scores with a few moments, to the digit."""
        return FeatureScores(question, self.kept, self.similarity)(torch.tensor([0]), numbers)[0][0]

    def _candidates(
        self, question: Float[Tensor, " dim"], top: int, allowed: Bool[Tensor, " moment"] | None
    ) -> Int[Tensor, " candidate"]:
        """All moments that can be among the best: those not further below the last of them than rounding allows."""
        assert self.norms is not None
        unit = (question.double() / question.double().norm().clamp(min=1e-12)).float()
        with torch.autocast("cpu", enabled=False):
            products = torch.mv(self.kept, unit).div_(self.norms.float())
        if allowed is not None:
            products.masked_fill_(~allowed, -torch.inf)
        top = min(top, len(products) if allowed is None else int(allowed.sum()))
        if top < 1:
            return torch.empty(0, dtype=torch.long)
        margin = (len(question) + 32) * 2.0**-24
        return (products >= products.topk(top).values[-1] - 2 * margin).nonzero()[:, 0]


def ordered(scores: Float[Tensor, " moment"], numbers: Int[Tensor, " moment"], top: int) -> list[tuple[float, int]]:
    """Best first, of equal ones the earlier moment; the numbers ascend."""
    order = scores.sort(descending=True, stable=True).indices[:top]
    return list(zip(scores[order].tolist(), numbers[order].tolist(), strict=True))


def build(table: Any) -> None:
    """The vector index of a table, of vectors that are rounded to eight bits a number (IVF_SQ), or all new rows in it.

    Of random vectors, which have no neighbourhoods, IVF_PQ finds half of the nearest, IVF_RQ nine of ten.
    """
    from lancedb.index import IvfSq

    if not is_built(table):
        table.create_index("vector", config=IvfSq(distance_type="cosine"))


def is_built(table: Any) -> bool:
    """Whether a table has a vector index."""
    return any(list(index.columns) == ["vector"] for index in table.list_indices())


def indexed(
    table: Any, question: Float[Tensor, " dim"], top: int, probes: int | None, condition: str | None
) -> Sequence[tuple[str, int, Tensor]]:
    """Moments that the vector index finds, by their files' keys and their numbers there, with what is kept of them.

    Args:
        table: of the moments.
        question: what the head keeps of it.
        top: how many are wanted.
        probes: partitions of the index that are looked through; None: all.
        condition: that they meet.
    """
    query = table.search(question.numpy()).distance_type("cosine").limit(CANDIDATES * top)
    query = query.nprobes(probes or table.count_rows())
    if condition is not None:
        query = query.where(condition, prefilter=True)
    found = query.select(["file", "number", "vector", "_distance"]).to_arrow()
    vectors = found.column("vector").combine_chunks().flatten().to_numpy().reshape(-1, len(question))
    kept = torch.from_numpy(vectors.copy())
    files, numbers = (found.column(name).to_pylist() for name in ("file", "number"))
    return list(zip(files, numbers, kept, strict=True))
