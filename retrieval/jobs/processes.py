"""The processes of a job: which of those that train one model this is, and what ends them where one is lost.

Which one it is, is known before any of them has met the others.
"""

import multiprocessing
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

from retrieval.errors import UserError
from retrieval.orphans import end_with_parent, watch

RANKS = ("RANK", "NODE_RANK", "LOCAL_RANK", "SLURM_PROCID")
"""Where Lightning, torchrun and Slurm number their processes, each from 0."""
STARTED_BY = "RETRIEVAL_FIRST_PROCESS"
"""The environment variable by which the first process hands its id to the processes that it starts."""
GRACE = 10.0  # seconds for an orphan to tell what it was doing
GO_ON = "ckpt_path=last goes on with a training, the same command with a sweep or prepare"
_WORKER = re.compile(
    r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) (?:exited unexpectedly|is killed by signal: ([\w ]+))"
)
"""What torch says of a lost worker, wherever the main process is by then."""


def is_first_process() -> bool:
    """Whether this process is the one that writes the run's files."""
    return all(os.environ.get(name, "0") in ("", "0") for name in RANKS)


def end_with_first_process() -> None:
    """Let a process that the first one has started for its training end with it."""
    first = os.environ.get(STARTED_BY)
    if not is_first_process() and first == str(os.getppid()):
        watch(int(first), GRACE, f"error: the first process of this training (pid {first}) has ended or was killed")


def end_with_launcher() -> None:
    """Let a job of a sweep that runs in a process of the launcher end with it."""
    if multiprocessing.current_process().name != "MainProcess":
        end_with_parent()


def telling_lost_workers(task: Callable[..., Any]) -> Callable[..., Any]:
    """A job that ends in the way of `lost_workers_as_ours`; like the job it can be sent to another process."""

    @wraps(task)
    def run(*arguments: Any) -> Any:
        with lost_workers_as_ours():
            return task(*arguments)

    return run


@contextmanager
def lost_workers_as_ours() -> Iterator[None]:
    """Tell in one line that a process that reads videos was lost.

    Raises:
        UserError: one was killed, or has crashed.
    """
    try:
        yield
    except RuntimeError as error:
        if (found := _WORKER.search(str(error))) is None:
            raise
        pids, name = found.groups()
        raise UserError(f"a process that reads videos (pid {pids}) {_fate(name)}; {GO_ON}") from error


def _fate(signal_name: str | None) -> str:
    if signal_name == "Bus error":
        return "has found no shared memory: enlarge /dev/shm, or lower data.num_workers or data.batch_size"
    if signal_name in (None, "Killed"):
        return "was killed, mostly because memory ran out: lower data.num_workers or data.batch_size, or ask for more"
    return f"has crashed ({signal_name}): data.num_workers=0 shows where, data.decoder reads in another way"
