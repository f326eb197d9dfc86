"""Which patches went into which token, frame by frame, for any reducer (after the figures of ToMe, ICLR 2023)."""

from collections.abc import Sequence
from math import isqrt

import torch
from jaxtyping import Float, Int, UInt8
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from torch import Tensor

from retrieval.errors import UserError
from retrieval.model import CLIP

INCHES = 1.2
"""Side of a frame in the figure."""
BORDER = 0.05
"""Width of the lines around a token, as a share of a patch; two tokens' lines stand side by side."""
DROPPED = 0.15
"""Brightness of the patches that no token stands for, as a share of their own."""
COLOURS = colormaps["Set3"].colors  # type: ignore[attr-defined]
"""Of tokens that span frames: light ones, on which a black number can be read."""


@torch.no_grad()
def draw_tokens(model: CLIP, frames: UInt8[Tensor, "frame 3 height width"], blocks: Sequence[int]) -> Figure:
    """A row of frames as they are, and one for each of the blocks as its tokens see them.

    A token within one frame is framed in white. One that spans frames has a number and a colour, the same in all of
    them; the largest is 1.

    Args:
        model: its reducer is the one that is drawn.
        frames: bytes of one video, of the model's size.
        blocks: the blocks, counted from 0, after which to look.

    Raises:
        UserError: a block that the tower lacks, or a reducer that does not keep where its tokens come from.
    """
    walked = model.visual.walk(model.pixels(frames.unsqueeze(0)))
    missing = [block for block in blocks if not 0 <= block < len(walked)]
    if missing:
        raise UserError(f"blocks {missing}: the video tower has blocks 0 to {len(walked) - 1}")
    figure = Figure(figsize=(INCHES * len(frames) + 0.9, INCHES * (1 + len(blocks))), layout="constrained")
    gaps = {"wspace": 0.02, "hspace": 0.02}
    lines = figure.subplots(1 + len(blocks), len(frames), squeeze=False, gridspec_kw=gaps).tolist()
    _draw_row(lines[0], "frames", frames / 255)
    for block, axes in zip(blocks, lines[1:], strict=True):
        tokens = walked[block]
        if tokens.source is None:
            reducer = type(model.visual.reducer).__name__
            raise UserError(f"{reducer} loses the source of its tokens: choose them by Tokens.select, or set it")
        source = tokens.source[0]
        _draw_row(axes, f"block {block}\n{tokens.clips} x {tokens.layout.patches}", token_means(frames / 255, source))
        _draw_borders(axes, source.cpu())
    return figure


