"""Reading with decord: the fastest where a few frames of a long video are wanted."""

from collections.abc import Sequence
from pathlib import Path

import decord
import torch
from jaxtyping import UInt8
from torch import Tensor

from retrieval.data.decoder.base import VideoError, VideoFile
from retrieval.data.decoder.coded import CodedFile
from retrieval.data.decoder.index import Index, read_index
from retrieval.data.decoder.pyav import PyAVFile

decord.logging.set_level(decord.logging.QUIET)
ALIGNMENTS = (16, 32, 64)  # pixels: SSE or NEON, AVX2, AVX-512
_ERRORS = (decord.DECORDError, decord.DECORDLimitReachedError, RuntimeError, OSError, IndexError)


def open_decord(path: Path, short_side: int | None = None, check: str = "header") -> VideoFile:
    """A file read by decord, or by PyAV where `serves` says that decord cannot; see `Decoder`."""
    index = read_index(path, check)
    size = index.size(short_side)
    kind = DecordFile if serves(index, size[1]) else PyAVFile
    return kind(index, size, tolerant=check == "none")


def serves(index: Index, width: int) -> bool:
    """Whether decord gives the right frames of this file at this width.

    Besides widths that it cannot hand over, it seeks to neighbouring frames in files that are not `is_plain`.
    """
    return index.is_plain and not is_mistaken(width)


def is_mistaken(width: int) -> bool:
    """Whether decord, on some processor, takes the padding of a picture of this width for colour channels.

    FFmpeg pads every row of three bytes a pixel to a multiple of 16, 32 or 64 pixels, by the processor's vectors.
    decord counts channels as the bytes of a padded row by the width where that divides evenly: at 144 pixels and
    AVX-512 3 * 192 / 144 = 4, and it ends in "The size must exactly match". The rule asks for all processors at once,
    so that the choice of decoder, and with it a frame, depends on none.
    """
    padded = (-(-width // alignment) * alignment for alignment in ALIGNMENTS)
    return any(row != width and 3 * row % width == 0 for row in padded)


class DecordFile(CodedFile):
    """A file at `size`; `tolerant`: with what decord puts in a broken frame's place."""

    def __init__(self, index: Index, size: tuple[int, int], tolerant: bool = False) -> None:
        super().__init__(index, size)
        sides = {} if size == (index.height, index.width) else {"height": size[0], "width": size[1]}
        # decord puts good frames in the place of broken ones, silently unless it is told how many are too many.
        tolerated = -1 if tolerant else 1
        try:
            self.reader = decord.VideoReader(str(index.path), num_threads=1, fault_tol=tolerated, **sides)
        except _ERRORS as error:
            raise VideoError(f"{index.path}: not a readable video: {_cause(error)}") from error

    def _decode(self, distinct: Sequence[int]) -> UInt8[Tensor, "frame 3 height width"]:
        try:
            frames = self.reader.get_batch(list(distinct)).asnumpy()
        except _ERRORS as error:
            raise self.index.damaged(distinct, _cause(error)) from error
        return torch.from_numpy(frames).permute(0, 3, 1, 2)


def _cause(error: Exception) -> str:
    """The end of the first line of decord's message: what failed, without time, source position and function call."""
    cause = str(error).strip().partition("\n")[0].rsplit(": ", 1)[-1]
    if cause.startswith("Error reading"):  # all that decord says of a file that FFmpeg cannot open
        return "cut short, or of another kind"
    return cause or type(error).__name__
