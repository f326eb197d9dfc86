"""RLT: patches that stand still are kept once, with the length of their run (Choudhury et al., NeurIPS 2024)."""

from math import isqrt

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from retrieval.errors import UserError
from retrieval.reducers.base import Layout, Reducer, Tokens, TowerShape, follow
from retrieval.reducers.joining import join, joined_layout


class RLT(Reducer):
    """Before the first block, drop the patches that differ too little from the same patch of the frame before.

    A patch that stays has the number of frames that it stands for as its size. All frames of a video are then joined
    into one clip, as the paper's transformers attend, so that a dropped patch is seen through the one that stands for
    it; every frame's class token stays. The clips of a batch are padded to the longest of them. CLIP knows no time, so
    the paper's temporal positions are learned here, from zero on.

    Args:
        frames: frames per video.
        threshold: mean absolute difference of a patch's pixels (0 to 255) up to which it counts as still; with -1 all
            patches stay.
        joined: let all frames' tokens attend to one another. Without it a frame sees only what moved in it, and as the
            first frame of a video keeps all its patches, clips do not become shorter.
        positions: learn a temporal position for each frame, where they are joined.
        length_embedding: learn an embedding for each length, from zero on (section 3.3).
        proportional_attention: add log(size) to the attention logits, so that a patch that stands for several frames
            draws as much attention as those would. The paper does without.

    Raises:
        UserError: a threshold that no patch can reach.
    """

    frames: int
    ragged = True
    takes_padding = True

    def __init__(
        self,
        frames: int = 12,
        threshold: float = 6.0,
        joined: bool = True,
        positions: bool = True,
        length_embedding: bool = False,
        proportional_attention: bool = True,
    ) -> None:
        super().__init__()
        if not -1 <= threshold <= 255:
            raise UserError(f"reducer.threshold={threshold}: a difference of pixels from 0 to 255, or -1 to keep all")
        self.frames, self.threshold, self.joined = frames, threshold, joined
        self.learns_positions, self.learns_lengths = positions and joined, length_embedding
        self.proportional_attention = proportional_attention

    def build(self, tower: TowerShape, position_embedding: Float[Tensor, "patch dim"]) -> None:
        self.byte_steps = tower.byte_steps
        if self.learns_positions:
            self.positions = nn.Parameter(torch.zeros(self.frames, 1, tower.width))
        if self.learns_lengths:
            self.length_embedding = nn.Parameter(torch.zeros(self.frames, tower.width))

    def layout_before_blocks(self, layout: Layout) -> Layout:
        return joined_layout(layout, layout.clips) if self.joined else layout

    def before_blocks(self, tokens: Tokens, frames: Float[Tensor, "video frame 3 height width"]) -> Tokens:
        length, standing = run_lengths(frames, tokens.layout.patches, self.threshold, self.byte_steps)
        tokens = Tokens(
            x=self._embedded(tokens.x, length),
            size=torch.cat([tokens.size[:, :1], length.flatten(0, 1).unsqueeze(2).to(tokens.size.dtype)], dim=1),
            clips=tokens.clips,
            source=_standing_source(tokens, standing),
            padded=True,
        )
        if self.joined:
            tokens = join(tokens, tokens.clips)
        return tokens.select(tokens.live())

    def _embedded(
        self, x: Float[Tensor, "clip token dim"], length: Int[Tensor, "video frame patch"]
    ) -> Float[Tensor, "clip token dim"]:
        if self.learns_positions:
            x = (x.unflatten(0, (-1, self.frames)) + self.positions).flatten(0, 1)
        if self.learns_lengths:
            of_patches = self.length_embedding[(length.flatten(0, 1) - 1).clamp(min=0)]
            x = x + F.pad(of_patches, (0, 0, 1, 0))  # class tokens have no length
        return x


@torch.no_grad()
def run_lengths(
    frames: Float[Tensor, "video frame 3 height width"],
    patches: int,
    threshold: float,
    byte_steps: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> tuple[Int[Tensor, "video frame {patches}"], Int[Tensor, "video frame {patches}"]]:
    """How many frames each patch stands for, and which frame's patch stands for it.

    Args:
        frames: their pixels; `byte_steps` of each colour are worth a difference of 1, and are rounded to whole ones.
        patches: of a frame, as many in a row as in a column.
        threshold: a patch is kept where the mean absolute difference of its pixels and colours to the frame before is
            above it; the first frame is kept whole.

    Returns:
        The length of the run that starts at each patch, 0 where none does because the patch is dropped; and the frame
        at which the run that a patch is part of starts, its own where it is kept.
    """
    changes = (frames[:, 1:].float() - frames[:, :-1].float()).abs().unbind(2)
    steps = [(change * step).round() for change, step in zip(changes, byte_steps, strict=True)]
    difference = torch.stack(steps).sum(0)
    count, row = frames.shape[1], isqrt(patches)
    in_patches = difference.unflatten(3, (row, -1)).unflatten(2, (row, -1))  # [video, frame, row, y, column, x]
    pixels = 3 * in_patches.shape[3] * in_patches.shape[5]
    moved: Bool[Tensor, "video later patch"] = (in_patches.sum((3, 5)) > threshold * pixels).flatten(2)
    keep = F.pad(moved, (0, 0, 1, 0), value=True)
    frame = torch.arange(count, device=frames.device).view(-1, 1)
    following = F.pad(frame.where(keep, count)[:, 1:], (0, 0, 0, 1), value=count)
    until = following.flip(1).cummin(1).values.flip(1)
    return (until - frame).where(keep, 0), frame.where(keep, 0).cummax(1).values


def _standing_source(
    tokens: Tokens, standing: Int[Tensor, "video frame patch"]
) -> Int[Tensor, "video source_patch"] | None:
    """The sources once each patch has gone to the token that stands for it."""
    layout = tokens.layout
    place = torch.arange(layout.patches, device=standing.device) + layout.class_tokens
    destination = standing * layout.tokens + place
    return follow(tokens.source, F.pad(destination, (layout.class_tokens, 0), value=-1).flatten(1))
