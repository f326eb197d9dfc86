"""What the data hands over: samples as a dataset reads them, and the batches they become; bytes and token ids alone.

There is a type for each kind: what is done with a batch follows from its type, never from what it happens to hold.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

Tokenizer = Callable[[list[str]], Int[Tensor, "text word"]]


class TrainingSample(NamedTuple):
    """A video with one of its captions; `skipped` tells what could not be read in its place."""

    frames: UInt8[Tensor, "frame 3 size size"]
    text: str
    skipped: tuple[str, ...] = ()


class VideoSample(NamedTuple):
    """A video and its index; `skipped` tells what could not be read in its place."""

    frames: UInt8[Tensor, "frame 3 size size"]
    video: int
    skipped: tuple[str, ...] = ()


class CaptionSample(NamedTuple):
    """A caption, its index, and the index of its video."""

    text: str
    caption: int
    video: int


class BankSample(NamedTuple):
    """A caption of a query bank, and its index there."""

    text: str
    bank: int


class TrainingBatch(NamedTuple):
    """Videos, a caption each, and the messages of those that could not be read."""

    frames: UInt8[Tensor, "video frame 3 size size"]
    token_ids: Int[Tensor, "video word"]
    skipped: list[str]


class VideoBatch(NamedTuple):
    """Videos, their indices, and the messages of those that could not be read."""

    frames: UInt8[Tensor, "video frame 3 size size"]
    video: Int[Tensor, " video"]
    skipped: list[str]


class CaptionBatch(NamedTuple):
    """Captions, their indices, and the indices of their videos."""

    token_ids: Int[Tensor, "caption word"]
    caption: Int[Tensor, " caption"]
    video: Int[Tensor, " caption"]


class BankBatch(NamedTuple):
    """Captions of a query bank, and their indices there."""

    token_ids: Int[Tensor, "caption word"]
    bank: Int[Tensor, " caption"]


Batch = TrainingBatch | VideoBatch | CaptionBatch | BankBatch


def collate_training(samples: Sequence[TrainingSample], tokenizer: Tokenizer) -> TrainingBatch:
    frames, texts, skipped = zip(*samples, strict=True)
    return TrainingBatch(torch.stack(frames), tokenizer(list(texts)), _joined(skipped))


def collate_videos(samples: Sequence[VideoSample]) -> VideoBatch:
    frames, video, skipped = zip(*samples, strict=True)
    return VideoBatch(torch.stack(frames), torch.tensor(video), _joined(skipped))


def collate_captions(samples: Sequence[CaptionSample], tokenizer: Tokenizer) -> CaptionBatch:
    texts, caption, video = zip(*samples, strict=True)
    return CaptionBatch(tokenizer(list(texts)), torch.tensor(caption), torch.tensor(video))


def collate_bank(samples: Sequence[BankSample], tokenizer: Tokenizer) -> BankBatch:
    texts, bank = zip(*samples, strict=True)
    return BankBatch(tokenizer(list(texts)), torch.tensor(bank))


def _joined(skipped: Sequence[Sequence[str]]) -> list[str]:
    return [message for messages in skipped for message in messages]
