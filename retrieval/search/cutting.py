"""From a video to its moments: windows of a length that overlap, or shots, of which long ones are cut into windows."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from jaxtyping import UInt8
from torch import Tensor
from torch.nn import functional as F

from retrieval.data.decoder import VideoFile
from retrieval.errors import UserError
from retrieval.search.lance import INSTALL

Span = tuple[float, float]
"""Start and end in seconds after the first frame."""
AT_A_TIME = 64  # frames
SMALL = 144  # pixels of the shorter side in which shots are looked for: PySceneDetect shrinks to about as much
MILLISECOND = 0.001  # windows that begin closer than that are one
SHORTEST = 0.6  # seconds of a shot, PySceneDetect's own choice


@dataclass(frozen=True)
class Cut:
    """How videos are cut.

    Attributes:
        window: seconds of a moment at most; a shorter video, or shot, is one moment.
        stride: seconds from one window's start to the next one's.
        shots: whether no moment goes over a cut between two shots, as PySceneDetect finds them.

    Raises:
        UserError: no time.
    """

    window: float = 10.0
    stride: float = 5.0
    shots: bool = False

    def __post_init__(self) -> None:
        for knob in ("window", "stride"):
            if not 0 < getattr(self, knob) < float("inf"):
                raise UserError(f"{knob}={getattr(self, knob)} seconds, must be positive")
            object.__setattr__(self, knob, float(getattr(self, knob)))

    def __str__(self) -> str:
        return f"window={self.window:g} stride={self.stride:g} shots={str(self.shots).lower()}"

    def __call__(self, video: VideoFile) -> list[Span]:
        """The moments of a video, in order.

        Raises:
            VideoError: frames that cannot be decoded, where shots are looked for.
        """
        seconds = length(video)
        parts = find_shots(video, seconds) if self.shots else [(0.0, seconds)]
        return [span for start, end in parts for span in windows(start, end, self.window, self.stride)]


def length(video: VideoFile) -> float:
    """Seconds that a video is shown for."""
    return max(video.times[-1] - video.times[0] + 1 / video.fps, video.total / video.fps)


def windows(start: float, end: float, window: float, stride: float) -> list[Span]:
    """Windows every `stride` seconds, the last one moved back so far that it ends with the part and is as long."""
    last = end - window
    if last < start + MILLISECOND:
        return [(start, end)]
    spans: list[Span] = []
    while (begin := start + len(spans) * stride) < last - MILLISECOND:
        spans.append((begin, begin + window))
    return [*spans, (last, end)]


def find_shots(video: VideoFile, seconds: float) -> list[Span]:
    """The shots of a video by the change of colour and light from frame to frame (PySceneDetect's ContentDetector).

    All frames are decoded, by the decoder and under the deadline that everything else is read with.

    Raises:
        UserError: PySceneDetect is not installed.
        VideoError: frames that cannot be decoded.
    """
    detector, timecode = _pyscenedetect(video.fps)
    begins = [0.0]
    for first in range(0, video.total, AT_A_TIME):
        numbers = range(first, min(first + AT_A_TIME, video.total))
        for number, picture in zip(numbers, _small(video.read(numbers)).flip(1).permute(0, 2, 3, 1), strict=True):
            cuts = detector.process_frame(timecode(number), picture.contiguous().numpy())
            begins += [video.times[cut.frame_num] - video.times[0] for cut in cuts]
    begins += [video.times[cut.frame_num] - video.times[0] for cut in detector.post_process(timecode(video.total - 1))]
    return list(pairwise([*sorted(set(begins)), seconds]))


def _small(frames: UInt8[Tensor, "frame 3 height width"]) -> UInt8[Tensor, "frame 3 small_height small_width"]:
    factor = SMALL / min(frames.shape[2:])
    return frames if factor >= 1 else F.interpolate(frames, scale_factor=factor, mode="bilinear", antialias=True)


def _pyscenedetect(fps: float) -> tuple[Any, Any]:
    """A detector, and from a frame's number to what it calls a timecode."""
    try:
        from scenedetect import FrameTimecode
        from scenedetect.detectors import ContentDetector
    except ImportError as error:
        raise UserError(f"shots=true needs PySceneDetect: {INSTALL} ({error})") from error
    return ContentDetector(min_scene_len=max(1, round(SHORTEST * fps))), lambda number: FrameTimecode(number, fps=fps)
