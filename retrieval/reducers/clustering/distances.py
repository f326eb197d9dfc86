"""Distances between all points of a set: Euclidean, Minkowski and cosine.

Every function returns float32 that is exactly symmetric and exactly 0 between equal points, so that ties are ties.
Euclidean distances go through matrix products, |a|^2 + |b|^2 - 2ab, which loses half of its digits: of float32 too few
would be left between near neighbours. So the products are made in float64, or on cards that have hardly any of it as in
`products.py`, with the same medoids.
"""

import torch
from jaxtyping import Float, Float32
from torch import Tensor

from retrieval.errors import UserError
from retrieval.full_precision import without_autocast
from retrieval.reducers.clustering.products import has_little_float64, inner_products

# Points closer than this part of the largest norm are equal: float32 tells none closer apart, and what the product
# leaves between equal points is far below.
_RESOLUTION = 1e-6

# Copies of points in float64 or in digits are made of so many bytes at a time: on the CPU they stay in the cache and
# need no fresh memory, on CUDA they are enough for a kernel to fill the card.
_COPIED_BYTES = {"cpu": 2**24, "cuda": 2**27}


@torch.no_grad()
def pairwise_distances(
    points: Float[Tensor, "batch point dim"], distance: str = "euclidean", p: float = 2.0, digits: bool | None = None
) -> Float32[Tensor, "batch point point"]:
    """Distances between all points of each batch entry, whatever autocast says.

    Args:
        points: any floating type; computed as float32 values.
        distance: `euclidean`, `minkowski` (with `p`) or `cosine` (1 - cosine; a point of zero norm is at distance 1
            from all points but its like).
        p: Minkowski exponent, above 0; `inf` for the largest difference of a coordinate.
        digits: make the products from digits in float32 rather than in float64; None: where the device has hardly any
            float64.

    Raises:
        UserError: an unknown distance or exponent; NaN or infinity in the points, or points so large that distances
            overflow float32. On CUDA, where asking waits for the device, they are left to `check_finite`.
    """
    check_distance(distance, p)
    digits = has_little_float64(points.device) if digits is None else digits
    with without_autocast(points):
        distances = _distances(points.float(), distance, p, digits)
    if not points.is_cuda:
        check_finite(bool(distances.amax().isfinite()), points)  # NaN is the largest of all
    return distances


def check_finite(finite: bool, points: Float[Tensor, "batch point dim"]) -> None:
    """Raise a UserError unless the distances of these points are finite."""
    if not finite:
        raise UserError(f"NaN or infinity in the distances of points {tuple(points.shape)}: points must be finite")


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


def _distances(
    points: Float32[Tensor, "batch point dim"], distance: str, p: float, digits: bool
) -> Float32[Tensor, "batch point point"]:
    if distance == "minkowski" and p != 2:
        return torch.cdist(points, points, p=p)
    exact = _cosine if distance == "cosine" else _euclidean
    copied = _COPIED_BYTES.get(points.device.type, 2**24)
    sets = max(1, copied // max(1, 8 * points.shape[1:].numel()))
    return torch.cat([exact(part, digits) for part in points.split(sets)])


def _euclidean(points: Float[Tensor, "batch point dim"], digits: bool) -> Float32[Tensor, "batch point point"]:
    if digits:
        products = inner_products(points)
        norms = products.diagonal(dim1=1, dim2=2)
        squared = (norms.unsqueeze(2) + norms.unsqueeze(1) - 2 * products).float()
    else:
        points = points.double()
        norms = torch.linalg.vector_norm(points, dim=-1).square_()
        squared = torch.baddbmm(norms.unsqueeze(2), points, points.mT, alpha=-2).add_(norms.unsqueeze(1)).float()
    squared.masked_fill_(squared <= _RESOLUTION**2 * norms.amax(1)[:, None, None], 0)
    return torch.maximum(squared, squared.mT).sqrt_()


def _cosine(points: Float32[Tensor, "batch point dim"], digits: bool) -> Float32[Tensor, "batch point point"]:
    """Half the squared distance of the directions; points without one share a direction orthogonal to all others."""
    exact = points.double()
    norms = exact.norm(dim=-1, keepdim=True)
    directions = torch.cat([exact / norms.where(norms > 0, 1), (norms == 0).double()], dim=-1)
    return _euclidean(directions, digits).square_().div_(2)
