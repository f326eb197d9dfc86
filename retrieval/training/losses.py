"""Losses: from what a head kept of the pairs of a batch to a number to lower.

A loss is a module, so that it may have parameters, which train as new ones do. It is called with the head's
`similarity`, what the head kept of the captions and of their videos, pair by pair, and the logit scale.
"""

import torch
from jaxtyping import Float
from open_clip.loss import gather_features
from torch import Tensor, nn
from torch.nn import functional as F

from retrieval.heads.base import Similarity


class Contrastive(nn.Module):
    """Symmetric cross-entropy over the pairs of all devices, with gradients through all of them (CLIP, figure 3)."""

    def forward(
        self,
        similarity: Similarity,
        text: Float[Tensor, "pair ..."],
        video: Float[Tensor, "pair ..."],
        scale: Float[Tensor, ""],
    ) -> Float[Tensor, ""]:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            rank, devices = torch.distributed.get_rank(), torch.distributed.get_world_size()
            video, text = gather_features(video, text, gather_with_grad=True, rank=rank, world_size=devices)
        logits = scale * similarity(text, video)
        pairs = torch.arange(len(logits), device=logits.device)
        return (F.cross_entropy(logits, pairs) + F.cross_entropy(logits.T, pairs)) / 2
