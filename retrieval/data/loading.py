"""Batches of samples, and a training loader that can stop anywhere and go on with the very same samples."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler, default_collate

from retrieval.data.dataset import Draw, Sample

Batch = dict[str, Any]
Tokenizer = Callable[[list[str]], Int[Tensor, "text word"]]


class EpochSampler(DistributedSampler[int]):
    """Shuffled indices of one rank, each with its epoch; a function of (seed, epoch) alone.

    A `DistributedSampler`, so that Lightning keeps it and sets its epoch, on one device too.
    """

    def __init__(self, dataset: Dataset[Sample], ranks: int, rank: int, seed: int) -> None:
        super().__init__(dataset, num_replicas=ranks, rank=rank, shuffle=True, seed=seed, drop_last=True)
        self.skip = 0

    def resume(self, epoch: int, skip: int) -> None:
        """Leave out the first `skip` samples of `epoch`."""
        self.epoch, self.skip = epoch, skip

    def set_epoch(self, epoch: int) -> None:
        if epoch != self.epoch:
            self.resume(epoch, 0)

    def __iter__(self) -> Iterator[Draw]:  # type: ignore[override]
        return ((index, self.epoch) for index in islice(super().__iter__(), self.skip, None))


class TrainingLoader(DataLoader[Batch]):
    """A data loader whose place in the epoch goes into the checkpoint; needs an `EpochSampler` for that."""

    batches = 0  # given out in this epoch

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        # A generator, so that nothing is read before Lightning has told the sampler its epoch.
        self.batches = getattr(self.sampler, "skip", 0) // (self.batch_size or 1)
        for batch in super().__iter__():
            self.batches += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        return {"epoch": getattr(self.sampler, "epoch", 0), "batches": self.batches}

    def load_state_dict(self, state: dict[str, int]) -> None:
        if isinstance(self.sampler, EpochSampler):
            self.sampler.resume(state["epoch"], state["batches"] * (self.batch_size or 1))


def collate(samples: list[Sample], tokenizer: Tokenizer) -> Batch:
    """Samples to a batch: tensors are stacked, `text`s become `token_ids`, `skipped` lists are joined."""
    batch: Batch = {}
    for key in samples[0]:
        values = [sample[key] for sample in samples]
        if key == "text":
            batch["token_ids"] = tokenizer(values)
        elif key == "skipped":
            batch["skipped"] = [message for messages in values for message in messages]
        else:
            batch[key] = default_collate(values)
    return batch


def gathered(messages: list[str]) -> list[str]:
    """The messages of all ranks, each once."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return messages
    ranks: list[list[str]] = [[] for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather_object(ranks, messages)
    return list(dict.fromkeys(message for rank in ranks for message in rank))
