"""What a data loader reads: training pairs, evaluation videos and evaluation captions.

Every random choice is a pure function of (seed, epoch, index): no global generator, no state in the workers.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TypeVar

import torch
from jaxtyping import UInt8
from torch import Generator, Tensor
from torch.utils.data import Dataset

from retrieval.data.batches import CaptionSample, TrainingSample, VideoSample
from retrieval.data.corpora.base import Record
from retrieval.data.decoder import VideoError, VideoFile
from retrieval.data.sampling import PartError, Sampler
from retrieval.data.transforms import transform_frames

SampleKey = tuple[int, int]  # index and epoch
Open = Callable[[Path], VideoFile]
Read = TypeVar("Read", TrainingSample, VideoSample)


AT_ONCE = 2**28
"""Bytes of decoded frames that are held at a time: all of most videos, two of an 8K one."""


@dataclass(frozen=True)
class FrameReader:
    """From a record to its frames: `open` the video, read `frames` frames that `sampler` chooses, `transform` them.

    A frame is decoded and transformed once, however often the sampler repeats it; large ones are, a few at a time.
    """

    frames: int
    sampler: Sampler
    transform: Callable[[Tensor], Tensor]
    open: Open

    def __call__(self, record: Record, generator: Generator | None = None) -> UInt8[Tensor, "frame 3 size size"]:
        """The frames; random numbers come from `generator`, None: evaluation.

        Raises:
            VideoError: a video that cannot be read, or does not have the part that the record tells of.
        """
        video = self.open(record.path)
        indices = self.choose(video, record, generator)
        distinct = sorted(set(indices))
        frames = [
            # The same random numbers for all parts: a crop is the same for all frames of a video.
            transform_frames(part, self.transform, generator and generator.clone_state())
            for part in decoded(video, distinct)
        ]
        return torch.cat(frames)[torch.tensor([distinct.index(index) for index in indices])]

    def choose(self, video: VideoFile, record: Record, generator: Generator | None = None) -> list[int]:
        """Which frames of the opened video those are.

        Raises:
            VideoError: it does not have the part that the record tells of.
        """
        try:
            return self.sampler(video.total, video.fps, self.frames, record.start, record.end, generator, video.times)
        except PartError as error:
            raise VideoError(f"{record.path}: {error}") from error


def decoded(video: VideoFile, indices: Sequence[int]) -> Iterator[UInt8[Tensor, "frame 3 height width"]]:
    """Frames of a video, as many at a time as `AT_ONCE` allows."""
    step = len(indices) if video.size is None else max(1, AT_ONCE // (3 * prod(video.size)))
    return (video.read(indices[first : first + step]) for first in range(0, len(indices), step))


def sample_generator(seed: int, epoch: int, index: int) -> Generator:
    """The generator of one sample of one epoch."""
    digest = hashlib.sha256(f"{seed},{epoch},{index}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big", signed=True))


def read_or_skip(read: Callable[[int], Read], index: int, size: int, on_error: str) -> Read:
    """`read(index)`; with on_error=skip the next index that can be read, `skipped` telling what could not.

    Raises:
        VideoError: a video that cannot be read with on_error=raise; not one that can with on_error=skip.
    """
    skipped: list[str] = []
    for offset in range(size):
        try:
            return read((index + offset) % size)._replace(skipped=tuple(skipped))
        except VideoError as error:
            if on_error == "raise":
                raise VideoError(f"{error} (data.on_error=skip puts another video in its place)") from error
            skipped.append(str(error))
    raise VideoError(f"none of the {size} samples can be read, the first: {skipped[0]}")


class TrainingPairs(Dataset[TrainingSample]):
    """Videos, each with a caption.

    Args:
        records: the videos.
        reader: from record to frames.
        pairs: "video": a sample per video, with a random one of its captions; "caption": a sample per caption.
        seed: of the random choices.
        on_error: "raise", or "skip" to put the next sample in a broken one's place.
    """

    def __init__(self, records: Sequence[Record], reader: FrameReader, pairs: str, seed: int, on_error: str) -> None:
        self.reader, self.seed, self.on_error = reader, seed, on_error
        self.samples: list[tuple[Record, Sequence[str]]] = [(record, record.captions) for record in records]
        if pairs == "caption":
            self.samples = [(record, (caption,)) for record in records for caption in record.captions]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: SampleKey | int) -> TrainingSample:
        """The sample of (index, epoch); a bare index, from a sampler that Lightning put in place, is of epoch 0."""
        index, epoch = key if isinstance(key, tuple) else (key, 0)
        return read_or_skip(lambda index: self._read(index, epoch), index, len(self), self.on_error)

    def _read(self, index: int, epoch: int) -> TrainingSample:
        generator = sample_generator(self.seed, epoch, index)
        record, captions = self.samples[index]
        caption = captions[int(torch.randint(len(captions), (), generator=generator))]
        return TrainingSample(self.reader(record, generator), caption)


class EvaluationVideos(Dataset[VideoSample]):
    """Videos, each once; with on_error=skip a broken one's place is taken by another, under that one's own index."""

    def __init__(self, records: Sequence[Record], reader: FrameReader, on_error: str) -> None:
        self.records, self.reader, self.on_error = records, reader, on_error

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> VideoSample:
        return read_or_skip(self._read, index, len(self), self.on_error)

    def _read(self, index: int) -> VideoSample:
        return VideoSample(self.reader(self.records[index]), index)


class EvaluationCaptions(Dataset[CaptionSample]):
    """Captions, each once."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.captions = [(text, video) for video, record in enumerate(records) for text in record.captions]

    def __len__(self) -> int:
        return len(self.captions)

    def __getitem__(self, index: int) -> CaptionSample:
        text, video = self.captions[index]
        return CaptionSample(text, index, video)
