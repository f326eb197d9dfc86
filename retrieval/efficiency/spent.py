"""What videos have taken where that depends on their pixels: tokens and GMACs, on average over those encoded."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from retrieval.efficiency.cost import tower_sizes
from retrieval.efficiency.macs import blocks_macs, video_macs
from retrieval.model import CLIP
from retrieval.reducers import Layout, Tokens, plan

MEANS = ("mean_output_tokens", "mean_tower_gmacs")


class LiveTokens:
    """Counts the tokens of every clip as a batch passes the tower, padding left out: the `watch` of `encode_video`."""

    def __init__(self) -> None:
        self.counts: list[tuple[Tensor, Tensor]] = []

    def __call__(self, attention: Tokens, mlp: Tokens) -> None:
        alive = ((tokens.size[..., 0] > 0).sum(1) for tokens in (attention, mlp))
        self.counts.append((next(alive), next(alive)))

    def layouts(self) -> list[tuple[Layout, Layout]]:
        """What attention and MLP worked on, a pair for every block and clip."""
        return [
            (Layout(1, attention, 0), Layout(1, mlp, 0))
            for counts in self.counts
            for attention, mlp in zip(*(count.tolist() for count in counts), strict=True)
        ]


class Spent(Metric):
    """Mean tokens and GMACs of the videos that a model with a ragged reducer has encoded, on any number of processes.

    Every video counts with its own tokens, as if it were encoded alone: padding to the longest of its batch is out.
    `compute` returns the tokens after the last block and the tower's GMACs (`MEANS`), beside which `cost` has what
    they are at the most.

    Args:
        model: that encodes.
        settings: torchmetrics' own.
    """

    full_state_update = False
    videos: Tensor
    tokens: Tensor
    macs: Tensor

    def __init__(self, model: CLIP, **settings: Any) -> None:
        super().__init__(**settings)
        for name in ("videos", "tokens", "macs"):
            self.add_state(name, torch.tensor(0, dtype=torch.int64), dist_reduce_fx="sum")
        self.visual = [model.visual]  # in a list, or it would be a part of this module and saved with it
        self.output_dim = model.embed_dim

    def update(self, live: LiveTokens, videos: int, frames: int) -> None:
        """Add a batch of so many videos of so many frames that has passed the tower."""
        (visual,) = self.visual
        sizes = tower_sizes(visual)
        layouts, most = live.layouts(), plan(visual.reducer, visual.shape, frames)
        around = video_macs(most, frames=frames, output_dim=self.output_dim, **sizes) - _blocks(most, sizes)
        self.videos += videos
        self.tokens += live.counts[-1][1].sum()
        self.macs += _blocks(layouts, sizes) + videos * around

    def compute(self) -> dict[str, Tensor]:
        return dict(zip(MEANS, (self.tokens / self.videos, self.macs / self.videos / 1e9), strict=True))


def _blocks(layouts: list[tuple[Layout, Layout]], sizes: dict[str, int]) -> int:
    return blocks_macs(layouts, sizes["width"], sizes["mlp_width"], sizes["lora_rank"])
