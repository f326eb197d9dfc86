"""A job that Slurm starts once more, after a requeue, a pre-emption or a node's failure, goes on with its own run."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

JOB = "slurm.json"
"""Which job and command a run is of."""
_log = logging.getLogger(__name__)


def job_id() -> str | None:
    """The id by which Slurm knows this job, an array's with its task; None outside Slurm."""
    if array := os.environ.get("SLURM_ARRAY_JOB_ID"):
        return f"{array}_{os.environ.get('SLURM_ARRAY_TASK_ID', '0')}"
    return os.environ.get("SLURM_JOB_ID")


def is_restarted() -> bool:
    """Whether Slurm has started this job before."""
    return os.environ.get("SLURM_RESTART_COUNT", "0") not in ("", "0")


def identity() -> dict[str, Any]:
    """What tells a run of this job from others: a job's script may hold several commands."""
    return {"job": job_id(), "command": sys.argv[1:]}


def is_of_this_job(folder: Path) -> bool:
    """Whether the run in `folder` was started by this command of this job."""
    try:
        return json.loads((folder / JOB).read_text()) == identity()
    except (OSError, ValueError):
        return False


def requeue() -> None:
    """Ask Slurm to start this job again; told where it refuses."""
    command = ["scontrol", "requeue", str(job_id())]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        _log.warning("%s: %s", " ".join(command), getattr(error, "stderr", None) or error)
    else:
        _log.info("requeued as Slurm's job %s", job_id())
