"""Validation where the field has agreed on none: a seeded part of the training videos is held out."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from retrieval.data.corpora.base import Corpus, Record
from retrieval.errors import UserError


def read_split(corpus: Corpus, split: str, held_out: float, seed: int) -> dict[str, list[Record]]:
    """The records of `split`; of training together with the validation videos that it gives away, where it has to."""
    if "val" in corpus.splits or split == "test":
        return {split: corpus.records(split)}
    train, val = hold_out(corpus.records("train"), held_out, seed)
    return {"train": train, "val": val}


def hold_out(records: Sequence[Record], share: float, seed: int) -> tuple[list[Record], list[Record]]:
    """What is left for training, and `share` of the videos, at least one, for validation; both in their old order.

    Which videos those are depends on the seed and on their names alone, not on where they lie or how many others there
    are around them. Parts of one file stay together.

    Raises:
        UserError: a share that is not in (0, 1), or nothing left to train on.
    """
    if not 0 < share < 1:
        raise UserError(f"data.held_out={share}, must be between 0 and 1")

    def order(path: Path) -> bytes:
        return hashlib.sha256(f"{seed},{path.stem}".encode()).digest()

    files = sorted({record.path for record in records}, key=order)
    chosen = set(files[: max(1, round(share * len(files)))])
    if len(chosen) == len(files):
        raise UserError(f"data.held_out={share} of {len(files)} training videos leaves none to train on")
    train = [record for record in records if record.path not in chosen]
    return train, [record for record in records if record.path in chosen]
