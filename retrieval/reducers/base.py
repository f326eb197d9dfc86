"""The contract: a video is a bag of tokens on its way through CLIP, and a reducer decides which of them travel on.

A reducer acts at two places of every block, before its attention and between its attention and its MLP, and says for
both, from its settings alone, how many tokens it leaves. One that decides by the pixels acts before the first block and
says how many it leaves at the most. It never sees CLIP, a dataset or a config.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from retrieval.errors import UserError


@dataclass(frozen=True)
class Layout:
    """How many tokens a video has: `clips` clips of `class_tokens` class tokens followed by `patches` patch tokens."""

    clips: int
    patches: int
    class_tokens: int = 1

    @property
    def tokens(self) -> int:
        """Tokens per clip."""
        return self.class_tokens + self.patches


@dataclass(frozen=True)
class TowerShape:
    """What a reducer may know of the video tower: its blocks, their width, and the patches of a frame.

    `byte_steps` tells the pixels' unit: how many of a byte's 255 steps one unit of each normalised colour is;
    `mlp_ratio` is how many times as wide the MLP is between its layers.
    """

    blocks: int
    width: int
    patches: int
    head_width: int = 64
    byte_steps: tuple[float, float, float] = (255.0, 255.0, 255.0)
    mlp_ratio: float = 4.0


@dataclass(frozen=True)
class Tokens:
    """The tokens of a batch of videos between two steps of the video tower.

    Attributes:
        x: the tokens of the clips of all videos; the clips of a video are neighbours, class tokens come first.
        size: how many input patches each token stands for. 0 is padding: it gets no attention, merges with nothing, is
            no patch's source and stands behind all other tokens of its clip; class tokens never are.
        clips: clips per video: the number of frames at the start, 1 when all are joined.
        class_tokens: leading class tokens of each clip: 1 at the start.
        source: for each input patch the token that it went into, as clip * tokens per clip + token; -1 where it was
            dropped. Kept only when asked for (pictures).
        padded: whether there may be padding, because a reducer is ragged.
    """

    x: Float[Tensor, "clip token dim"]
    size: Float[Tensor, "clip token 1"]
    clips: int
    class_tokens: int = 1
    source: Int[Tensor, "video patch"] | None = None
    padded: bool = False

    @property
    def layout(self) -> Layout:
        return Layout(self.clips, self.x.shape[1] - self.class_tokens, self.class_tokens)

    def with_x(self, x: Float[Tensor, "clip token dim"]) -> "Tokens":
        """The same tokens with new values."""
        return Tokens(x, self.size, self.clips, self.class_tokens, self.source, self.padded)

    def live(self) -> Int[Tensor, "clip kept"]:
        """Positions for `select` that put padding behind the other tokens and cut all clips to the longest of them.

        How long that is, is the one number of a batch that has to be waited for where a reducer is `ragged`.
        """
        alive = self.size[..., 0] > 0
        return alive.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, : _longest(alive)]

    def select(self, index: Int[Tensor, "clip kept"] | Int[Tensor, " kept"] | Sequence[int]) -> "Tokens":
        """Keep these tokens of every clip and drop the others; values, sizes and sources travel together.

        Args:
            index: positions within a clip, the same for all clips or a row for each; all class tokens come first.

        Raises:
            UserError: fewer tokens than there are class tokens.
        """
        kept = torch.as_tensor(index, device=self.x.device).expand(len(self.x), -1)
        if kept.shape[1] < self.class_tokens:
            raise UserError(f"{kept.shape[1]} tokens selected, but a clip has {self.class_tokens} class tokens to keep")
        x = self.x.gather(1, kept.unsqueeze(2).expand(-1, -1, self.x.shape[2]))
        size = self.size.gather(1, kept.unsqueeze(2))
        places = torch.arange(kept.shape[1], device=kept.device).expand_as(kept)
        destination = torch.full(self.x.shape[:2], -1, device=kept.device).scatter(1, kept, places)
        source = self.moved(destination, kept.shape[1])
        return Tokens(x, size, self.clips, self.class_tokens, source, self.padded)

    def select_patches(self, index: Int[Tensor, "clip kept"]) -> "Tokens":
        """Keep the class tokens and these patches of every clip, counted from its first patch."""
        fixed = torch.arange(self.class_tokens, device=index.device).expand(len(index), -1)
        return self.select(torch.cat([fixed, index + self.class_tokens], dim=1))

    def moved(self, destination: Int[Tensor, "clip token"], tokens: int) -> Int[Tensor, "video patch"] | None:
        """The sources once every token of a clip has gone to its `destination` in the same clip; None stays None.

        Args:
            destination: for each token its new position within the clip; -1: dropped.
            tokens: how many each clip then has.
        """
        clip = torch.arange(self.clips, device=destination.device).repeat(len(destination) // self.clips)
        places = (destination + tokens * clip[:, None]).where(destination >= 0, -1)
        return follow(self.source, places.unflatten(0, (-1, self.clips)).flatten(1))


@torch.compiler.disable  # compiled code goes on from the number, whatever it is
def _longest(alive: Bool[Tensor, "clip token"]) -> int:
    return int(alive.sum(1).max())


def follow(
    source: Int[Tensor, "video patch"] | None, destination: Int[Tensor, "video token"]
) -> Int[Tensor, "video patch"] | None:
    """`Tokens.source` once every token has moved to its `destination` (-1: dropped); None stays None."""
    if source is None:
        return None
    return destination.gather(1, source.clamp(min=0)).where(source >= 0, -1)


class Reducer(nn.Module):
    """A token reducer; this base class is the one that reduces nothing.

    Attributes:
        frames: the number of frames per video that the settings are made for; None where any will do.
        proportional_attention: whether log(size) of each key token is added to its attention logits (ToMe, eq. 1).
        wants_class_attention: whether `after_attention` is also handed what the class token has attended to.
        ragged: whether the number of its tokens depends on the pixels. Clips are then padded to the longest of a batch,
            and layouts are upper bounds, reached where every video keeps the most.
        takes_padding: whether it can act on padded clips, so that it may share a chain with a ragged one.
        masks_in_training: whether training leaves in place what evaluation takes away, so that no other reducer may
            reduce what it has masked.
    """

    frames: int | None = None
    proportional_attention: bool = False
    wants_class_attention: bool = False
    ragged: bool = False
    takes_padding: bool = False
    masks_in_training: bool = False

    def build(self, tower: TowerShape, position_embedding: Float[Tensor, "patch dim"]) -> None:
        """Check the settings against the tower and make the parameters that need its sizes; called once.

        Args:
            tower: the sizes of the video tower.
            position_embedding: CLIP's own for the patches of a frame, for parameters that start from it.

        Raises:
            UserError: settings that the tower cannot serve, with the numbers and the knob.
        """

    def at_clips_rate(self) -> Iterator[nn.Parameter]:
        """Its parameters that start as CLIP's own and go on training at the rate of these; all others are new."""
        return iter(())

    def layout_before_blocks(self, layout: Layout) -> Layout:
        """The layout that `before_blocks` makes of `layout`."""
        return layout

    def penalty(self) -> Float[Tensor, ""] | float:
        """What training adds to its loss: a function of the reducer's parameters alone."""
        return 0.0

    def found(self) -> dict[str, Any]:
        """The knobs that training has found, by name: with them the reducer does the same without its parameters."""
        return {}

    def layout_before_attention(self, layout: Layout, block: int) -> Layout:
        """The layout that `before_attention` makes of `layout`; tokens per block and GMACs are told from it."""
        return layout

    def layout_after_attention(self, layout: Layout, block: int) -> Layout:
        """The layout that `after_attention` makes of `layout`."""
        return layout

    def before_blocks(self, tokens: Tokens, frames: Float[Tensor, "video frame 3 height width"]) -> Tokens:
        """Reduce the input of the first block by the pixels, normalised as the tower is given them."""
        return tokens

    def before_attention(self, tokens: Tokens, block: int) -> Tokens:
        """Reduce the input of a block."""
        return tokens

    def key_bias(self, tokens: Tokens) -> Float[Tensor, "clip token 1"] | None:
        """What is added to the attention logits of each key token: log(size), and -inf for padding in any case."""
        if self.proportional_attention:
            return tokens.size.log()
        return (tokens.size > 0).to(tokens.size.dtype).log() if self.ragged else None

    def after_attention(self, tokens: Tokens, keys: Float[Tensor, "clip token key"], block: int) -> Tokens:
        """Reduce between attention and MLP; `keys` are the attention's keys averaged over heads.

        A reducer with `wants_class_attention` takes a fourth argument, `class_attention: Float[Tensor, "clip token"]`:
        the share of its attention that the class token gave to each token of its clip, averaged over heads (and over
        class tokens where clips are joined).
        """
        return tokens


def plan(reducer: Reducer, tower: TowerShape, frames: int) -> list[tuple[Layout, Layout]]:
    """The layouts that each block's attention and MLP work on, from the settings alone.

    Raises:
        UserError: settings that do not fit the tower or the number of frames.
    """
    if reducer.frames not in (None, frames):
        raise UserError(f"{frames} frames per video, but reducer.frames={reducer.frames}: set both to the same number")
    layouts = []
    layout = reducer.layout_before_blocks(Layout(clips=frames, patches=tower.patches))
    for block in range(tower.blocks):
        attention = reducer.layout_before_attention(layout, block)
        layout = reducer.layout_after_attention(attention, block)
        layouts.append((attention, layout))
    return layouts
