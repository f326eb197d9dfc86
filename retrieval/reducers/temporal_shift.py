"""Temporal shift of the patches (TSM, ICCV 2019, as CenterCLIP, SIGIR 2022, compares with it): no token is dropped."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from retrieval.reducers.base import Reducer, Tokens, TowerShape
from retrieval.reducers.segments import Schedule, acting_blocks, check_blocks


class TemporalShift(Reducer):
    """Give each patch, before attention, some channels of its neighbours in time.

    Args:
        block: block, or ascending blocks, counted from 0, that shift; None: every block.

    Raises:
        UserError: blocks out of order; when the tower is built, those that it lacks.
    """

    def __init__(self, block: Schedule | None = 6) -> None:
        super().__init__()
        self.shifting_blocks = None if block is None else acting_blocks(block)

    def build(self, tower: TowerShape, position_embedding: Float[Tensor, "patch dim"]) -> None:
        check_blocks(self.shifting_blocks or [], tower)

    def shifts_at(self, block: int) -> bool:
        """Whether a block shifts."""
        return self.shifting_blocks is None or block in self.shifting_blocks

    def before_attention(self, tokens: Tokens, block: int) -> Tokens:
        if not self.shifts_at(block):
            return tokens
        class_tokens, patches = tokens.x[:, : tokens.class_tokens], tokens.x[:, tokens.class_tokens :]
        return tokens.with_x(torch.cat([class_tokens, shift(patches, tokens.clips)], dim=1))


def shift(x: Float[Tensor, "clip token dim"], clips: int) -> Float[Tensor, "clip token dim"]:
    """The first eighth of the channels from the next clip of the video, the second from the one before; 0 at the ends.

    Args:
        x: tokens, the clips of a video one behind the other.
        clips: clips per video.
    """
    eighth = x.shape[-1] // 8
    x = x.unflatten(0, (-1, clips))
    following = F.pad(x[:, 1:, :, :eighth], (0, 0, 0, 0, 0, 1))
    preceding = F.pad(x[:, :-1, :, eighth : 2 * eighth], (0, 0, 0, 0, 1, 0))
    return torch.cat([following, preceding, x[..., 2 * eighth :]], dim=-1).flatten(0, 1)
