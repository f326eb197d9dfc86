"""The mean of a video's clips against a caption's end (CLIP4Clip's meanP; Luo et al., Neurocomputing 2022)."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from retrieval.full_precision import without_autocast
from retrieval.heads.base import Head, at_least_float32


def cosine(text: Float[Tensor, "text dim"], video: Float[Tensor, "video dim"]) -> Float[Tensor, "text video"]:
    """Cosines between all captions and all videos, in float32 at least, whatever autocast says."""
    with without_autocast(text):
        return F.normalize(at_least_float32(text), dim=-1) @ F.normalize(at_least_float32(video), dim=-1).T


class Mean(Head):
    """One vector a video, the mean of its normalised clips, and one a caption, its last real word; their cosine."""

    def video(self, clips: Float[Tensor, "video clip dim"]) -> Float[Tensor, "video dim"]:
        return F.normalize(clips, dim=-1).mean(dim=1)

    def text(self, words: Float[Tensor, "text word dim"], mask: Bool[Tensor, "text word"]) -> Float[Tensor, "text dim"]:
        return words[torch.arange(len(words), device=words.device), mask.sum(1) - 1]

    similarity = staticmethod(cosine)
