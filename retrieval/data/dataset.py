"""What a data loader reads: training pairs, evaluation videos and evaluation captions.

Every random choice is a pure function of (seed, epoch, index): no global generator, no state in the workers.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Generator, Tensor
from torch.utils.data import Dataset

from retrieval.data.corpora.base import Record
from retrieval.data.decoding import VideoError
from retrieval.data.sampling import Sampler
from retrieval.data.transforms import transform_clip

Sample = dict[str, Any]
Draw = tuple[int, int]  # index and epoch
Choose = Callable[[int, float], Sequence[int]]  # from frames and frames a second to the frames wanted
Read = Callable[[Path, Choose], UInt8[Tensor, "frame 3 height width"]]


@dataclass(frozen=True)
class ClipReader:
    """From a record to its clip: `frames` frames chosen by `sampler`, read by `read` and transformed."""

    frames: int
    sampler: Sampler
    transform: Callable[[Tensor], Tensor]
    read: Read

    def __call__(self, record: Record, generator: Generator | None = None) -> UInt8[Tensor, "frame 3 size size"]:
        """The clip; random draws come from `generator`, None: evaluation."""

        def choose(total: int, fps: float) -> list[int]:
            return self.sampler(total, fps, self.frames, record.start, record.end, generator)

        return transform_clip(self.read(record.path, choose), self.transform, generator)


def draw_generator(seed: int, epoch: int, index: int) -> Generator:
    """The generator of one sample of one epoch."""
    digest = hashlib.sha256(f"{seed},{epoch},{index}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big", signed=True))


def read_or_skip(read: Callable[[int], Sample], index: int, size: int, on_error: str) -> Sample:
    """`read(index)`; with on_error=skip the next index that can be read, `skipped` telling what could not.

    Raises:
        VideoError: a video that cannot be read with on_error=raise; not one that can with on_error=skip.
    """
    skipped: list[str] = []
    for offset in range(size):
        try:
            return read((index + offset) % size) | {"skipped": skipped}
        except VideoError as error:
            if on_error == "raise":
                raise VideoError(f"{error} (data.on_error=skip puts another video in its place)") from error
            skipped.append(str(error))
    raise VideoError(f"none of the {size} samples can be read, the first: {skipped[0]}")


class TrainingPairs(Dataset[Sample]):
    """Videos with a caption: `frames` [frame, 3, size, size], `text` a caption, `skipped` a list of messages.

    Args:
        records: the videos.
        reader: from record to clip.
        pairs: "video": a sample per video, with a random one of its captions; "caption": a sample per caption.
        seed: of the random choices.
        on_error: "raise", or "skip" to put the next sample in a broken one's place.
    """

    def __init__(self, records: Sequence[Record], reader: ClipReader, pairs: str, seed: int, on_error: str) -> None:
        self.reader, self.seed, self.on_error = reader, seed, on_error
        self.samples: list[tuple[Record, tuple[str, ...]]] = [(record, record.captions) for record in records]
        if pairs == "caption":
            self.samples = [(record, (caption,)) for record in records for caption in record.captions]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, draw: Draw | int) -> Sample:
        """The sample of (index, epoch); a bare index, from a sampler that Lightning put in place, is of epoch 0."""
        index, epoch = draw if isinstance(draw, tuple) else (draw, 0)
        return read_or_skip(lambda index: self._read(index, epoch), index, len(self), self.on_error)

    def _read(self, index: int, epoch: int) -> Sample:
        generator = draw_generator(self.seed, epoch, index)
        record, captions = self.samples[index]
        caption = captions[int(torch.randint(len(captions), (), generator=generator))]
        return {"frames": self.reader(record, generator), "text": caption}


class EvaluationVideos(Dataset[Sample]):
    """Videos: `frames` [frame, 3, size, size], `video` its index, `skipped` a list of messages.

    With on_error=skip a broken video's place is taken by another one, under that one's own index.
    """

    def __init__(self, records: Sequence[Record], reader: ClipReader, on_error: str) -> None:
        self.records, self.reader, self.on_error = records, reader, on_error

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Sample:
        return read_or_skip(self._read, index, len(self), self.on_error)

    def _read(self, index: int) -> Sample:
        return {"frames": self.reader(self.records[index]), "video": index}


class EvaluationCaptions(Dataset[Sample]):
    """Captions, each once: the text `text`, its index `caption` and the index `video` of its video."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.captions = [(text, video) for video, record in enumerate(records) for text in record.captions]

    def __len__(self) -> int:
        return len(self.captions)

    def __getitem__(self, index: int) -> Sample:
        text, video = self.captions[index]
        return {"text": text, "caption": index, "video": video}