def token_means(
    frames: Float[Tensor, "frame 3 height width"], source: Int[Tensor, " patch"]
) -> Float[Tensor, "frame 3 height width"]:
    """Each patch as the mean of all patches in its token; dropped ones go dark.

    Args:
        frames: values in [0, 1]; the patches of a frame form a square.
        source: for each patch of the video the token that it went into; -1 where it was dropped.
    """
    count, _, height, width = frames.shape
    side = isqrt(len(source) // count)
    shape = (count, 3, side, height // side, side, width // side)
    patches = frames.reshape(shape).permute(0, 2, 4, 1, 3, 5).flatten(0, 2)  # frame*patch, colour, row, column
    _, token = source.unique(return_inverse=True)
    sums = patches.new_zeros(int(token.max()) + 1, *patches.shape[1:]).index_add(0, token, patches)
    mean = (sums / token.bincount()[:, None, None, None])[token]
    mean = torch.where((source < 0)[:, None, None, None], DROPPED * patches, mean)
    return mean.unflatten(0, (count, side, side)).permute(0, 3, 1, 4, 2, 5).reshape(frames.shape)


def spanning_tokens(source: Int[Tensor, "frame patch"]) -> dict[int, int]:
    """The tokens with patches in several frames, from the largest on, and their numbers from 1."""
    tokens = [int(token) for token in source.unique() if token >= 0]
    sizes = {token: int((source == token).sum()) for token in tokens if (source == token).any(dim=1).sum() > 1}
    return {token: number for number, token in enumerate(sorted(sizes, key=lambda token: -sizes[token]), 1)}


def places(token: Int[Tensor, "row column"]) -> list[tuple[int, int, int]]:
    """Each connected area of a frame's tokens: the token, and row and column of the patch nearest to its middle."""
    areas = torch.arange(token.numel()).view_as(token)
    while True:  # the highest label of an area spreads over it
        spread = areas.clone()
        for here, there in (((slice(1, None),), (slice(-1),)), ((..., slice(1, None)), (..., slice(-1)))):
            for one, other in ((here, there), (there, here)):
                spread[one] = torch.where(token[one] == token[other], spread[one].maximum(spread[other]), spread[one])
        if spread.equal(areas):
            break
        areas = spread
    found = []
    for area in areas.unique():
        members = (areas == area).nonzero()
        row, column = members[(members - members.float().mean(0)).norm(dim=1).argmin()].tolist()
        found.append((int(token[row, column]), row, column))
    return found


def _draw_row(axes: Sequence[Axes], title: str, pictures: Float[Tensor, "frame 3 height width"]) -> None:
    axes[0].set_ylabel(title, rotation=0, ha="right", va="center", fontsize=8)
    for axis, picture in zip(axes, pictures.cpu(), strict=True):
        axis.imshow(picture.permute(1, 2, 0).numpy())
        axis.set(xticks=[], yticks=[])


def _draw_borders(axes: Sequence[Axes], source: Int[Tensor, " patch"]) -> None:
    """Lines around the tokens, and the numbers of those that span frames."""
    grids = source.view(len(axes), -1)
    side = isqrt(grids.shape[1])
    numbers = spanning_tokens(grids)
    points = 72 * INCHES / side  # of a patch
    for axis, grid in zip(axes, grids.view(len(axes), side, side), strict=True):
        patch = (axis.get_xlim()[1] - axis.get_xlim()[0]) / side  # in pixels of the frame, the first of which is at 0
        for token, segments in _segments(grid).items():
            ends = [[(patch * x - 0.5, patch * y - 0.5) for x, y in segment] for segment in segments]
            axis.add_collection(LineCollection(ends, colors=[_colour(numbers, token)], linewidths=BORDER * points))
        for token, row, column in places(grid):
            if token in numbers:
                x, y = (patch * (place + 0.5) - 0.5 for place in (column, row))
                box = {"boxstyle": "round,pad=0.15", "facecolor": _colour(numbers, token), "linewidth": 0}
                axis.text(x, y, str(numbers[token]), fontsize=min(5, 0.42 * points), ha="center", va="center", bbox=box)


def _segments(token: Int[Tensor, "row column"]) -> dict[int, list[list[tuple[float, float]]]]:
    """The lines around each token, a little within its patches, where its neighbour is another: (x, y) in patches."""
    side = len(token)
    near, far = BORDER / 2, 1 - BORDER / 2
    sides: list[tuple[int, int, list[tuple[float, float]]]] = [
        (-1, 0, [(0.0, near), (1.0, near)]),
        (1, 0, [(0.0, far), (1.0, far)]),
        (0, -1, [(near, 0.0), (near, 1.0)]),
        (0, 1, [(far, 0.0), (far, 1.0)]),
    ]
    segments: dict[int, list[list[tuple[float, float]]]] = {}
    for row, column in torch.cartesian_prod(torch.arange(side), torch.arange(side)).tolist():
        for down, right, ends in sides:
            y, x = row + down, column + right
            own = int(token[row, column])
            if 0 <= y < side and 0 <= x < side and own >= 0 and token[y, x] != own:
                segments.setdefault(own, []).append([(column + a, row + b) for a, b in ends])
    return segments


def _colour(numbers: dict[int, int], token: int) -> str | tuple[float, float, float]:
    return COLOURS[(numbers[token] - 1) % len(COLOURS)] if token in numbers else "white"
