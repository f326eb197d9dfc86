"""What a model costs: parameters, tokens and multiply-accumulates.

The towers' share is known in closed form from their sizes. What reducer and head compute beside them is counted while
these alone run once, on random numbers of the right shapes, so that nobody who writes one has to state it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from math import isqrt
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from retrieval.efficiency.macs import counted_macs, text_macs, video_macs
from retrieval.errors import UserError
from retrieval.model import CLIP
from retrieval.model.tuning import lora_rank
from retrieval.model.video import VideoTower
from retrieval.reducers import Layout, Reducer, Tokens, TowerShape, plan

NOISE = 1e4
"""Deviation of normalised pixels beside which no two patches look alike."""


def trained_parameters(model: CLIP) -> int:
    """Parameters that the model's tuning trains."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def cost(model: CLIP, frames: int, words: int) -> dict[str, Any]:
    """Parameters; the tokens of a video after the last block; GMACs of one video and of one caption.

    GMACs are 10^9 multiply-accumulates of matrix products and convolutions; the papers call them GFLOPs and give those
    of the video tower alone, here `tower_gmacs`. `reducer_gmacs` is what the reducer computes to choose (similarities,
    distances), and `video_gmacs` the sum of both and of what the head computes. Where the reducer is ragged, all are
    upper bounds.

    Raises:
        UserError: a reducer that does not fit the frames, or whose layouts are not what it leaves.
    """
    with in_evaluation(model.visual.reducer):
        return _cost(model, frames, words)


@contextmanager
def in_evaluation(reducer: Reducer) -> Iterator[None]:
    """Have a reducer act as it does in use; one that learns its counts leaves all tokens in place in training."""
    training = reducer.training
    reducer.eval()
    try:
        yield
    finally:
        reducer.train(training)


def _cost(model: CLIP, frames: int, words: int) -> dict[str, Any]:
    visual, text = model.visual, model.text
    layouts = plan(visual.reducer, visual.shape, frames)
    last, rank = layouts[-1][1], lora_rank(model) or 0
    clips = model.logit_scale.new_zeros(1, last.clips * last.class_tokens, model.embed_dim)
    kept = model.logit_scale.new_zeros(1, words if model.head.every_word else 1, model.embed_dim)
    tower = video_macs(layouts, frames=frames, output_dim=model.embed_dim, **tower_sizes(visual))
    caption = text_macs(
        words,
        width=text.width,
        blocks=len(text.blocks),
        mlp_width=text.blocks[0].mlp_width,
        output_dim=model.embed_dim,
        projected=kept.shape[1],
        lora_rank=rank,
    )
    with torch.no_grad():
        own = reducer_macs(visual.reducer, visual.shape, frames, model.logit_scale)
        video = tower + own + counted_macs(lambda: model.head.video(clips))
        caption += counted_macs(lambda: model.head.text(kept, torch.ones_like(kept[..., 0], dtype=torch.bool)))
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "output_tokens": last.clips * last.tokens,
        "tower_gmacs": round(tower / 1e9, 4),
        "reducer_gmacs": round(own / 1e9, 4),
        "video_gmacs": round(video / 1e9, 4),
        "text_gmacs": round(caption / 1e9, 4),
    }


def tower_sizes(visual: VideoTower) -> dict[str, int]:
    """The sizes of the video tower that `video_macs` asks for."""
    return {
        "patches": visual.shape.patches,
        "patch_size": visual.patch_size,
        "width": visual.shape.width,
        "mlp_width": visual.blocks[0].mlp_width,
        "lora_rank": lora_rank(visual) or 0,
    }


def reducer_macs(reducer: Reducer, tower: TowerShape, frames: int, like: Tensor) -> int:
    """Multiply-accumulates of a reducer's own matrix products for one video, counted as its hooks run.

    Args:
        reducer: built for the tower.
        tower: the sizes of the video tower.
        frames: of the video.
        like: a tensor of the device and type to run on.

    Raises:
        UserError: layouts that are not what the hooks leave.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return counted_macs(lambda: _run_hooks(reducer, tower, frames, like))


def _run_hooks(reducer: Reducer, tower: TowerShape, frames: int, like: Tensor) -> None:
    x = like.new_empty(frames, 1 + tower.patches, tower.width).normal_()
    tokens = Tokens(x, torch.ones(*x.shape[:2], 1, device=x.device), clips=frames)
    side = isqrt(tower.patches)  # a pixel a patch, and such that every patch of every frame is a new one
    pixels = like.new_empty(1, frames, 3, side, side).normal_(std=NOISE)
    tokens = reducer.before_blocks(tokens, pixels)
    for block, (attention, mlp) in enumerate(plan(reducer, tower, frames)):
        tokens = reducer.before_attention(tokens, block)
        _check(reducer, tokens.layout, attention, "layout_before_attention", block)
        keys = like.new_empty(*tokens.x.shape[:2], tower.head_width).normal_()
        asked = (_class_attention(tokens),) if reducer.wants_class_attention else ()
        tokens = reducer.after_attention(tokens, keys, block, *asked)
        _check(reducer, tokens.layout, mlp, "layout_after_attention", block)


def _class_attention(tokens: Tokens) -> Float[Tensor, "clip token"]:
    """As the tower hands it out, and at the same price: the class tokens times all tokens."""
    return (tokens.x[:, : tokens.class_tokens] @ tokens.x.mT).float().softmax(dim=-1).mean(dim=1)


def _check(reducer: Reducer, left: Layout, promised: Layout, hook: str, block: int) -> None:
    if left != promised:
        raise UserError(
            f"reducer {type(reducer).__name__}: at block {block} it leaves {left}, but its {hook} says {promised}"
        )
