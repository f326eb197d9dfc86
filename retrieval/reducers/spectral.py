"""CenterCLIP with spectral clustering (Zhao et al., SIGIR 2022, algorithm 2): clusters of a graph of the patches."""

from collections.abc import Sequence
from math import isqrt
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from retrieval.errors import UserError
from retrieval.reducers.base import Layout, TowerShape
from retrieval.reducers.clustering import Clusters, spatio_temporal_window, spectral_clusters
from retrieval.reducers.clusters import ClusterReducer


class Spectral(ClusterReducer):
    """Cluster each segment's patches by the eigenvectors of their affinity graph.

    Args:
        sigma: width of the heat kernel, in the unit of the distances.
        graph: `heat_kernel` joins all patches, `nearest_neighbours` only near ones.
        neighbours: how many that graph joins each patch with; None takes the published number, 5 per frame of the
            segment, and 5 more from 100 patches a frame on.
        own_neighbour: count each patch among its own nearest neighbours, as for the published checkpoints; without,
            noise is clustered better.
        window: join only patches in a box of (frames, rows, columns) around each other, odd numbers; None joins all.
        clustering: the settings of `ClusterReducer`.

    Raises:
        UserError: settings that contradict each other; when the tower is built, those that do not fit it.
    """

    def __init__(
        self,
        sigma: float = 2.0,
        graph: str = "heat_kernel",
        neighbours: int | None = None,
        own_neighbour: bool = True,
        window: Sequence[int] | None = None,
        **clustering: Any,
    ) -> None:
        super().__init__(**clustering)
        _check_graph(sigma, graph, neighbours)
        if window is not None:
            _check_window(window, list(self.num_clusters))
        self.sigma, self.graph, self.neighbours, self.own_neighbour = sigma, graph, neighbours, own_neighbour
        self.window = None if window is None else (window[0], window[1], window[2])

    def build(self, tower: TowerShape, position_embedding: Float[Tensor, "patch dim"]) -> None:
        if self.window is not None and isqrt(tower.patches) ** 2 != tower.patches:
            raise UserError(f"reducer.window={self.window}, but the {tower.patches} patches of a frame are no square")
        self.patches_of_a_frame = tower.patches
        super().build(tower, position_embedding)

    def layout_before_attention(self, layout: Layout, block: int) -> Layout:
        reduced = super().layout_before_attention(layout, block)
        if block not in self.num_segments:
            return reduced
        if self.window is not None and layout.patches != self.patches_of_a_frame:
            raise UserError(
                f"reducer.window={self.window} at block {block} needs the {self.patches_of_a_frame} patches of whole "
                f"frames, but {layout.patches} are left: set reducer.window=null or let this reducer come first"
            )
        most = self._most_neighbours(layout.clips // reduced.clips * layout.patches)
        if self.neighbours is not None and self.neighbours > most:
            raise UserError(
                f"reducer.neighbours={self.neighbours} at block {block}, but a patch has {most} in its segment: lower "
                "reducer.neighbours or reducer.num_segments"
            )
        return reduced

    def choose(self, patches: Float[Tensor, "segment frame patch dim"], num_clusters: int) -> Clusters:
        _, frames, count, _ = patches.shape
        return spectral_clusters(
            patches.flatten(1, 2),
            num_clusters,
            sigma=self.sigma,
            neighbours=self._neighbours(frames, count),
            own_neighbour=self.own_neighbour,
            window=self._window(frames, count, patches.device),
            distance=self.distance,
            p=self.p,
            max_iterations=self.max_iterations,
        )

    def _neighbours(self, frames: int, patches: int) -> int | None:
        most = self._most_neighbours(frames * patches)
        if self.graph == "heat_kernel" or most == 0:
            return None
        return self.neighbours or min(5 * frames + (5 if patches >= 100 else 0), most)

    def _most_neighbours(self, patches: int) -> int:
        return patches if self.own_neighbour else patches - 1

    def _window(self, frames: int, patches: int, device: torch.device) -> Bool[Tensor, "point point"] | None:
        side = isqrt(patches)
        return None if self.window is None else spatio_temporal_window(frames, side, side, self.window, device)


def _check_graph(sigma: float, graph: str, neighbours: int | None) -> None:
    if not sigma > 0:
        raise UserError(f"reducer.sigma={sigma}: must be above 0")
    if graph not in ("heat_kernel", "nearest_neighbours"):
        raise UserError(f"reducer.graph={graph!r}: choose heat_kernel or nearest_neighbours")
    if neighbours is not None and (graph == "heat_kernel" or neighbours < 1):
        raise UserError(
            f"reducer.neighbours={neighbours} with reducer.graph={graph}: a number above 0, and only for "
            "graph=nearest_neighbours"
        )


def _check_window(window: Sequence[int], blocks: list[int]) -> None:
    if len(window) != 3 or any(extent < 1 or extent % 2 == 0 for extent in window):
        raise UserError(f"reducer.window={list(window)}: three odd numbers, of frames, rows and columns")
    if len(blocks) > 1:
        raise UserError(
            f"reducer.window={list(window)} with reducer.block={blocks}: after the first block that clusters, patches "
            "have no place in a frame; use one block or window=null"
        )
