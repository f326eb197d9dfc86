"""CenterCLIP with k-medoids++ (Zhao et al., SIGIR 2022, algorithm 1): a segment's patches become their medoids."""

from jaxtyping import Float
from torch import Tensor

from retrieval.reducers.clustering import Clusters, k_medoids
from retrieval.reducers.clusters import ClusterReducer


class KMedoids(ClusterReducer):
    """Cluster each segment's patches by k-medoids++; for its settings see `ClusterReducer`."""

    def choose(self, patches: Float[Tensor, "segment frame patch dim"], num_clusters: int) -> Clusters:
        return k_medoids(patches.flatten(1, 2), num_clusters, self.distance, self.p, self.max_iterations)
