"""Which frames of a video are read: pure functions that return exactly as many indices as asked for, in order.

Both repeat frames where the part has too few. With `generator` None (evaluation) both are deterministic. Where frames
do not follow each other evenly (`is_variable`), the times at which they are shown decide, and not their numbers.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from math import ceil, floor, inf
from typing import Protocol, runtime_checkable

import numpy as np
import torch

from retrieval.errors import UserError


class PartError(ValueError):
    """A video that does not have the part that is asked of it."""


@runtime_checkable
class Sampler(Protocol):
    """`count` frame indices between `start` and `end` (seconds; None: the whole video) of a video of `total` frames.

    `times` is `VideoFile.times`, when each frame is shown; None: every 1 / fps seconds. `start` and `end` are seconds
    after the first frame.
    """

    def __call__(
        self,
        total: int,
        fps: float,
        count: int,
        start: float | None = None,
        end: float | None = None,
        generator: torch.Generator | None = None,
        times: Sequence[float] | None = None,
    ) -> list[int]: ...


def even_frames(
    total: int,
    fps: float,
    count: int,
    start: float | None = None,
    end: float | None = None,
    generator: torch.Generator | None = None,
    times: Sequence[float] | None = None,
    rate: float = 1.0,
) -> list[int]:
    """`rate` frames a second, then evenly `count` of those (CLIP4Clip, TempMe), in training too.

    A part with fewer than `count` of those is sampled evenly from its first frame to its last, and evenly in time: its
    reverse gives the same frames. At a variable rate both rules ask for moments, and take the frame shown then.

    Raises:
        PartError: a part that begins after the video's end or has no frame.
        UserError: an impossible `count` or `rate`.
    """
    first, frames = _part(total, fps, count, start, end, times)
    if not rate > 0:
        raise UserError(f"data.sampler.rate={rate} frames a second, must be positive")
    if times is not None and is_variable(times, fps):
        return _even_moments(times, fps, count, range(first, first + frames), start, end, rate)
    stride = max(1, round(fps / rate))
    candidates = range(first, first + frames, stride)
    if len(candidates) < count:
        return [first + offset for offset in _mirrored(_spread(frames, count), frames)]
    return [candidates[floor(position)] for position in _spread(len(candidates), count)]


def segment_frames(
    total: int,
    fps: float,
    count: int,
    start: float | None = None,
    end: float | None = None,
    generator: torch.Generator | None = None,
    times: Sequence[float] | None = None,
) -> list[int]:
    """A frame from each of `count` equal segments: at random in training, the centres in evaluation (TSN).

    Raises:
        PartError: a part that begins after the video's end or has no frame.
        UserError: an impossible `count`.
    """
    first, frames = _part(total, fps, count, start, end, times)
    if generator is None:
        centres = [(segment + 0.5) * frames / count - 0.5 for segment in range(count)]
        return [first + offset for offset in _mirrored(centres, frames)]
    offsets = torch.rand(count, generator=generator, dtype=torch.float64).tolist()
    return [
        first + min(frames - 1, floor((segment + offset) * frames / count)) for segment, offset in enumerate(offsets)
    ]


def _part(
    total: int, fps: float, count: int, start: float | None, end: float | None, times: Sequence[float] | None = None
) -> tuple[int, int]:
    """First frame and number of frames, at least 1, of the part between `start` and `end`.

    The part begins with the frame that is shown at `start`, and has no frame that is shown first at `end` or later.
    """
    if total < 1 or not fps > 0:
        raise PartError(f"it has {total} frames at {fps} frames a second: nothing to sample from")
    if count < 1:
        raise UserError(f"data.frames={count}, must be at least 1")
    if times is not None and is_variable(times, fps):
        seconds = _last_moment(times, fps)
        first = total if (start or 0.0) >= seconds else _shown(times, start or 0.0)
        last = total if end is None else bisect_left(times, times[0] + end)
    else:
        seconds = total / fps
        first = 0 if start is None else floor(start * fps)
        last = total if end is None else min(total, ceil(end * fps))
    if first >= total:
        raise PartError(f"the part starts at {start} s, but the video ends at {seconds:.2f} s")
    if last <= first:
        raise PartError(f"the part from {start or 0.0} s to {end} s has no frame")
    return first, last - first


def is_variable(times: Sequence[float], fps: float) -> bool:
    """Whether a frame is shown more than half a frame's time before or after the moment that the mean rate gives it.

    Containers round times, to milliseconds in Matroska: what does not move a frame by half of its time is constant.
    """
    drift = np.asarray(times) - times[0] - np.arange(len(times)) / fps
    return bool(np.abs(drift).max() * fps > 0.5)


def _even_moments(
    times: Sequence[float], fps: float, count: int, frames: range, start: float | None, end: float | None, rate: float
) -> list[int]:
    """`even_frames` among `frames` that do not follow each other evenly."""
    begin = start or 0.0
    seconds = min(_last_moment(times, fps), inf if end is None else end) - begin
    moments = [begin + number / rate for number in range(ceil(seconds * rate))]
    if len(moments) >= count:
        return [_shown(times, moments[floor(position)]) for position in _spread(len(moments), count)]
    first, last = (max(times[frame] - times[0], begin) for frame in (frames[0], frames[-1]))
    step = (last - first) / max(1, count - 1)
    wanted = [first + step * number for number in range(count)] if count > 1 else [(first + last) / 2]
    return [min(max(_nearest(times, moment), frames[0]), frames[-1]) for moment in wanted]


def _last_moment(times: Sequence[float], fps: float) -> float:
    """When a video ends, in seconds after its first frame; how long the last frame is shown is taken from the mean."""
    return max(times[-1] - times[0] + 1 / fps, len(times) / fps)


def _shown(times: Sequence[float], moment: float) -> int:
    """The frame that is on the screen `moment` seconds after the first."""
    return max(0, bisect_right(times, times[0] + moment) - 1)


def _nearest(times: Sequence[float], moment: float) -> int:
    """The frame that is shown first nearest to `moment` seconds after the first frame, the earlier of two."""
    after = _shown(times, moment) + 1
    candidates = range(after - 1, min(after + 1, len(times)))
    return min(candidates, key=lambda frame: abs(times[frame] - times[0] - moment))


def _spread(size: int, count: int) -> list[float]:
    """`count` positions from 0 to size - 1; a single one in the middle."""
    if count == 1:
        return [(size - 1) / 2]
    return [position * (size - 1) / (count - 1) for position in range(count)]


def _mirrored(positions: Sequence[float], size: int) -> list[int]:
    """Round the first half and mirror it, so that ties round alike from both ends."""
    half = [floor(position + 0.5) for position in positions[: len(positions) // 2]]
    middle = [floor(positions[len(half)])] if len(positions) % 2 else []
    return [min(index, size - 1) for index in half] + middle + [max(size - 1 - index, 0) for index in reversed(half)]
