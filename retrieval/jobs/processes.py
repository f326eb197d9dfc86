"""Which of the processes that train one model together this is; known before any of them has met the others."""

import os

RANKS = ("RANK", "NODE_RANK", "LOCAL_RANK", "SLURM_PROCID")
"""Where Lightning, torchrun and Slurm number their processes, each from 0."""


def is_first_process() -> bool:
    """Whether this process is the one that writes the run's files."""
    return all(os.environ.get(name, "0") in ("", "0") for name in RANKS)
