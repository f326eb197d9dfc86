"""A training loader that can stop anywhere and go on with the very same samples."""

import os
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import torch
from lightning.fabric.utilities.seed import pl_worker_init_function
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from retrieval.data.batches import TrainingBatch, TrainingSample
from retrieval.data.dataset import SampleKey
from retrieval.errors import UserError
from retrieval.orphans import end_with_parent

LOST = re.compile(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) (?:exited unexpectedly|is killed by signal)")
GO_ON = "ckpt_path=last goes on with a training, the same command with anything else"
MOST_WORKERS = 8  # each holds batches ready: more are asked for by their number
FEWEST_PAIRS = 2  # a contrastive loss needs a second video to tell a caption's own from


class EpochSampler(DistributedSampler[int]):
    """Shuffled indices of one rank, each with its epoch; a function of (seed, epoch) alone.

    A `DistributedSampler`, so that Lightning keeps it and sets its epoch, on one device too.
    """

    def __init__(self, dataset: Dataset[TrainingSample], ranks: int, rank: int, seed: int) -> None:
        super().__init__(dataset, num_replicas=ranks, rank=rank, shuffle=True, seed=seed, drop_last=True)
        self.skip = 0

    def resume(self, epoch: int, skip: int) -> None:
        """Leave out the first `skip` samples of `epoch`."""
        self.epoch, self.skip = epoch, skip

    def set_epoch(self, epoch: int) -> None:
        if epoch != self.epoch:
            self.resume(epoch, 0)

    def __iter__(self) -> Iterator[SampleKey]:  # type: ignore[override]
        return ((index, self.epoch) for index in islice(super().__iter__(), self.skip, None))


class Loader(DataLoader[Any]):
    """A data loader that says in one line which of its processes was lost, where their next batch is waited for.

    Left to itself torch raises that from a signal's handler as well: anywhere, such as in the midst of saving.
    """

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        before = signal.getsignal(signal.SIGCHLD)
        with _losses_as_ours():  # processes that stay for the next pass are asked whether they are there
            batches = super().__iter__()
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGCHLD, before)
        return _Batches(batches)


class _Batches:
    """What a loader gives out, with its loss of a process as a mistake of the user's."""

    def __init__(self, batches: Iterator[Any]) -> None:
        self.batches = batches

    def __iter__(self) -> "_Batches":
        return self

    def __next__(self) -> Any:
        with _losses_as_ours():
            return next(self.batches)


@contextmanager
def _losses_as_ours() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        if (lost := LOST.search(str(error))) is None:
            raise
        raise UserError(f"{lost_workers(lost[1])}; {GO_ON}") from error


class TrainingLoader(Loader):
    """A data loader whose place in the epoch goes into the checkpoint; needs an `EpochSampler` for that."""

    batches = 0  # given out in this epoch

    def __iter__(self) -> Iterator[TrainingBatch]:  # type: ignore[override]
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


def check_workers(asked: int | str) -> None:
    """Refuse what is no number of processes.

    Raises:
        UserError: neither 0 or more, nor "auto".
    """
    if asked != "auto" and (not isinstance(asked, int) or asked < 0):
        raise UserError(f"data.num_workers={asked}: 0 or more processes, or auto")


def worker_count(asked: int | str, devices: int = 1) -> int:
    """How many processes read videos for one device.

    Args:
        asked: their number, or "auto": as many as the cores that this job may use, shared among its devices.
        devices: of this job on this machine, each of which has readers of its own.
    """
    if isinstance(asked, int):
        return asked
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(max(cores // devices, 1), MOST_WORKERS)


def lost_workers(pids: str) -> str:
    """What has become of processes that read videos, and the way out."""
    return (
        f"a process that reads videos (pid {pids}) has crashed or was killed, mostly because memory ran out (or the "
        "shared memory in /dev/shm): lower data.num_workers or data.batch_size, or ask for more"
    )


def start_worker(number: int) -> None:
    """Begin a process that reads videos: it ends with the one that reads from it, and is seeded as Lightning does.

    Lightning seeds workers by itself only where they have no such function.

    Args:
        number: of the worker within its loader.
    """
    end_with_parent()
    if int(os.environ.get("PL_SEED_WORKERS") or 0):
        pl_worker_init_function(number)


def possible_batch_size(batch_size: int, samples: int, ranks: int) -> int:
    """`batch_size`, or all there is where a split of `samples` has less for each of `ranks` devices, with a warning.

    Raises:
        UserError: too few samples to train on.
    """
    fewest = max(FEWEST_PAIRS, ranks)
    if samples < fewest:
        raise UserError(f"training on {ranks} device(s) needs {fewest} samples or more, the split has {samples}")
    if samples < ranks * batch_size:
        rank_zero_warn(
            f"data.batch_size={batch_size} on {ranks} device(s), but the split has {samples} training samples: "
            f"training takes {samples // ranks} at a time"
        )
    return min(batch_size, samples // ranks)


def gathered(messages: list[str]) -> list[str]:
    """The messages of all ranks, each once."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return messages
    ranks: list[list[str]] = [[] for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather_object(ranks, messages)
    return list(dict.fromkeys(message for rank in ranks for message in rank))
