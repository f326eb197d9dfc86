"""Losses: from what a head kept of the pairs of a batch to a number to lower.

A loss is a module, so that it may have parameters, which train as new ones do. It is called with the head's
`similarity`, what the head kept of the captions and of their videos, pair by pair, and the logit scale. On several
devices each computes its own number, and that of the whole batch is their mean, as is its gradient.
"""

from math import log

import torch
from jaxtyping import Float
from open_clip.loss import SigLipLoss, gather_features
from torch import Tensor, nn
from torch.nn import functional as F

from retrieval.errors import UserError
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
        logits = scale * similarity(*_of_all_devices(text, video))
        pairs = torch.arange(len(logits), device=logits.device)
        return (F.cross_entropy(logits, pairs) + F.cross_entropy(logits.T, pairs)) / 2


class ContrastiveLocal(nn.Module):
    """The same number in less memory: each device compares its own pairs alone with those of all (open_clip's
    `local_loss`).
    """

    def forward(
        self,
        similarity: Similarity,
        text: Float[Tensor, "pair ..."],
        video: Float[Tensor, "pair ..."],
        scale: Float[Tensor, ""],
    ) -> Float[Tensor, ""]:
        texts, videos = _of_all_devices(text, video)
        pairs = len(text) * _rank_and_devices()[0] + torch.arange(len(text), device=text.device)
        of_text = F.cross_entropy(scale * similarity(text, videos), pairs)
        of_video = F.cross_entropy(scale * similarity(texts, video).T, pairs)
        return (of_text + of_video) / 2


class Sigmoid(nn.Module):
    """Is this caption of this video? Asked of every pair on its own (SigLIP; Zhai et al., ICCV 2023).

    Scale and bias are the loss's own and train as new parameters do; CLIP's logit scale rests. Devices hand their
    captions round, so that each compares its own videos with those of one device at a time.

    Args:
        scale: that similarities are multiplied by at the start.
        bias: that is then added at the start: so low that most pairs, which do not belong together, weigh little.

    Raises:
        UserError: a scale that is not positive.
    """

    own_scale = True

    def __init__(self, scale: float | int = 10, bias: float | int = -10) -> None:
        super().__init__()
        if scale <= 0:
            raise UserError(f"loss.scale={scale}: must be positive; SigLIP starts at 10")
        self.log_scale = nn.Parameter(torch.tensor(log(scale)))
        self.bias = nn.Parameter(torch.tensor(float(bias)))

    def forward(
        self,
        similarity: Similarity,
        text: Float[Tensor, "pair ..."],
        video: Float[Tensor, "pair ..."],
        scale: Float[Tensor, ""],
    ) -> Float[Tensor, ""]:
        of_pairs = _SigLip(similarity, *_rank_and_devices())
        return of_pairs(video.contiguous(), text.contiguous(), self.log_scale.exp(), self.bias)


class _SigLip(SigLipLoss):
    """open_clip's, with its exchange of captions, for any head's similarity."""

    def __init__(self, similarity: Similarity, rank: int, devices: int) -> None:
        super().__init__(rank=rank, world_size=devices)
        self.similarity = similarity

    def get_logits(
        self, image_features: Tensor, text_features: Tensor, logit_scale: Tensor, logit_bias: Tensor | None = None
    ) -> Tensor:
        similarities = self.similarity(text_features, image_features).T
        at_least = torch.promote_types(similarities.dtype, torch.float32)  # bfloat16 loses most of a sum of many
        logits = logit_scale * similarities.to(at_least)
        return logits if logit_bias is None else logits + logit_bias


def _of_all_devices(
    text: Float[Tensor, "pair ..."], video: Float[Tensor, "pair ..."]
) -> tuple[Float[Tensor, "pairs ..."], Float[Tensor, "pairs ..."]]:
    """What the heads of all devices kept, in the order of their ranks, with gradients through all of them."""
    rank, devices = _rank_and_devices()
    if devices == 1:
        return text, video
    video, text = gather_features(video, text, gather_with_grad=True, rank=rank, world_size=devices)
    return text, video


def _rank_and_devices() -> tuple[int, int]:
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return 0, 1
    return torch.distributed.get_rank(), torch.distributed.get_world_size()
