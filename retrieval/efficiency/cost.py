"""What a model costs: parameters, tokens and multiply-accumulates, from its sizes alone."""

from typing import Any

from retrieval.efficiency import text_macs, video_macs
from retrieval.model import CLIP
from retrieval.model.tuning import lora_rank
from retrieval.reducers import Layout, plan


def trained_parameters(model: CLIP) -> int:
    """Parameters that the model's tuning trains."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def cost(model: CLIP, frames: int, words: int) -> dict[str, Any]:
    """Parameters; the tokens of a video after the last block; GMACs of one video and of one caption.

    GMACs are 10^9 multiply-accumulates of matrix products and convolutions; the papers call them GFLOPs.
    """
    visual, text = model.visual, model.text
    layouts = plan(visual.reducer, visual.shape, frames)
    rank = lora_rank(model) or 0
    video = video_macs(
        layouts,
        frames=frames,
        patches=visual.shape.patches,
        patch_size=visual.patch_size,
        width=visual.shape.width,
        mlp_width=visual.blocks[0].mlp_width,
        output_dim=model.embed_dim,
        lora_rank=rank,
    )
    entering = [Layout(frames, visual.shape.patches), *(after for _, after in layouts)]
    video += sum(visual.reducer.macs(entering[block], block, visual.shape) for block in range(len(layouts)))
    caption = text_macs(
        words,
        width=text.width,
        blocks=len(text.blocks),
        mlp_width=text.blocks[0].mlp_width,
        output_dim=model.embed_dim,
        lora_rank=rank,
    )
    last = layouts[-1][1]
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "output_tokens": last.clips * last.tokens,
        "video_gmacs": round(video / 1e9, 4),
        "text_gmacs": round(caption / 1e9, 4),
    }
