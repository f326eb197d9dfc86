"""The processes of a job: which of those that train one model this is, and what ends them where one is lost.

Which one it is, is known before any of them has met the others.
"""

import multiprocessing
import os

from retrieval.orphans import end_with_parent, watch

RANKS = ("RANK", "NODE_RANK", "LOCAL_RANK", "SLURM_PROCID")
"""Where Lightning, torchrun and Slurm number their processes, each from 0."""
STARTED_BY = "RETRIEVAL_FIRST_PROCESS"
"""The environment variable by which the first process hands its id to the processes that it starts."""
GRACE = 10.0  # seconds for an orphan to tell what it was doing


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
