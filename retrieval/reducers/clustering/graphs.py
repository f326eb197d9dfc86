"""Affinity graphs of spectral clustering (CenterCLIP, 3.3): heat kernel, nearest neighbours, spatio-temporal window."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from retrieval.errors import UserError


def heat_kernel(distances: Float[Tensor, "batch point point"], sigma: float) -> Float[Tensor, "batch point point"]:
    """Affinity exp(-d^2 / 2 sigma^2), 1 of a point with itself."""
    return distances.div(sigma).square_().div_(-2).exp_()


def nearest_neighbours(
    distances: Float[Tensor, "batch point point"], neighbours: int, own_neighbour: bool = True
) -> Bool[Tensor, "batch point point"]:
    """Edges between each point and its nearest, kept where either end keeps them.

    Points as far as the last of the neighbours are neighbours too.

    Args:
        distances: between all points.
        neighbours: how many.
        own_neighbour: count each point as the nearest to itself.

    Raises:
        UserError: not between 1 and the number of points that can be neighbours.
    """
    points = distances.shape[1]
    most = points if own_neighbour else points - 1
    if not 1 <= neighbours <= most:
        raise UserError(f"{neighbours} neighbours of {points} points: 1 to {most} are possible")
    if not own_neighbour:
        itself = torch.eye(points, dtype=torch.bool, device=distances.device)
        distances = distances.masked_fill(itself, torch.inf)
    edges = distances <= distances.kthvalue(neighbours, dim=2, keepdim=True).values
    return edges | edges.mT


def spatio_temporal_window(
    frames: int, height: int, width: int, window: tuple[int, int, int], device: torch.device | str = "cpu"
) -> Bool[Tensor, "point point"]:
    """Which patches of a segment lie in each other's window.

    Args:
        frames: frames of the segment; its points are ordered frame, row, column.
        height: rows of patches in a frame.
        width: columns of patches in a frame.
        window: full extent (frames, rows, columns) of the box around a patch; odd numbers.
        device: where it is made.
    """
    axes = [torch.arange(extent, device=device) for extent in (frames, height, width)]
    positions = torch.cartesian_prod(*axes)
    offsets = (positions.unsqueeze(0) - positions.unsqueeze(1)).abs().unbind(-1)
    inside = [offset <= extent // 2 for offset, extent in zip(offsets, window, strict=True)]
    return torch.stack(inside).all(0)
