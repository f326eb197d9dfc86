"""Which patches went into which token, frame by frame, for any reducer (after the figures of ToMe, ICLR 2023)."""

from collections.abc import Sequence
from math import isqrt

import torch
from jaxtyping import Float, Int
from matplotlib.figure import Figure
from torch import Tensor

from retrieval.errors import UserError
from retrieval.model import CLIP

LINE = 1.0
"""Colour of the line between two tokens: white."""
DROPPED = 0.15
"""Brightness of the patches that no token stands for, as a share of their own."""


@torch.no_grad()
def draw_tokens(model: CLIP, frames: Float[Tensor, "frame 3 height width"], blocks: Sequence[int]) -> Figure:
    """A row of frames as they are, and one for each of the blocks as its tokens see them.

    Args:
        model: its reducer is the one that is drawn.
        frames: of one video, as the model takes them.
        blocks: the blocks, counted from 0, after which to look.

    Raises:
        UserError: a block that the tower lacks.
    """
    walked = model.visual.walk(frames.unsqueeze(0))
    missing = [block for block in blocks if not 0 <= block < len(walked)]
    if missing:
        raise UserError(f"blocks {missing}: the video tower has blocks 0 to {len(walked) - 1}")
    pixels = _pixels(model, frames)
    rows = [("frames", pixels)]
    for block in blocks:
        tokens = walked[block]
        assert tokens.source is not None  # `walk` keeps it
        title = f"block {block}\n{tokens.clips} x {tokens.layout.patches}"
        rows.append((title, token_picture(pixels, tokens.source[0])))
    return _figure(rows)


def token_picture(
    pixels: Float[Tensor, "frame 3 height width"], source: Int[Tensor, " patch"]
) -> Float[Tensor, "frame 3 height width"]:
    """Each patch as the mean of all patches in its token, with a line where two tokens meet; dropped ones go dark.

    Args:
        pixels: values in [0, 1]; the patches of a frame form a square.
        source: for each patch of the video the token that it went into; -1 where it was dropped.
    """
    frames, _, height, width = pixels.shape
    side = isqrt(len(source) // frames)
    shape = (frames, 3, side, height // side, side, width // side)
    patches = pixels.reshape(shape).permute(0, 2, 4, 1, 3, 5).flatten(0, 2)  # frame*patch, colour, row, column
    mean = _mean_of_token(patches, source)
    mean = torch.where((source < 0)[:, None, None, None], DROPPED * patches, mean)
    grid = source.reshape(frames, side, side)
    _outline(mean.unflatten(0, (frames, side, side)), grid)
    return mean.unflatten(0, (frames, side, side)).permute(0, 3, 1, 4, 2, 5).reshape(pixels.shape)


def _mean_of_token(
    patches: Float[Tensor, "patch 3 row column"], source: Int[Tensor, " patch"]
) -> Float[Tensor, "patch 3 row column"]:
    _, token = source.unique(return_inverse=True)
    sums = patches.new_zeros(int(token.max()) + 1, *patches.shape[1:]).index_add(0, token, patches)
    return (sums / token.bincount()[:, None, None, None])[token]


def _outline(patches: Float[Tensor, "frame y x 3 row column"], token: Int[Tensor, "frame y x"]) -> None:
    """Draw the first row or column of a patch white where the token above or to the left is another; in place."""
    above = token[:, 1:] != token[:, :-1]
    left = token[:, :, 1:] != token[:, :, :-1]
    patches[:, 1:, :, :, 0][above] = LINE
    patches[:, :, 1:, :, :, 0][left] = LINE


def _pixels(model: CLIP, frames: Float[Tensor, "frame 3 height width"]) -> Float[Tensor, "frame 3 height width"]:
    """What the model's normalisation was made of, in [0, 1]."""
    mean, std = (
        torch.tensor(values, device=frames.device)[:, None, None]
        for values in (model.architecture.image_mean, model.architecture.image_std)
    )
    return (frames * std + mean).clamp(0, 1)


def _figure(rows: list[tuple[str, Float[Tensor, "frame 3 height width"]]]) -> Figure:
    count = len(rows[0][1])
    figure = Figure(figsize=(count + 0.9, len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), count, squeeze=False, gridspec_kw={"wspace": 0.02, "hspace": 0.02})
    for (title, pictures), line in zip(rows, axes, strict=True):
        line[0].set_ylabel(title, rotation=0, ha="right", va="center", fontsize=8)
        for axis, picture in zip(line, pictures.cpu(), strict=True):
            axis.imshow(picture.permute(1, 2, 0).numpy())
            axis.set_xticks([])
            axis.set_yticks([])
    return figure
