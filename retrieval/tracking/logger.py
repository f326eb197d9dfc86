"""The W&B logger of a run: its id lives in the run's folder, its group is its sweep, and no network is no error."""

import secrets
from pathlib import Path
from typing import Any

import wandb
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from retrieval.files import write_whole

ID_FILE = "wandb_run_id"


def wandb_logger(run_dir: str, sweep_dir: str, name: str, mode: str, **settings: Any) -> WandbLogger:
    """The logger, with its W&B run started on the first process; offline where the server cannot be reached.

    Args:
        run_dir: the run's folder, where W&B keeps its files; a resumed run finds its id there.
        sweep_dir: the folder of the sweep that the run may be part of; its name becomes the group.
        name: of the run; in a sweep what tells it from the others is added.
        mode: online, offline or disabled.
        settings: further ones of `wandb.init`.
    """
    job = job_in_sweep(run_dir, sweep_dir)
    settings |= {
        "name": f"{name} {job}" if job else name,
        "group": Path(sweep_dir).name if job else None,
        "id": run_id(Path(run_dir)),
        "save_dir": run_dir,
    }
    wandb.finish()  # the job of a sweep that ran before in this process
    logger = WandbLogger(mode=mode, **settings)
    try:
        _ = logger.experiment
    except wandb.Error as error:
        wandb.teardown()
        rank_zero_warn(f"W&B: {error}; the run is logged offline, `wandb sync` brings it online later")
        logger = WandbLogger(mode="offline", **settings)
    return logger


def job_in_sweep(run_dir: str, sweep_dir: str) -> str | None:
    """The path of a run within its sweep; None for a run of its own."""
    run, sweep = Path(run_dir).resolve(), Path(sweep_dir).resolve()
    return str(run.relative_to(sweep)) if run != sweep and run.is_relative_to(sweep) else None


@rank_zero_only
def run_id(folder: Path) -> str:
    """The W&B id of the run in this folder, drawn anew where it has none yet."""
    path = folder / ID_FILE
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, secrets.token_hex(4))
    return path.read_text().strip()
