"""Videos to the frames of their moments, in processes of their own that take file after file and hand over pieces.

A film is never in memory as a whole: a worker decodes as many moments as are encoded at a time, each frame once
although moments overlap, and waits until the piece before the last one is taken.
"""

import multiprocessing
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.utils.data import IterableDataset
from torchvision.transforms.v2.functional import resize

from retrieval.data.corpora.base import Record
from retrieval.data.dataset import FrameReader, decoded
from retrieval.data.decoder import StuckError, VideoError, VideoFile
from retrieval.data.loading import Loader, start_worker
from retrieval.data.store.frames import encode_jpeg
from retrieval.search.cutting import Cut, Span, length

QUALITY = 80  # of the thumbnails' JPEGs
WIDEST = 256  # pixels of a thumbnail's longer side


@dataclass(frozen=True)
class Reading:
    """How videos are read: what a worker needs besides the files' names.

    Attributes:
        reader: from a part of a video to its frames, as evaluation reads them.
        cut: from a video to its moments.
        at_once: moments that are read and encoded at a time.
        workers: processes that read; 0: this one.
    """

    reader: FrameReader
    cut: Cut
    at_once: int
    workers: int


class Piece(NamedTuple):
    """Some neighbouring moments of a file, or the end of a file.

    Attributes:
        file: its place among the files that are read.
        numbers: of the moments within the file.
        spans: where they are, in seconds.
        frames: theirs.
        thumbnails: a JPEG of each.
        seconds: of video that this piece goes over.
        errors: what could not be read of it.
        is_last: whether the file ends with it.
        is_broken: whether nothing of the file is to be kept.
    """

    file: int
    numbers: Sequence[int] = ()
    spans: Sequence[Span] = ()
    frames: UInt8[Tensor, "moment frame 3 size size"] | None = None
    thumbnails: Sequence[bytes] = ()
    seconds: float = 0.0
    errors: Sequence[str] = ()
    is_last: bool = False
    is_broken: bool = False


class MomentReader(IterableDataset[Piece]):
    """The pieces of all files; whichever worker is free takes the next file."""

    def __init__(self, paths: Sequence[str], reading: Reading) -> None:
        self.paths, self.reading = paths, reading
        self.next = multiprocessing.Value("q", 0)

    def __iter__(self) -> Iterator[Piece]:
        while (file := self._take()) < len(self.paths):
            yield from self._pieces(file, Path(self.paths[file]))

    def _take(self) -> int:
        with self.next.get_lock():
            self.next.value += 1
            return self.next.value - 1

    def _pieces(self, file: int, path: Path) -> Iterator[Piece]:
        reading, covered = self.reading, 0.0
        try:
            video = reading.reader.open(path)
            spans = reading.cut(video)
            for first in range(0, len(spans), reading.at_once):
                numbers = range(first, min(first + reading.at_once, len(spans)))
                piece = self._piece(file, path, video, {number: spans[number] for number in numbers})
                end = spans[numbers[-1]][1]
                yield piece._replace(seconds=end - covered, is_last=numbers[-1] == len(spans) - 1)
                covered = end
        except VideoError as error:
            yield Piece(file, errors=[str(error)], is_last=True, is_broken=True)

    def _piece(self, file: int, path: Path, video: VideoFile, spans: dict[int, Span]) -> Piece:
        """These moments; those that cannot be read are left out.

        Raises:
            StuckError: the decoder hangs or crashes: it would do so on every other moment.
        """
        try:
            return self._read(file, path, video, spans)
        except StuckError:
            raise
        except VideoError as error:
            if len(spans) == 1:
                return Piece(file, errors=[str(error)])
        return _joined([self._piece(file, path, video, {number: span}) for number, span in spans.items()])

    def _read(self, file: int, path: Path, video: VideoFile, spans: dict[int, Span]) -> Piece:
        reader, seconds = self.reading.reader, length(video)
        chosen = [reader.choose(video, _record(path, span, seconds)) for span in spans.values()]
        distinct = sorted({index for indices in chosen for index in indices})
        middles = [indices[len(indices) // 2] for indices in chosen]
        frames: list[Tensor] = []
        pictures: dict[int, bytes] = {}
        for part in decoded(video, distinct):
            first = sum(map(len, frames))
            pixels = dict(zip(distinct[first : first + len(part)], part, strict=True))
            pictures |= {index: thumbnail(pixels[index]) for index in middles if index in pixels}
            frames.append(reader.transform(part))
        place = {index: number for number, index in enumerate(distinct)}
        found = torch.cat(frames)[torch.tensor([[place[index] for index in indices] for indices in chosen])]
        return Piece(file, list(spans), list(spans.values()), found, [pictures[index] for index in middles])


def read_moments(paths: Sequence[str], reading: Reading) -> Iterator[Piece]:
    """The pieces of these files, those of a file in order, those of several files as they come."""
    loader = Loader(
        MomentReader(paths, reading),
        batch_size=None,
        num_workers=min(reading.workers, len(paths)),
        in_order=False,
        worker_init_fn=start_worker,
    )
    with warnings.catch_warnings():
        # Python warns of forks beside threads, here LanceDB's: a worker decodes, and takes up none of their work.
        warnings.simplefilter("ignore", DeprecationWarning)
        return iter(loader)


def read_part(
    path: Path, reader: FrameReader, start: float | None, end: float | None
) -> UInt8[Tensor, "1 frame 3 size size"]:
    """The frames of a part of a video, as those of a moment are read; None: from its beginning, to its end.

    Raises:
        VideoError: it cannot be read, or does not have this part.
    """
    return reader(Record(str(path), path, (str(path),), start, end))[None]


def thumbnail(frame: UInt8[Tensor, "3 height width"]) -> bytes:
    """A small JPEG of a frame, never enlarged."""
    factor = min(1.0, WIDEST / max(frame.shape[1:]))
    size = [max(1, round(side * factor)) for side in frame.shape[1:]]
    return encode_jpeg(resize(frame, size, antialias=True), QUALITY)


def _record(path: Path, span: Span, seconds: float) -> Record:
    """A moment as a corpus would tell of it: a whole video has no start and no end."""
    whole = span == (0.0, seconds)
    return Record(str(path), path, (str(path),), None if whole else span[0], None if whole else span[1])


def _joined(pieces: Sequence[Piece]) -> Piece:
    frames = [piece.frames for piece in pieces if piece.frames is not None]
    return Piece(
        pieces[0].file,
        [number for piece in pieces for number in piece.numbers],
        [span for piece in pieces for span in piece.spans],
        torch.cat(frames) if frames else None,
        [picture for piece in pieces for picture in piece.thumbnails],
        errors=[error for piece in pieces for error in piece.errors],
    )
