"""What a reducer costs on paper: tokens, GMACs and parameters, the GMACs checked by PyTorch's counter."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from retrieval.efficiency import counted_macs
from retrieval.efficiency.cost import cost, trained_parameters
from retrieval.efficiency.latency import random_videos
from retrieval.model import CLIP
from retrieval.reducers import plan


def on_paper(model: CLIP, frames: int, words: int) -> dict[str, Any]:
    """Tokens and GMACs of encoding: clips x tokens in each block, and `cost`.

    A block's attention and its MLP work on tokens of their own counts; class tokens are among them.
    """
    layouts = plan(model.visual.reducer, model.visual.shape, frames)
    costs = cost(model, frames, words)
    return {
        "clips": [attention.clips for attention, _ in layouts],
        "tokens_at_attention": [attention.tokens for attention, _ in layouts],
        "clips_at_mlp": [mlp.clips for _, mlp in layouts],
        "tokens_at_mlp": [mlp.tokens for _, mlp in layouts],
        **costs,
    }


def trained_cost(model: CLIP, tuning: Callable[[nn.Module], None], frames: int, words: int) -> dict[str, Any]:
    """Parameters and GMACs as the model trains: with adapters, where the tuning adds them, beside the weights."""
    tuning(model)
    return {**cost(model, frames, words), "trained_parameters": trained_parameters(model)}


@torch.inference_mode()
def counted(model: CLIP, frames: int, words: int) -> dict[str, float]:
    """GMACs that PyTorch's counter sees while one video and one caption are encoded."""
    video = random_videos(model, 1, frames)
    caption = torch.ones(1, words, dtype=torch.long, device=video.device)
    return {
        "counted_video_gmacs": round(counted_macs(lambda: model.encode_video(video)) / 1e9, 4),
        "counted_text_gmacs": round(counted_macs(lambda: model.encode_text(caption)) / 1e9, 4),
    }
