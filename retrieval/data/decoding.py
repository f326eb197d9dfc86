"""Reading the wanted frames of a video file with decord: upright, from the stream that a player would show."""

from collections.abc import Callable, Sequence
from pathlib import Path

import decord
import torch
from jaxtyping import UInt8
from torch import Tensor

from retrieval.data.sampling import ClipError
from retrieval.errors import UserError

decord.logging.set_level(decord.logging.QUIET)
_ERRORS = (decord.DECORDError, RuntimeError, OSError, IndexError)


class VideoError(UserError):
    """A video that cannot be read; the message names the file and the cause."""


def decode(
    path: Path, choose: Callable[[int, float], Sequence[int]], short_side: int | None = None
) -> UInt8[Tensor, "frame 3 height width"]:
    """The frames that `choose` picks by index, given the number of frames and the frames a second.

    Args:
        path: a video file; of several video streams FFmpeg's best is read, by default flag, bit rate and size.
        choose: the frames to read; indices may repeat.
        short_side: shrink to this many pixels on the shorter side while decoding, never enlarge; None: leave as is.

    Raises:
        VideoError: a file that is missing, broken, or not long enough for `choose`.
    """
    if not path.is_file():
        raise VideoError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise VideoError(f"{path}: the file is empty")
    try:
        reader = _open(path, short_side)
        total, fps = len(reader), float(reader.get_avg_fps())
    except _ERRORS as error:
        raise VideoError(f"{path}: not a readable video: {_cause(error)}") from error
    try:
        indices = list(choose(total, fps))
    except ClipError as error:
        raise VideoError(f"{path}: {error}") from error
    try:
        frames = reader.get_batch(indices).asnumpy()
    except _ERRORS as error:
        raise VideoError(f"{path}: damaged, frames {indices} of {total} cannot be decoded: {_cause(error)}") from error
    return torch.from_numpy(frames).permute(0, 3, 1, 2)


def _open(path: Path, short_side: int | None) -> decord.VideoReader:
    """A reader with one thread: the data loader's workers are the parallelism."""
    # fault_tol: decord stands in good frames for broken ones, silently unless it is told how many are too many.
    reader = decord.VideoReader(str(path), num_threads=1, fault_tol=1)
    if short_side is None:
        return reader
    height, width = reader[0].shape[:2]
    scale = short_side / min(height, width)
    if scale >= 1:
        return reader
    size = {"height": round(height * scale), "width": round(width * scale)}
    return decord.VideoReader(str(path), num_threads=1, fault_tol=1, **size)


def _cause(error: Exception) -> str:
    """The end of the first line of decord's message: what failed, without time, source position and function call."""
    cause = str(error).strip().partition("\n")[0].rsplit(": ", 1)[-1]
    if cause.startswith("Error reading"):  # all that decord says of a file that FFmpeg cannot open
        return "cut short, or of another kind"
    return cause or type(error).__name__
