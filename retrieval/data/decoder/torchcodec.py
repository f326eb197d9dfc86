"""Reading with TorchCodec, which is no dependency: it takes the FFmpeg that the machine has."""

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from jaxtyping import UInt8
from torch import Tensor

from retrieval.data.decoder.base import Decoder, VideoError, VideoFile
from retrieval.data.decoder.coded import CodedFile
from retrieval.data.decoder.index import Index, read_index
from retrieval.data.decoder.pyav import PyAVFile
from retrieval.errors import UserError


def find_torchcodec() -> Decoder:
    """The decoder, once TorchCodec and its FFmpeg are found.

    Raises:
        UserError: they are not.
    """
    _import()
    return open_torchcodec


def open_torchcodec(path: Path, short_side: int | None = None, check: str = "header") -> VideoFile:
    """A file read by TorchCodec, or by PyAV where its frames would be others; see `Decoder`.

    TorchCodec shrinks by bilinear interpolation, decord and PyAV by bicubic; and it tells frames by their times alone.
    """
    index = read_index(path, check)
    size = index.size(short_side)
    if index.is_ordered and size == (index.height, index.width):
        return TorchCodecFile(index)
    return PyAVFile(index, size, tolerant=check == "none")


class TorchCodecFile(CodedFile):
    """A file at its own size."""

    def __init__(self, index: Index) -> None:
        super().__init__(index, index.size(None))
        try:
            self.decoder = _import().VideoDecoder(str(index.path), num_ffmpeg_threads=1)
        except (RuntimeError, ValueError) as error:
            raise VideoError(f"{index.path}: not a readable video: {_cause(error)}") from error

    def _decode(self, distinct: Sequence[int]) -> UInt8[Tensor, "frame 3 height width"]:
        try:
            return self.decoder.get_frames_at(list(distinct)).data
        except (RuntimeError, ValueError, IndexError) as error:
            raise self.index.damaged(distinct, _cause(error)) from error


def _import() -> ModuleType:
    """TorchCodec's decoders; importing them loads FFmpeg's shared libraries."""
    try:
        from torchcodec import decoders
    except (ImportError, RuntimeError, OSError) as error:
        raise UserError(
            "data/decoder=torchcodec needs the package torchcodec and FFmpeg's shared libraries: "
            "pip install torchcodec, and ffmpeg from your system or conda; data/decoder=decord and pyav need neither "
            f"({_cause(error)})"
        ) from error
    return decoders


def _cause(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
