"""Where runs live: `<output>/<name>/<time>/`, and how a killed one is found again."""

import os
from contextlib import suppress
from datetime import datetime
from itertools import count
from pathlib import Path

from omegaconf import OmegaConf
from requests.utils import get_netrc_auth

from retrieval.errors import UserError
from retrieval.model import read_checkpoint

LAST = "last"
LAST_CHECKPOINT = Path("checkpoints", "last.ckpt")


def run_dir(output: str, name: str, ckpt_path: str | None) -> str:
    """The folder of a run: a new, empty one, or with `ckpt_path=last` the newest of this name with a checkpoint."""
    checkpoints = sorted(Path(output, name).glob(f"*/{LAST_CHECKPOINT}")) if ckpt_path == LAST else []
    if checkpoints:
        return str(checkpoints[-1].parents[1])
    start = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    for number in count(1):
        folder = Path(output, name, start if number == 1 else f"{start}_{number}")
        with suppress(FileExistsError):  # another run that started in the same second
            folder.mkdir(parents=True)
            break
    return str(folder)


def resumed_checkpoint(folder: str, ckpt_path: str | None) -> str | None:
    """The checkpoint to resume from: None, a file, or the run folder's own last one.

    Raises:
        UserError: no such file.
        UserError: a damaged file, or one that was not made by training here.
    """
    if ckpt_path is None:
        return None
    path = Path(folder, LAST_CHECKPOINT) if ckpt_path == LAST else Path(ckpt_path)
    if not path.is_file():
        place = f"under {Path(folder).parent}; set name and output as they were" if ckpt_path == LAST else "there"
        raise UserError(f"ckpt_path={ckpt_path}: no checkpoint {place}")
    if "architecture" not in read_checkpoint(path):
        raise UserError(f"ckpt_path={ckpt_path}: no run to resume; to start from its weights set backbone.source to it")
    return str(path)


def wandb_mode() -> str:
    """What WANDB_MODE says; without it online where a key is set, in WANDB_API_KEY or by a login, else offline."""
    server = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")
    key = os.environ.get("WANDB_API_KEY") or get_netrc_auth(server)
    return os.environ.get("WANDB_MODE") or ("online" if key else "offline")


def register_resolvers() -> None:
    """Make `${run_dir:…}` and `${wandb_mode:}` known to configs."""
    OmegaConf.register_new_resolver("run_dir", run_dir, use_cache=True, replace=True)
    OmegaConf.register_new_resolver("wandb_mode", wandb_mode, replace=True)
