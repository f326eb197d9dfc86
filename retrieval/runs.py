"""Where runs live: `<output>/<name>/<time>/`, and how a killed one is found again."""

from datetime import datetime
from pathlib import Path

import wandb
from omegaconf import OmegaConf

LAST = "last"


def last_run(output: str, name: str) -> Path:
    """The newest run of this name that has a checkpoint to resume from.

    Raises:
        FileNotFoundError: there is none.
    """
    runs = sorted(Path(output, name).glob(f"*/{_checkpoint(Path())}"))
    if not runs:
        raise FileNotFoundError(
            f"ckpt_path=last: no run under {Path(output, name)} has a checkpoint; set name or output"
        )
    return runs[-1].parent.parent


def run_dir(output: str, name: str, ckpt_path: str | None) -> str:
    """The folder of a run: a new one, or with `ckpt_path=last` that of the run to go on with."""
    if ckpt_path == LAST:
        return str(last_run(output, name))
    return str(Path(output, name, datetime.now().strftime("%Y-%m-%d_%H-%M-%S")))


def resumed_checkpoint(folder: str, ckpt_path: str | None) -> str | None:
    """The checkpoint to resume from: None, a file, or the run folder's own last one.

    Raises:
        FileNotFoundError: no such file.
    """
    if ckpt_path is None:
        return None
    path = _checkpoint(Path(folder)) if ckpt_path == LAST else Path(ckpt_path)
    if not path.is_file():
        raise FileNotFoundError(f"ckpt_path={ckpt_path}: no such checkpoint ({path})")
    return str(path)


def _checkpoint(folder: Path) -> Path:
    return folder / "checkpoints" / "last.ckpt"


def register_resolvers() -> None:
    """Make `${run_dir:…}` and `${wandb_offline:}` known to configs."""
    OmegaConf.register_new_resolver("run_dir", run_dir, use_cache=True, replace=True)
    OmegaConf.register_new_resolver("wandb_offline", lambda: wandb.api.api_key is None, replace=True)
