"""The query bank of QB-Norm (Bogolin et al., CVPR 2022): training captions that test queries are normalised by."""

from collections.abc import Sequence

import torch
from torch.utils.data import Dataset

from retrieval.data.batches import BankSample
from retrieval.data.corpora.base import Record


class BankCaptions(Dataset[BankSample]):
    """Captions of a query bank, each once.

    Args:
        records: the training videos.
        size: how many of their captions, all where there are fewer; None: all.
        seed: of their choice.
    """

    def __init__(self, records: Sequence[Record], size: int | None, seed: int) -> None:
        captions = [text for record in records for text in record.captions]
        order = torch.randperm(len(captions), generator=torch.Generator().manual_seed(seed))
        self.captions = [captions[index] for index in order[:size].sort().values.tolist()]

    def __len__(self) -> int:
        return len(self.captions)

    def __getitem__(self, index: int) -> BankSample:
        return BankSample(self.captions[index], index)
