"""A file whose index is read, whichever library decodes it: each frame is decoded once, however often it is wanted."""

from abc import abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import UInt8
from torch import Tensor

from retrieval.data.decoder.base import Damage, VideoFile
from retrieval.data.decoder.damage import examine
from retrieval.data.decoder.index import Index


class CodedFile(VideoFile):
    """A file at `size` (height and width)."""

    def __init__(self, index: Index, size: tuple[int, int]) -> None:
        self.index, self.size = index, size
        self.total, self.fps, self.claimed = len(index.timestamps), index.fps, index.claimed

    @property
    def times(self) -> Sequence[float]:
        return self.index.times

    def read(self, indices: Sequence[int]) -> UInt8[Tensor, "frame 3 height width"]:
        distinct = sorted(set(indices))
        frames = self._decode(distinct)
        if distinct == list(indices):
            return frames
        return frames[torch.tensor([distinct.index(index) for index in indices])]

    def examine(self) -> Damage | None:
        return examine(self.index)

    @abstractmethod
    def _decode(self, distinct: Sequence[int]) -> UInt8[Tensor, "frame 3 height width"]:
        """The frames of these ascending indices."""
