"""A sweep's jobs as they lie in its folder: what each was, how far it came, and what it reached."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from retrieval.errors import UserError
from retrieval.jobs.results import Results
from retrieval.jobs.runs import CONFIG, METRICS
from retrieval.sweeps.states import State, read_config, state

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class JobResult:
    """A job of a sweep: its config (nothing but its folder where that is damaged), its state, and its `metrics.json`
    where it has finished.
    """

    folder: Path
    config: DictConfig
    state: State
    results: Results | None

    @property
    def reducer(self) -> str:
        """What its reducer's config builds, by name; an evaluated checkpoint's own is known by the results alone.

        A job of which not even that is known goes by the name of its folder.
        """
        if "seed" not in self.config:
            return self.folder.name
        if (config := self.config.get("reducer")) is not None:
            return reducer_name(config)
        return "-" if self.results is None else self.results.reducer


def read_sweep(folder: Path) -> list[JobResult]:
    """All jobs of a sweep, by the names of their folders.

    Raises:
        UserError: no such folder, or no jobs in it.
        UserError: no job has finished, or a damaged file.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give a sweep's, such as runs/sweeps/ablation")
    jobs = read_jobs(path.parent for path in sorted(folder.glob(f"*/{CONFIG}")))
    if not jobs:
        raise UserError(f"{folder}: no jobs in it (no */{CONFIG}); give a sweep's folder, not a run's")
    if all(job.results is None for job in jobs):
        states = ", ".join(f"{job.folder.name}: {job.state}" for job in jobs[:3])
        raise UserError(f"{folder}: none of the {len(jobs)} jobs has finished ({states} …); run the sweep again")
    return jobs


def read_jobs(folders: Iterable[Path]) -> list[JobResult]:
    """The jobs of these folders; one with damaged files is told by its state."""
    return [_read_job(folder) for folder in folders]


def _read_job(folder: Path) -> JobResult:
    found, config = state(folder), _config(folder)
    if found is not State.FINISHED or not (folder / METRICS).is_file():
        return JobResult(folder, config, found, None)
    try:
        return JobResult(folder, config, found, Results.read(folder / METRICS))
    except UserError as error:  # whole, but no results, or those of an older version
        _log.warning("%s", error)
        return JobResult(folder, config, State.DAMAGED, None)


def _config(folder: Path) -> DictConfig:
    """A job's config; where it is damaged or refused, no more than where it lies."""
    try:
        return read_config(folder / CONFIG)
    except UserError as error:
        _log.warning("%s", error)
        return OmegaConf.create({"run_dir": str(folder)})


def reducer_name(config: Any) -> str:
    """What a reducer's config builds, by name: `KMedoids`, `KMedoids + TempMe`, `none`."""
    if not isinstance(config, Mapping | DictConfig):
        return "-"
    if isinstance(parts := config.get("reducers"), Sequence) and not isinstance(parts, str):
        return " + ".join(reducer_name(each) for each in parts)
    name = str(config.get("_target_", "-")).rpartition(".")[2]
    return "none" if name == "Reducer" else name
