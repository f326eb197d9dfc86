"""Distances between all points of a set: Euclidean, Minkowski and cosine.

Every function returns float32 that is exactly symmetric and exactly 0 between equal points, so that ties are ties.
Euclidean distances go through one matrix product, in float64: |a|^2 + |b|^2 - 2ab loses half of its digits, and of
float32 too few would be left between near neighbours.
"""

import torch
from jaxtyping import Float, Float32, Float64
from torch import Tensor

from retrieval.errors import UserError

# Points closer than this part of the largest norm are equal: float32 tells none closer apart, and what the product
# leaves between equal points is far below.
_RESOLUTION = 1e-6

# Float64 copies of points are made of so many bytes at a time, which stay in the cache and need no fresh memory.
_COPIED_BYTES = 2**24


@torch.no_grad()
def pairwise_distances(
    points: Float[Tensor, "batch point dim"], distance: str = "euclidean", p: float = 2.0
) -> Float32[Tensor, "batch point point"]:
    """Distances between all points of each batch entry.

    Args:
        points: any floating type; computed as float32 values.
        distance: `euclidean`, `minkowski` (with `p`) or `cosine` (1 - cosine; a point of zero norm is at distance 1
            from all points but its like).
        p: Minkowski exponent, above 0; `inf` for the largest difference of a coordinate.

    Raises:
        UserError: an unknown distance or exponent; NaN or infinity in the points, or points so large that distances
            overflow float32.
    """
    check_distance(distance, p)
    points = points.float()
    if distance == "minkowski" and p != 2:
        distances = torch.cdist(points, points, p=p)
    else:
        exact = _cosine if distance == "cosine" else _euclidean
        sets = max(1, _COPIED_BYTES // max(1, 8 * points.shape[1:].numel()))
        distances = torch.cat([exact(part.double()) for part in points.split(sets)])
    if not torch.isfinite(distances.amax()):  # NaN is the largest of all
        raise UserError(f"NaN or infinity in the distances of points {tuple(points.shape)}: points must be finite")
    return distances


def check_distance(distance: str, p: float) -> None:
    """Check the knobs `distance` and `p`.

    Raises:
        UserError: an unknown distance, an exponent that is not above 0, or one that the distance does not use.
    """
    if distance not in ("euclidean", "minkowski", "cosine"):
        raise UserError(f"distance={distance!r}: choose euclidean, minkowski or cosine")
    if not p > 0:
        raise UserError(f"p={p}: a Minkowski exponent is above 0")
    if p != 2 and distance != "minkowski":
        raise UserError(f"p={p} with distance={distance}: only distance=minkowski has an exponent")


def _euclidean(points: Float64[Tensor, "batch point dim"]) -> Float32[Tensor, "batch point point"]:
    norms = torch.linalg.vector_norm(points, dim=-1).square_()
    squared = torch.baddbmm(norms.unsqueeze(2), points, points.mT, alpha=-2).add_(norms.unsqueeze(1)).float()
    squared.masked_fill_(squared <= _RESOLUTION**2 * norms.amax(1)[:, None, None], 0)
    return torch.maximum(squared, squared.mT).sqrt_()


def _cosine(points: Float64[Tensor, "batch point dim"]) -> Float32[Tensor, "batch point point"]:
    """Half the squared distance of the directions; points without one share a direction orthogonal to all others."""
    norms = points.norm(dim=-1, keepdim=True)
    directions = torch.cat([points / norms.where(norms > 0, 1), (norms == 0).double()], dim=-1)
    return _euclidean(directions).square_().div_(2)
