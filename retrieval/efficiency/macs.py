"""The cost of CLIP's towers in multiply-accumulates (MACs), from sizes alone and by PyTorch's own counter.

In: every matrix product (projections, attention, MLP, the output projection) and the patch convolution, as in the
GFLOPs of ToMe (Bolya et al. 2023) and TempMe (Shen et al. 2025), which are MACs too. Out: norms, softmax, activations,
additions, sorting and gathering, and the token embedding, which is a look-up. What a reducer and a head compute comes
on top (`cost.py`).
"""

from collections.abc import Callable, Sequence

from torch.backends.mha import get_fastpath_enabled, set_fastpath_enabled
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from retrieval.reducers.base import Layout


def video_macs(
    layouts: Sequence[tuple[Layout, Layout]],
    *,
    frames: int,
    patches: int,
    patch_size: int,
    width: int,
    mlp_width: int,
    output_dim: int,
    lora_rank: int = 0,
) -> int:
    """MACs of the video tower for one video.

    Args:
        layouts: what each block's attention and MLP work on, from `retrieval.reducers.base.plan`.
        frames: frames that are cut into patches.
        patches: patches of a frame.
        patch_size: pixels along a patch's side, of 3 channels each.
        width: channels of a token.
        mlp_width: hidden channels of the MLP.
        output_dim: dimensions of the joint space, into which all class tokens left are projected.
        lora_rank: rank of LoRA on queries, keys and values together (rank x width, 3 width x rank), where it runs
            beside the frozen projection; 0 where there is none or it is merged into the weights.
    """
    cut = frames * patches * 3 * patch_size**2 * width
    last = layouts[-1][1]
    projected = last.clips * last.class_tokens * width * output_dim
    return cut + blocks_macs(layouts, width, mlp_width, lora_rank) + projected


def blocks_macs(layouts: Sequence[tuple[Layout, Layout]], width: int, mlp_width: int, lora_rank: int = 0) -> int:
    """MACs of blocks whose attention and MLP work on these layouts; the rest as `video_macs`."""
    return sum(
        attention.clips * attention_macs(attention.tokens, width, lora_rank)
        + mlp.clips * mlp_macs(mlp.tokens, width, mlp_width)
        for attention, mlp in layouts
    )


def text_macs(
    words: int, *, width: int, blocks: int, mlp_width: int, output_dim: int, projected: int = 1, lora_rank: int = 0
) -> int:
    """MACs of the text tower for one caption of `words` tokens, padding included; causal attention counts in full.

    As `video_macs`; `projected` of the words go into the joint space.
    """
    block = attention_macs(words, width, lora_rank) + mlp_macs(words, width, mlp_width)
    return blocks * block + projected * width * output_dim


def attention_macs(tokens: int, width: int, lora_rank: int = 0) -> int:
    """MACs of self-attention over one sequence: queries, keys, values, their LoRA, the two products, the output."""
    projections = 4 * tokens * width**2 + 4 * tokens * width * lora_rank
    return projections + 2 * tokens**2 * width


def mlp_macs(tokens: int, width: int, mlp_width: int) -> int:
    """MACs of the MLP for so many tokens."""
    return 2 * tokens * width * mlp_width


def counted_macs(function: Callable[[], object]) -> int:
    """MACs that PyTorch counts while `function` runs (half of its FLOPs).

    Fused attention is switched off for the run, because PyTorch's counter does not see into all of its kernels.
    """
    counter = FlopCounterMode(display=False)
    fastpath = get_fastpath_enabled()
    set_fastpath_enabled(False)
    try:
        with counter, sdpa_kernel(SDPBackend.MATH):
            function()
    finally:
        set_fastpath_enabled(fastpath)
    return counter.get_total_flops() // 2
