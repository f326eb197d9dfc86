"""Where runs live: `<output>/<name>/<time>/`, and how a killed one is found again."""

import os
from contextlib import suppress
from datetime import datetime
from itertools import count
from pathlib import Path
from shutil import rmtree

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from retrieval.errors import UserError
from retrieval.files import PARTIAL
from retrieval.jobs.files import is_whole, refusals, write, write_json
from retrieval.jobs.locks import LOCK, hold, holds
from retrieval.jobs.logs import log_to_file
from retrieval.jobs.processes import STARTED_BY, is_first_process
from retrieval.jobs.slurm import JOB, identity, is_of_this_job, is_restarted, job_id

CONFIG, METRICS, ERROR = "config.yaml", "metrics.json", "error.txt"
LAST = "last"
LAST_CHECKPOINT = Path("checkpoints", "last.ckpt")
HANDED_ON = "RETRIEVAL_RUN_DIR"
"""The environment variable by which the first process hands its folder to the processes that it starts."""


def start_run(config: DictConfig) -> Path:
    """Claim this run's own folder, write the config there, and let the log go there too.

    With `ckpt_path=last` it is the folder of the run that goes on; where `run_dir` is set, as in a sweep, that one.
    Call it when model and data are built: a job that fails before leaves no folder.

    Args:
        config: the job's; its `run_dir` is set.

    Raises:
        UserError: the folder cannot be written, or another run is in it.
    """
    folder = _folder(config).absolute()
    hold(folder, f"{_command()} job")
    config.run_dir = str(folder)
    if is_first_process():
        os.environ |= {HANDED_ON: str(folder), STARTED_BY: str(os.getpid())}
        if not is_in_sweep():  # there the config as it was composed is compared by the sweep that goes on
            save_config(config)
        for stale in (ERROR, METRICS):  # of the run before it went on
            (folder / stale).unlink(missing_ok=True)
        for partial in folder.rglob(f".*{PARTIAL}"):  # of a save that was killed
            partial.unlink(missing_ok=True)
        if job_id():
            write_json(folder / JOB, identity())
        log_to_file(folder / f"{_command()}.log")
    return folder


def discard_if_empty(config: DictConfig) -> None:
    """Delete the run's folder where nothing but the config and the log has come of it."""
    if OmegaConf.is_missing(config, "run_dir") or not holds(folder := Path(config.run_dir)):
        return
    files = [path for path in folder.rglob("*") if not path.is_dir()]
    if all(path.name in (CONFIG, LOCK, JOB) or path.suffix == ".log" for path in files):
        rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # other runs of this name
            folder.parent.rmdir()


def save_config(config: DictConfig) -> None:
    """Write the resolved config into the run's folder, between YAML's marks of begin and end: a part of it is known."""
    if is_first_process():
        write(Path(config.run_dir, CONFIG), f"---\n{OmegaConf.to_yaml(config, resolve=True)}...\n")


def resumed_checkpoint(config: DictConfig) -> Path | None:
    """The checkpoint to resume from: None, a file, or with `ckpt_path=last` that of the newest run of this name.

    Raises:
        UserError: no such file.
        UserError: a damaged file, or one that was not made by training here.
    """
    from retrieval.model import read_checkpoint

    if is_restarted():
        _go_on_after_restart(config)
    if config.ckpt_path is None:
        return None
    path = _last_checkpoint(config) if config.ckpt_path == LAST else Path(config.ckpt_path)
    if path is None or not path.is_file():
        place = (
            f"under {Path(config.output, config.name)}; set name and output as they were" if path is None else "there"
        )
        raise UserError(f"ckpt_path={config.ckpt_path}: no checkpoint {place}")
    if "architecture" not in read_checkpoint(path):
        raise UserError(f"ckpt_path={config.ckpt_path}: not made by training; backbone.source starts from its weights")
    return path


def _go_on_after_restart(config: DictConfig) -> None:
    """Let a job that Slurm has started once more go on with its run, if that has a checkpoint."""
    if OmegaConf.is_missing(config, "run_dir"):
        folder = max(filter(is_of_this_job, _resumable(config.output, config.name)), key=_start, default=None)
    else:
        folder = Path(config.run_dir)
    if folder and (folder / LAST_CHECKPOINT).is_file():
        config.run_dir, config.ckpt_path = str(folder), LAST


def newest_run(output: str, name: str) -> Path | None:
    """The newest run of this name that has a checkpoint to go on from; None where there is none."""
    return max(_resumable(output, name), key=_start, default=None)


def _resumable(output: str, name: str) -> list[Path]:
    return [path.parents[1] for path in Path(output, name).glob(f"*/{LAST_CHECKPOINT}")]


def is_finished(folder: Path) -> bool:
    """Whether the run in this folder has written its results, and they can be read."""
    return is_whole(folder / METRICS)


def _folder(config: DictConfig) -> Path:
    if not OmegaConf.is_missing(config, "run_dir"):
        return Path(config.run_dir)
    if config.get("ckpt_path") == LAST and (newest := newest_run(config.output, config.name)):
        return newest
    if is_first_process():
        return claim(Path(config.output, config.name))
    # Processes that others than Lightning have started do not know the folder, and write nothing either.
    return Path(os.environ.get(HANDED_ON) or Path(config.output, config.name, "of_first_process"))


def claim(parent: Path) -> Path:
    """A new, empty folder called by the time, which no other run has, whenever it started.

    Raises:
        UserError: the folder cannot be made.
    """
    start = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    for number in count(1):
        folder = parent / (start if number == 1 else f"{start}_{number}")
        with suppress(FileExistsError), refusals(folder):  # another run that started in the same second
            parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir()
            return folder
    raise AssertionError("unreachable")


def _start(folder: Path) -> tuple[str, int]:
    """When a run started, and which one of that second it was."""
    day, _, rest = folder.name.partition("_")
    time, _, number = rest.partition("_")
    return f"{day}_{time}", int(number) if number.isdigit() else 1


def _last_checkpoint(config: DictConfig) -> Path | None:
    if not OmegaConf.is_missing(config, "run_dir"):
        return Path(config.run_dir, LAST_CHECKPOINT)
    newest = newest_run(config.output, config.name)
    return newest and newest / LAST_CHECKPOINT


def is_in_sweep() -> bool:
    """Whether this job is one of several that one command runs."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def _command() -> str:
    return str(HydraConfig.get().job.config_name) if HydraConfig.initialized() else "job"
