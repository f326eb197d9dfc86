"""Which frames of a video are read: pure functions that return exactly as many indices as asked for, in order.

Both repeat frames where the part has too few. With `generator` None (evaluation) both are deterministic.
"""

from collections.abc import Sequence
from math import ceil, floor
from typing import Protocol, runtime_checkable

import torch

from retrieval.errors import UserError


class PartError(ValueError):
    """A video that does not have the part that is asked of it."""


@runtime_checkable
class Sampler(Protocol):
    """`count` frame indices between `start` and `end` (seconds; None: the whole video) of a video of `total` frames."""

    def __call__(
        self,
        total: int,
        fps: float,
        count: int,
        start: float | None = None,
        end: float | None = None,
        generator: torch.Generator | None = None,
    ) -> list[int]: ...


def even_frames(
    total: int,
    fps: float,
    count: int,
    start: float | None = None,
    end: float | None = None,
    generator: torch.Generator | None = None,
    rate: float = 1.0,
) -> list[int]:
    """`rate` frames a second, then evenly `count` of those (CLIP4Clip, TempMe), in training too.

    A part with fewer than `count` of those is sampled evenly from its first frame to its last, and evenly in time: its
    reverse gives the same frames.

    Raises:
        PartError: a part that begins after the video's end or has no frame.
        UserError: an impossible `count` or `rate`.
    """
    first, frames = _part(total, fps, count, start, end)
    if not rate > 0:
        raise UserError(f"data.sampler.rate={rate} frames a second, must be positive")
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
    rate: float | None = None,
) -> list[int]:
    """A frame from each of `count` equal segments of the frames at `rate` a second, None: of all (TSN, CenterCLIP).

    In training at random from segments of `frames // count`, in evaluation `int(tick / 2 + tick * i)` with `tick` =
    `frames / count`. Where there are fewer frames than wanted, the last is repeated.

    Raises:
        PartError: a part that begins after the video's end or has no frame.
        UserError: an impossible `count` or `rate`.
    """
    first, frames = _part(total, fps, count, start, end)
    candidates = range(first, first + frames) if rate is None else _at_rate(first, frames, fps, rate)
    size = len(candidates)
    if size < count:
        return [candidates[min(place, size - 1)] for place in range(count)]
    if generator is None:
        tick = size / count
        return [candidates[int(tick / 2 + tick * segment)] for segment in range(count)]
    length = size // count
    offsets = torch.randint(length, (count,), generator=generator).tolist()
    return [candidates[segment * length + offset] for segment, offset in enumerate(offsets)]


def _at_rate(first: int, frames: int, fps: float, rate: float) -> Sequence[int]:
    """The frames of a part that are left where the video is shown at `rate` frames a second; at least the first.

    Raises:
        UserError: an impossible `rate`.
    """
    if not rate > 0:
        raise UserError(f"data.sampler.rate={rate} frames a second, must be positive, or null for all")
    if rate >= fps:
        return range(first, first + frames)
    numbers = range(floor(first * rate / fps), ceil((first + frames) * rate / fps) + 1)
    kept = [index for number in numbers if first <= (index := round(number * fps / rate)) < first + frames]
    return kept or [first]


def _part(total: int, fps: float, count: int, start: float | None, end: float | None) -> tuple[int, int]:
    """First frame and number of frames, at least 1, of the part between `start` and `end`."""
    if total < 1 or not fps > 0:
        raise PartError(f"it has {total} frames at {fps} frames a second: nothing to sample from")
    if count < 1:
        raise UserError(f"data.frames={count}, must be at least 1")
    first = 0 if start is None else floor(start * fps)
    if first >= total:
        raise PartError(f"the part starts at {start} s, but the video ends at {total / fps:.2f} s")
    last = total if end is None else min(total, ceil(end * fps))
    if last <= first:
        raise PartError(f"the part from {start or 0.0} s to {end} s has no frame")
    return first, last - first


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
