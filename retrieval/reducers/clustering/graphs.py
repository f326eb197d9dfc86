"""Affinity graphs for spectral clustering: heat kernel, k nearest neighbours, spatio-temporal window (CenterCLIP, 3.3).

No point is its own neighbour (Ng, Jordan and Weiss 2001).
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from retrieval.errors import UserError


def heat_kernel(distances: Float[Tensor, "batch point point"], sigma: float) -> Float[Tensor, "batch point point"]:
    """Affinity exp(-d^2 / 2 sigma^2) between different points."""
    affinity = distances.div(sigma).square_().div_(-2).exp_()
    affinity.diagonal(dim1=1, dim2=2).zero_()
    return affinity


def nearest_neighbours(
    distances: Float[Tensor, "batch point point"], neighbours: int
) -> Bool[Tensor, "batch point point"]:
    """Edges between each point and its nearest others, kept where either end keeps them; ties to the lowest index.

    Raises:
        UserError: not between 1 and the number of other points.
    """
    others = distances.shape[1] - 1
    if not 1 <= neighbours <= others:
        raise UserError(f"{neighbours} neighbours of {others + 1} points: 1 to {others} are possible")
    itself = torch.eye(others + 1, dtype=torch.bool, device=distances.device)
    order = distances.masked_fill(itself, torch.inf).argsort(dim=2, stable=True)
    edges = torch.zeros_like(distances, dtype=torch.bool).scatter_(2, order[..., :neighbours], True)
    return edges | edges.mT


def spatio_temporal_window(
    frames: int, height: int, width: int, window: tuple[int, int, int]
) -> Bool[Tensor, "point point"]:
    """Which patches of a segment lie in each other's window.

    Args:
        frames: frames of the segment; its points are ordered frame, row, column.
        height: rows of patches in a frame.
        width: columns of patches in a frame.
        window: full extent (frames, rows, columns) of the box around a patch; odd numbers.
    """
    axes = [torch.arange(extent) for extent in (frames, height, width)]
    positions = torch.cartesian_prod(*axes)
    offsets = (positions.unsqueeze(0) - positions.unsqueeze(1)).abs()
    return (offsets <= torch.tensor(window) // 2).all(-1)
