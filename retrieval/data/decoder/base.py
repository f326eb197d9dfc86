"""The contract of what frames are read from: a video file, or the stored frames of one."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from jaxtyping import UInt8
from torch import Tensor

from retrieval.errors import UserError

CHECKS = ("full", "header", "none")
"""How far a file is trusted, the knob `data.check`: decoded once, its header and packets compared, or not checked."""


class VideoError(UserError):
    """A video that cannot be read; the message names the file and the cause."""


class StuckError(VideoError):
    """A video on which a decoder hung, or that ended it."""


@dataclass(frozen=True)
class Damage:
    """What decoding all of a video shows to be broken.

    Attributes:
        share: of its frames that are lacking, concealed, or built on such ones, 0 to 1.
        seconds: where those are, from and to, after the first frame.
        reasons: what was noticed, and how often.
    """

    share: float
    seconds: Sequence[Sequence[float]]
    reasons: Sequence[str]

    def __str__(self) -> str:
        places = ", ".join(f"{start:.2f} to {end:.2f} s" for start, end in self.seconds[:3])
        more = f" and {len(self.seconds) - 3} more places" if len(self.seconds) > 3 else ""
        where = f" ({places}{more})" if places else ""
        return f"{', '.join(self.reasons)}; {self.share:.1%} of its frames are not sure{where}"


class VideoFile(ABC):
    """A video, opened to read frames of it at one size.

    Attributes:
        total: number of frames.
        fps: frames a second, on average.
        claimed: seconds that its container says it lasts; 0: it says nothing.
        size: height and width of a frame; None: known only when one is read.
    """

    total: int
    fps: float
    claimed: float = 0.0
    size: tuple[int, int] | None = None

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

    def examine(self) -> Damage | None:
        """What is broken in the video as far as can be told by decoding all of it; None: nothing."""
        return None


@runtime_checkable
class Decoder(Protocol):
    """Opens a file whose frames are shrunk to `short_side` pixels on the shorter side, never enlarged; None: as is.

    The size is known when the file is opened, because decord asks for it there. With a `check` other than "none" a file
    is refused of which packets are torn or lacking, or that ends long before it says.
    """

    def __call__(self, path: Path, short_side: int | None = None, check: str = "header") -> VideoFile: ...
