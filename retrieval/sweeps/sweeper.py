"""What `-m` does: compose and check all jobs before any starts, run those that are missing, tell how it went."""

import sys
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from retrieval.errors import UserError
from retrieval.jobs.errors import REFUSALS, one_line
from retrieval.jobs.runs import LAST_CHECKPOINT, save_config
from retrieval.sweeps.grids import Point, folder_name, points
from retrieval.sweeps.states import ERROR, State, differences, has_results, state

NAMESPACE = "hydra_plugins.retrieval"
"""Hydra builds sweepers from `hydra_plugins` alone."""


@dataclass(frozen=True)
class Job:
    """A composed job: its overrides, its resolved config, and the folder that is its own."""

    point: Point
    config: DictConfig
    folder: Path


class JobSweeper(Sweeper):
    """Sweeps over several grids; jobs that have finished before are not launched again.

    Args:
        grids: a list of products, see `retrieval.sweeps.grids.points`.
        params: knobs of every grid.
        max_batch_size: jobs handed to the launcher at once; None: all.
    """

    hydra_context: HydraContext
    config: DictConfig
    launcher: Launcher

    def __init__(
        self,
        grids: Sequence[dict[str, Any]] = (),
        params: dict[str, Any] | None = None,
        max_batch_size: int | None = None,
    ) -> None:
        self.grids = grids
        self.params = params or {}
        self.max_batch_size = max_batch_size

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context = hydra_context
        self.config = config
        plugins = Plugins.instance()
        self.launcher = plugins.instantiate_launcher(hydra_context, task_function=task_function, config=config)

    def sweep(self, arguments: list[str]) -> list[JobReturn]:
        """Run the sweep; ends with one line and exit code 1 on a mistake, or where jobs are left."""
        try:
            jobs = self._composed(arguments)
            _check(jobs)
        except REFUSALS as error:
            sys.exit(f"error: {one_line(error)}")
        before = {job.point.name: state(job.folder) for job in jobs}
        todo = [job for job in jobs if before[job.point.name] is not State.FINISHED]
        _announce(jobs, before)
        for job in todo:
            save_config(job.config)
        returns, stopped = self._launched(todo)
        _conclude(jobs, stopped)
        return returns

    def _composed(self, arguments: list[str]) -> list[Job]:
        """All jobs of the sweep.

        Raises:
            UserError: naming every one that cannot be composed, and why.
        """
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        jobs, refused = [], {}
        for point in points(self.grids, self.params, arguments, parser.parse_overrides):
            try:
                jobs.append(self._compose(point))
            except REFUSALS as error:
                refused[point] = one_line(error, overrides=list(point.overrides))
        _refuse(refused)
        return jobs

    def _compose(self, point: Point) -> Job:
        """A job's config with all interpolations resolved, as it will be in its folder."""
        config = self.hydra_context.config_loader.load_sweep_config(self.config, list(point.overrides))
        folder = Path(self.config.hydra.sweep.dir, point.name).absolute()
        with read_write(config.hydra.runtime), open_dict(config.hydra.runtime):
            config.hydra.runtime.output_dir = str(folder)
        outer = HydraConfig.instance().cfg
        HydraConfig.instance().set_config(config)
        try:
            task = deepcopy(config)
            with read_write(task), open_dict(task):
                del task["hydra"]
            task.run_dir = str(folder)
            OmegaConf.resolve(task)
        finally:
            HydraConfig.instance().cfg = outer
        return Job(point, task, folder)

    def _launched(self, jobs: Sequence[Job]) -> tuple[list[JobReturn], str | None]:
        """What the launcher returned, and why it stopped before all jobs had run, if it did."""
        returns: list[JobReturn] = []
        size = self.max_batch_size or len(jobs) or 1
        for start in range(0, len(jobs), size):
            batch = [_overrides(job) for job in jobs[start : start + size]]
            try:
                returns += self.launcher.launch(batch, initial_job_idx=start)
            except (Exception, KeyboardInterrupt, SystemExit) as error:
                return returns, f"{type(error).__name__}: {one_line(error)}"
        return returns, None


def _overrides(job: Job) -> list[str]:
    """What the launcher composes the job from; one that was interrupted goes on from its last checkpoint."""
    resume = ["ckpt_path=last"] if (job.folder / LAST_CHECKPOINT).is_file() else []
    return [*job.point.overrides, *resume, f"hydra.sweep.subdir='{job.point.name}'"]


def _check(jobs: Sequence[Job]) -> None:
    """Look at every job before any runs, then write generated data once, which jobs side by side would all write.

    Raises:
        UserError: naming every one that cannot work or would overwrite another, and why.
    """
    from retrieval.sweeps.outline import check_job  # which imports torch

    refused, data = {}, []
    for job in jobs:
        changed = differences(job.folder, job.config) if has_results(job.folder) else []
        if changed:
            refused[job.point] = f"its folder holds a job with another config ({changed[0]})"
            continue
        try:
            if "tuning" in job.config:  # it trains
                data.append(check_job(job.config))
        except REFUSALS as error:
            refused[job.point] = one_line(error)
    _refuse(refused)
    for each in data:
        each.prepare_data()


def _refuse(refused: dict[Point, str]) -> None:
    if refused:
        for point, reason in refused.items():
            print(f"{' '.join(point.overrides)}: {reason}", file=sys.stderr)
        raise UserError(
            f"{len(refused)} jobs of the sweep cannot run, so none was started; change their knobs, or where another "
            "config is in the way give this sweep a folder of its own: hydra.sweep.dir=…"
        )


def _announce(jobs: Sequence[Job], before: dict[str, State]) -> None:
    print(f"{len(jobs)} jobs in {jobs[0].folder.parent}")
    plans = {State.FINISHED: "skipped, finished before", State.INTERRUPTED: "resumed", State.FAILED: "tried again"}
    for name, found in before.items():
        print(f"  {name}: {plans.get(found, 'to run')}")


def _conclude(jobs: Sequence[Job], stopped: str | None) -> None:
    """Tell what has become of the jobs; exit code 1 where not all have finished."""
    left = {job.point.name: (job.folder, state(job.folder)) for job in jobs}
    left = {name: (folder, found) for name, (folder, found) in left.items() if found is not State.FINISHED}
    print(f"{len(jobs) - len(left)} of {len(jobs)} jobs have finished")
    for name, (folder, found) in left.items():
        print(f"  {name}: {found}{f', see {folder / ERROR}' if found is State.FAILED else ''}")
    if left:
        reason = f"the launcher stopped ({stopped}); " if stopped else ""
        sys.exit(f"error: {reason}{len(left)} jobs are left: the same command runs only those")


JobSweeper.__module__ = NAMESPACE
sys.modules[NAMESPACE] = sys.modules[__name__]


def register_sweeper() -> None:
    """Make `JobSweeper` known to Hydra, and take it wherever no other sweeper is asked for."""
    Plugins.instance().register(JobSweeper)
    ConfigStore.instance().store(group="hydra/sweeper", name="basic", node={"defaults": ["jobs"]})
    OmegaConf.register_new_resolver("folder_name", folder_name, replace=True)
