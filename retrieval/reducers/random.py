"""The control: keep patches at random (PatchDropout, Liu et al., WACV 2023)."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from retrieval.errors import UserError
from retrieval.reducers.base import Layout, Reducer, Tokens, TowerShape
from retrieval.reducers.segments import acting_blocks, check_blocks


class RandomPatches(Reducer):
    """Keep a share of the patches of every clip, drawn at random, where some blocks begin, and drop the others.

    In training every clip has its own draw in every step. In evaluation a clip's draw follows from `seed`, the block
    and its place in the video alone: the same video has the same features whatever it is encoded with.

    Args:
        keep: share of the patches that stay, rounded down, at least one.
        blocks: blocks, counted from 0, that drop patches before their attention; [0] drops them from the input.
        seed: of the draws in evaluation.

    Raises:
        UserError: a share that is none, or blocks out of order; when the tower is built, blocks that it lacks.
    """

    def __init__(self, keep: float = 0.5, blocks: Sequence[int] = (0,), seed: int = 0) -> None:
        super().__init__()
        if not 0 < keep <= 1:
            raise UserError(f"reducer.keep={keep}: the share of the patches that stay, above 0, at most 1")
        self.keep, self.blocks, self.seed = keep, acting_blocks(list(blocks), "blocks"), seed

    def build(self, tower: TowerShape, position_embedding: Float[Tensor, "patch dim"]) -> None:
        check_blocks(self.blocks, tower, "blocks")

    def layout_before_attention(self, layout: Layout, block: int) -> Layout:
        return replace(layout, patches=self._kept(layout.patches)) if block in self.blocks else layout

    def before_attention(self, tokens: Tokens, block: int) -> Tokens:
        patches = tokens.layout.patches
        kept = self._kept(patches)
        if block not in self.blocks or kept == patches:
            return tokens
        if self.training:
            lots = torch.rand(len(tokens.x), patches, device=tokens.x.device)
        else:
            lots = fixed_lots(tokens.clips, patches, self.seed + 1000 * block, tokens.x.device)
            lots = lots.repeat(len(tokens.x) // tokens.clips, 1)
        return tokens.select_patches(lots.argsort(dim=1, stable=True)[:, :kept].sort(dim=1).values)

    def _kept(self, patches: int) -> int:
        return min(patches, max(1, int(patches * self.keep)))


def fixed_lots(clips: int, patches: int, seed: int, device: torch.device) -> Int[Tensor, "{clips} {patches}"]:
    """A number of 32 bits for each patch of each clip: a hash of the place and the seed, without any generator.

    It is computed on the device, alike on every device, and for any number of clips and patches.
    """
    lots = torch.arange(clips, device=device)[:, None] * 2**16 + torch.arange(patches, device=device)
    for salt in (seed, 0, 0):  # every round mixes the higher bits into the lower ones, and all into the higher ones
        lots = (lots ^ (lots >> 16)) + salt
        lots = (lots * 0x45D9F3B) & 0xFFFFFFFF
    return lots ^ (lots >> 16)
