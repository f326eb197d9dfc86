"""Token-wise interaction: every word finds its clip and every clip its word (DRL, Wang et al. 2022, section 3.2)."""

from itertools import pairwise

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from retrieval.errors import UserError
from retrieval.full_precision import without_autocast
from retrieval.heads.base import Head, at_least_float32

BLOCK = 2**24
"""Cosines that are held at a time."""


class TokenWise(Head):
    """The mean of two averages: of each word's best clip, and of each clip's best word.

    What is kept of an item is one vector a word or clip: `dim` numbers of unit norm, then its weight in the average.
    Padded words are zeros of weight zero: they take part in maxima with a cosine of 0, as published.

    Args:
        weight_layers: linear layers, with ReLU between, of the two networks that weigh words and clips; 0: all alike.

    Raises:
        UserError: a negative number of layers.
    """

    every_word = True

    def __init__(self, weight_layers: int = 2) -> None:
        super().__init__()
        if weight_layers < 0:
            raise UserError(f"head.weight_layers={weight_layers}: 0 or more")
        self.weight_layers = weight_layers

    def build(self, dim: int, positions: Float[Tensor, "position width"], blocks: nn.ModuleList) -> None:
        self.of_words, self.of_clips = (self._weights(dim) for _ in range(2))

    def video(self, clips: Float[Tensor, "video clip dim"]) -> Float[Tensor, "video clip dim_and_weight"]:
        real = torch.ones(clips.shape[:2], dtype=torch.bool, device=clips.device)
        return _weighted(clips, real, self.of_clips)

    def text(
        self, words: Float[Tensor, "text word dim"], mask: Bool[Tensor, "text word"]
    ) -> Float[Tensor, "text word dim_and_weight"]:
        return _weighted(words, mask, self.of_words)

    def similarity(
        self,
        text: Float[Tensor, "text word dim_and_weight"],
        video: Float[Tensor, "video clip dim_and_weight"],
    ) -> Float[Tensor, "text video"]:
        text, video = at_least_float32(text), at_least_float32(video)
        rows = max(1, BLOCK // max(1, text.shape[1] * video.shape[:2].numel()))
        with without_autocast(text):
            return torch.cat([_interaction(part, video) for part in text.split(rows)])

    def _weights(self, dim: int) -> nn.Module:
        """From vectors to the logits of their weights; without layers the same for all."""
        if self.weight_layers == 0:
            return _Alike()
        widths = [dim] * self.weight_layers + [1]
        layers = [layer for sizes in pairwise(widths) for layer in (nn.ReLU(), nn.Linear(*sizes))]
        return nn.Sequential(*layers[1:])


class _Alike(nn.Module):
    def forward(self, x: Float[Tensor, "item vector dim"]) -> Float[Tensor, "item vector 1"]:
        return x.new_zeros(*x.shape[:2], 1)


def _weighted(
    x: Float[Tensor, "item vector dim"], real: Bool[Tensor, "item vector"], network: nn.Module
) -> Float[Tensor, "item vector dim_and_weight"]:
    logits = network(x).squeeze(2).masked_fill(~real, -torch.inf)
    weights = at_least_float32(logits).softmax(1)
    return torch.cat([F.normalize(x, dim=-1) * real.unsqueeze(2), weights.unsqueeze(2)], dim=2)


def _interaction(
    text: Float[Tensor, "text word dim_and_weight"], video: Float[Tensor, "video clip dim_and_weight"]
) -> Float[Tensor, "text video"]:
    cosines = torch.einsum("twd,vcd->tvwc", text[..., :-1], video[..., :-1])
    of_words = torch.einsum("tvw,tw->tv", cosines.amax(3), text[..., -1])
    of_clips = torch.einsum("tvc,vc->tv", cosines.amax(2), video[..., -1])
    return (of_words + of_clips) / 2
