"""What the clustering reducers of CenterCLIP (SIGIR 2022, section 3.2) share: each cluster becomes one token."""

from abc import abstractmethod
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from retrieval.errors import UserError
from retrieval.full_precision import without_autocast
from retrieval.reducers.base import TowerShape
from retrieval.reducers.clustering import Clusters, check_distance
from retrieval.reducers.segments import Schedule, SegmentReducer


class ClusterReducer(SegmentReducer):
    """Clusters the patches of each segment; subclasses say how.

    The choice is made in float32 and without gradient; gradients flow through the tokens that travel on.

    Args:
        frames: see `SegmentReducer`.
        block: see `SegmentReducer`.
        num_segments: see `SegmentReducer`.
        num_clusters: clusters per segment: a number, or one for each block that reduces.
        distance: between patches: `euclidean`, `minkowski` (with `p`) or `cosine`.
        p: exponent of the Minkowski distance.
        pre_norm: l2-normalise the patches before they are clustered.
        aggregate: what stands for a cluster: its `medoid`, or the `mean` of its patches.
        max_iterations: rounds of k-medoids at most.
        cluster_embedding: add a learned embedding to each cluster's token. The i-th starts as CLIP's position of the
            i-th patch of a frame, and they train at CLIP's rate.

    Raises:
        UserError: settings that contradict each other; when the tower is built, those that do not fit it.
    """

    def __init__(
        self,
        frames: int = 12,
        block: Schedule = 6,
        num_segments: Schedule = 4,
        num_clusters: Schedule = 49,
        distance: str = "euclidean",
        p: float = 2.0,
        pre_norm: bool = False,
        aggregate: str = "medoid",
        max_iterations: int = 100,
        cluster_embedding: bool = False,
    ) -> None:
        super().__init__(frames, block, num_segments, num_clusters)
        check_distance(distance, p)
        if aggregate not in ("medoid", "mean"):
            raise UserError(f"reducer.aggregate={aggregate!r}: choose medoid or mean")
        if max_iterations < 0:
            raise UserError(f"reducer.max_iterations={max_iterations}: cannot be negative")
        self.distance, self.p, self.pre_norm = distance, p, pre_norm
        self.aggregate, self.max_iterations = aggregate, max_iterations
        self.embeds_clusters = cluster_embedding
        self.cluster_embedding = nn.ParameterDict()

    @abstractmethod
    def choose(self, patches: Float[Tensor, "segment frame patch dim"], num_clusters: int) -> Clusters:
        """Cluster the patches of each segment, its frames one behind the other."""

    def build(self, tower: TowerShape, position_embedding: Float[Tensor, "patch dim"]) -> None:
        super().build(tower, position_embedding)
        if not self.embeds_clusters:
            return
        for block, clusters in self.num_clusters.items():
            if clusters > len(position_embedding):
                raise UserError(
                    f"reducer.cluster_embedding=true with reducer.num_clusters={clusters} at block {block}, but each "
                    f"cluster's embedding starts from a position of CLIP's, which has {len(position_embedding)}: lower "
                    "reducer.num_clusters"
                )
            self.cluster_embedding[str(block)] = nn.Parameter(position_embedding[:clusters].detach().clone())

    def at_clips_rate(self) -> Iterator[nn.Parameter]:
        return iter(self.cluster_embedding.values())

    def reduce(
        self, patches: Float[Tensor, "segment frame patch dim"], block: int
    ) -> tuple[Float[Tensor, "segment cluster dim"], Int[Tensor, "segment frame*patch"]]:
        seen = patches.detach().float()
        try:
            clusters = self.choose(F.normalize(seen, dim=-1) if self.pre_norm else seen, self.num_clusters[block])
        except ValueError as error:
            raise UserError(f"reducer {type(self).__name__} at block {block}: {error}") from error
        points = patches.flatten(1, 2)
        tokens = _medoids(points, clusters) if self.aggregate == "medoid" else _means(points, clusters)
        if self.embeds_clusters:
            tokens = tokens + self.cluster_embedding[str(block)].to(tokens.dtype)
        return tokens, clusters.assignment


def _medoids(points: Float[Tensor, "segment point dim"], clusters: Clusters) -> Float[Tensor, "segment cluster dim"]:
    return points.gather(1, clusters.medoids.unsqueeze(2).expand(-1, -1, points.shape[2]))


def _means(points: Float[Tensor, "segment point dim"], clusters: Clusters) -> Float[Tensor, "segment cluster dim"]:
    members = F.one_hot(clusters.assignment, clusters.medoids.shape[1]).mT
    with without_autocast(points):  # which would round the points
        sums = torch.bmm(members.to(points.dtype), points)
    return (sums / members.sum(2, keepdim=True)).to(points.dtype)
