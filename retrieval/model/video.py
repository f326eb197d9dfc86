"""The video tower: CLIP's vision transformer over all frames, with a reducer's two hooks in every block."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn

from retrieval.errors import UserError
from retrieval.model.blocks import Block
from retrieval.reducers import Reducer, Tokens, TowerShape

Watch = Callable[[Tokens, Tokens], None]
"""Is shown the tokens that a block's attention, and then its MLP, work on."""


class VideoTower(nn.Module):
    """Embed, and for each block: `before_attention`, attend, `after_attention`, MLP; then project the class tokens.

    Args:
        theirs: open_clip's tower, whose weights it takes over.
        reducer: the token reducer.
        byte_steps: see `TowerShape`.

    Raises:
        UserError: a reducer whose settings do not fit the tower.
    """

    conv1: nn.Conv2d
    blocks: Sequence[Block]

    def __init__(self, theirs: VisionTransformer, reducer: Reducer, byte_steps: tuple[float, float, float]) -> None:
        super().__init__()
        self.conv1, self.ln_pre, self.ln_post = theirs.conv1, theirs.ln_pre, theirs.ln_post
        self.class_embedding, self.positional_embedding = theirs.class_embedding, theirs.positional_embedding
        self.proj = theirs.proj
        self.blocks = nn.ModuleList(map(Block, theirs.transformer.resblocks))  # type: ignore[assignment]
        self.patch_size: int = theirs.conv1.kernel_size[0]
        patches, width = theirs.positional_embedding[1:].shape
        first = self.blocks[0]
        head_width, mlp_ratio = width // first.attn.heads, first.mlp_width / width
        self.shape = TowerShape(len(self.blocks), width, patches, head_width, byte_steps, mlp_ratio)
        self.set_reducer(reducer)

    def set_reducer(self, reducer: Reducer) -> None:
        """Let this reducer act from now on, its parameters made for this tower.

        Raises:
            UserError: settings that do not fit.
        """
        positions = self.positional_embedding[1:]
        reducer.build(self.shape, positions)
        self.reducer = reducer.to(positions.device, positions.dtype)

    def forward(
        self, frames: Float[Tensor, "video frame 3 height width"], watch: Watch | None = None
    ) -> Float[Tensor, "video clip dim"]:
        """The projected class tokens of the tower's last block, not normalised: one a frame or one a segment.

        Args:
            frames: normalised.
            watch: is shown the tokens that each block's attention and its MLP work on.
        """
        tokens = self.embed(frames)
        for block in range(len(self.blocks)):
            tokens = self.step(tokens, block, watch)
        class_tokens = tokens.x[:, : tokens.class_tokens].reshape(len(frames), -1, tokens.x.shape[-1])
        return self.ln_post(class_tokens) @ self.proj

    def walk(self, frames: Float[Tensor, "video frame 3 height width"]) -> list[Tokens]:
        """The tokens after every block, with their sources: for pictures and for counting."""
        tokens = self.embed(frames, keep_source=True)
        return [tokens := self.step(tokens, block) for block in range(len(self.blocks))]

    def step(self, tokens: Tokens, block: int, watch: Watch | None = None) -> Tokens:
        """One block with its two hooks."""
        attention = tokens = self.reducer.before_attention(tokens, block)
        class_rows = tokens.class_tokens if self.reducer.wants_class_attention else 0
        key_bias = self.reducer.key_bias(tokens)
        x, keys, seen = self.blocks[block].attend(tokens.x, key_bias, class_rows=class_rows)
        asked = () if seen is None else (seen,)
        tokens = self.reducer.after_attention(tokens.with_x(x), keys, block, *asked)
        if watch is not None:
            watch(attention, tokens)
        return tokens.with_x(self.blocks[block].feed_forward(tokens.x))

    def embed(self, frames: Float[Tensor, "video frame 3 height width"], keep_source: bool = False) -> Tokens:
        """Cut all frames into patches, put a class token before those of each frame, and let the reducer see both.

        Raises:
            UserError: another number of frames than the reducer is made for.
        """
        videos, count = frames.shape[:2]
        if self.reducer.frames not in (None, count):
            raise UserError(f"{count} frames per video, but the reducer is made for frames={self.reducer.frames}")
        pixels = frames.flatten(0, 1).to(self.conv1.weight.dtype)
        patches = self.conv1(pixels).flatten(2).transpose(1, 2)
        class_token = self.class_embedding.to(patches.dtype).expand(len(patches), 1, -1)
        x = self.ln_pre(torch.cat([class_token, patches], dim=1) + self.positional_embedding.to(patches.dtype))
        size = torch.ones(*x.shape[:2], 1, device=x.device)
        source = None
        if keep_source:
            index = torch.arange(count * x.shape[1], device=x.device).unflatten(0, (count, -1))
            source = index[:, 1:].reshape(1, -1).repeat(videos, 1)
        return self.reducer.before_blocks(Tokens(x, size, clips=count, source=source), frames)
