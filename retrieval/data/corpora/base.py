"""The contract of a corpus: whoever reads a set's annotations returns a list of records per split."""

import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from retrieval.errors import UserError

_log = logging.getLogger(__name__)
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Record:
    """A video, or a part of one, with its captions.

    Attributes:
        video_id: its name, unique within its split.
        path: its file; several records may share one.
        captions: at least one.
        start: where the part begins, in seconds; None: at the start of the file.
        end: where the part ends, in seconds; None: at the end of the file.
        duration: of the whole file in seconds, as annotated; None: nothing is said.
    """

    video_id: str
    path: Path
    captions: tuple[str, ...]
    start: float | None = None
    end: float | None = None
    duration: float | None = None

    def __post_init__(self) -> None:
        """Raises UserError where `captions` are not texts: a lone string would be taken letter by letter."""
        texts = () if isinstance(self.captions, str) else self.captions
        if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
            raise UserError(f"{self.video_id}: captions are {self.captions!r}, not a tuple of texts, at least one")


class Corpus(ABC):
    """A captioned set of videos; `records` is all that one has to write, in one file inside or outside this package.

    A config names it: `data.corpus._target_`, with `_partial_: true`; every other key that the file under `conf/data`
    adds to `data/default`, such as `root`, is handed to its constructor.

    Attributes:
        splits: those that the field agrees on; where `val` is not among them, part of training is held out for it.
    """

    splits: tuple[str, ...] = SPLITS

    def prepare(self) -> None:  # noqa: B027 - most corpora have nothing to prepare
        """Write or fetch what is missing; called by one process per machine, may be called again."""

    @abstractmethod
    def records(self, split: str) -> list[Record]:
        """The records of `split` (train, val or test), always in the same order.

        Raises:
            UserError: a split that is unknown or has no videos.
            UserError: annotations that are not there.
        """


def check_choice(knob: str, value: str, choices: Sequence[str]) -> None:
    """Raise UserError unless `value`, of the knob `data.<knob>`, is one of `choices`."""
    if value not in choices:
        raise UserError(f"data.{knob}={value!r}: choose one of {', '.join(choices)}")


def check_split(split: str) -> None:
    """Raise UserError unless `split` is train, val or test."""
    if split not in SPLITS:
        raise UserError(f"unknown split {split!r}: choose one of {', '.join(SPLITS)}")


def tell_counts(source: str, records: Sequence[Record]) -> None:
    """Log how many videos and captions were read, so that a loss is seen.

    Args:
        source: what they were read from, and how much that was.
        records: what it gave.
    """
    files, captions = len({record.path for record in records}), sum(len(record.captions) for record in records)
    parts = "" if files == len(records) else f"{len(records):,} parts of "
    _log.info("%s: %s%s videos, %s captions", source, parts, f"{files:,}", f"{captions:,}")


def check_files(records: Sequence[Record], split: str) -> None:
    """Raise UserError where videos of `split` are no files, naming the first."""
    missing = sorted({str(record.path) for record in records if not os.path.isfile(record.path)})
    if missing:
        raise UserError(
            f"{len(missing)} video files of the split {split!r} are missing, the first: {missing[0]}; "
            "check data.root, or leave them out with data.on_error=skip"
        )
