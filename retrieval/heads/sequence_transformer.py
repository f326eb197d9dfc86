"""A transformer over a video's clips before their mean (CLIP4Clip's seqTransf; Luo et al., Neurocomputing 2022)."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from retrieval.errors import UserError
from retrieval.heads.mean import Mean


class SequenceTransformer(Mean):
    """Clips plus learned positions through blocks of CLIP's kind, added to the clips; then as `Mean`.

    Positions and blocks start as copies of the text tower's first ones, as published.

    Args:
        layers: how many blocks.

    Raises:
        UserError: fewer layers than one; when the model is built, more than the text tower has, or another width.
    """

    blocks: Sequence[Any]

    def __init__(self, layers: int = 4) -> None:
        super().__init__()
        if layers < 1:
            raise UserError(f"head.layers={layers}: at least 1")
        self.layers = layers

    def build(self, dim: int, positions: Float[Tensor, "position width"], blocks: nn.ModuleList) -> None:
        if positions.shape[1] != dim:
            raise UserError(
                f"head=sequence_transformer starts from the text tower, but that is {positions.shape[1]} wide and the "
                f"joint space {dim}: take head=mean or another backbone"
            )
        if self.layers > len(blocks):
            raise UserError(f"head.layers={self.layers}, but the text tower, where they start from, has {len(blocks)}")
        self.positions = nn.Parameter(positions.detach().clone())
        self.blocks = nn.ModuleList(deepcopy([*blocks[: self.layers]]))  # type: ignore[assignment]

    def video(self, clips: Float[Tensor, "video clip dim"]) -> Float[Tensor, "video dim"]:
        """As the contract says.

        Raises:
            UserError: more clips than there are positions.
        """
        count = clips.shape[1]
        if count > len(self.positions):
            raise UserError(
                f"head=sequence_transformer has {len(self.positions)} positions, but {count} clips of a video reach "
                "it: lower data.frames or take a reducer that pools them"
            )
        x = clips + self.positions[:count]
        for block in self.blocks:
            x = block.feed_forward(block.attend(x)[0])
        return super().video(clips + x)
