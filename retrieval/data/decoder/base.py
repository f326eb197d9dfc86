"""The contract of what frames are read from: a video file, or the stored frames of one."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from jaxtyping import UInt8
from torch import Tensor

from retrieval.errors import UserError


class VideoError(UserError):
    """A video that cannot be read; the message names the file and the cause."""


class VideoFile(ABC):
    """A video, opened to read frames of it at one size.

    Attributes:
        total: number of frames.
        fps: frames a second, on average.
    """

    total: int
    fps: float

    @property
    @abstractmethod
    def times(self) -> Sequence[float]:
        """When each frame is shown, in seconds, ascending; the first need not be at 0.

        This is the truth that samplers, and the start and end of a part, go by; `fps` is only the mean.
        """

    @abstractmethod
    def read(self, indices: Sequence[int]) -> UInt8[Tensor, "frame 3 height width"]:
        """The frames of these indices, upright, in the order asked for; indices may repeat.

        Raises:
            VideoError: frames that are not there or cannot be decoded.
        """


@runtime_checkable
class Decoder(Protocol):
    """Opens a file whose frames are shrunk to `short_side` pixels on the shorter side, never enlarged; None: as is.

    The size is known when the file is opened, because decord asks for it there.
    """

    def __call__(self, path: Path, short_side: int | None = None) -> VideoFile: ...
