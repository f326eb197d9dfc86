"""The course of a sweep: all jobs composed and checked before any starts, the missing ones run, a table at the end."""

import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from retrieval.errors import UserError
from retrieval.jobs.errors import REFUSALS, is_mistake, one_line
from retrieval.jobs.locks import holder
from retrieval.jobs.runs import CONFIG, ERROR, LAST_CHECKPOINT, METRICS, save_config
from retrieval.jobs.stopping import Stopped
from retrieval.sweeps.grids import Point
from retrieval.sweeps.states import State, damaged, differences, has_results, is_lost_by_running, state

Launch = Callable[[Sequence[tuple[str, Sequence[str]]]], None]
"""Runs jobs, each by its name and its overrides."""


@dataclass(frozen=True)
class Job:
    """A composed job: its overrides, and its resolved config with the folder that is its own."""

    point: Point
    config: DictConfig

    @property
    def folder(self) -> Path:
        return Path(self.config.run_dir)


def run_sweep(points: Sequence[Point], compose: Callable[[Point], DictConfig], launch: Launch) -> None:
    """Run what has not finished before.

    Raises:
        UserError: jobs that cannot run, each with its reason, before any starts; jobs that are left at the end.
        Stopped: by a signal.
    """
    jobs = _composed(points, compose)
    _check(jobs)
    before = [state(job.folder) for job in jobs]
    _announce(jobs, before)
    todo = [job for job, found in zip(jobs, before, strict=True) if _is_to_run(job, found)]
    if todo and "reproduction" in todo[0].config:
        from retrieval.sweeps import reproduction  # imports torch

        reproduction.prepare([job.config for job in todo], todo[0].folder.parent)
    for job in todo:
        save_config(job.config)
    stopped = None
    try:
        launch([(job.point.name, _overrides(job)) for job in todo])
    except Stopped as signal:
        with suppress(UserError):  # that jobs are left is told by the exit code, as schedulers expect it
            _conclude(jobs, str(signal))
        signal.tell("the same command goes on")
        raise
    except (Exception, KeyboardInterrupt, SystemExit) as error:
        stopped = f"{type(error).__name__}: {one_line(error)}"
    _conclude(jobs, stopped)


def _composed(points: Sequence[Point], compose: Callable[[Point], DictConfig]) -> list[Job]:
    """All jobs; what is misspelt is told before torch is imported.

    Raises:
        UserError: jobs that cannot be composed, or would overwrite another.
    """
    jobs, refused = [], {}
    for point in points:
        try:
            jobs.append(Job(point, compose(point)))
            _refuse_another_config(jobs[-1])
        except UserError as error:
            refused[point] = one_line(error)
    _refuse(refused)
    return jobs


def _check(jobs: Sequence[Job]) -> None:
    """See whether all jobs can work; generated data is written once, which jobs side by side would all write.

    Raises:
        UserError: jobs that cannot work.
    """
    from retrieval.sweeps.outline import check_job  # imports torch

    data, refused = [], {}
    for job in jobs:
        try:
            if "tuning" in job.config:  # it trains
                data.append(check_job(job.config))
        except REFUSALS as error:
            if not is_mistake(error):
                raise
            refused[job.point] = one_line(error)
    _refuse(refused)
    for each in data:
        each.prepare_data()


def _refuse(refused: Mapping[Point, str]) -> None:
    if refused:
        for point, reason in refused.items():
            print(f"{' '.join(point.overrides)}: {reason}", file=sys.stderr)
        raise UserError(
            f"{len(refused)} jobs of the sweep cannot run, so none was started; change their knobs, or where another "
            "config is in the way give this sweep a folder of its own: hydra.sweep.dir=…"
        )


def _refuse_another_config(job: Job) -> None:
    if is_lost_by_running(job.folder):  # this job alone is left as it is
        return
    changed = differences(job.folder, job.config) if has_results(job.folder) or holder(job.folder) else []
    if changed:
        raise UserError(f"its folder holds a job with another config ({changed[0]})")


def _is_to_run(job: Job, found: State) -> bool:
    return found not in (State.FINISHED, State.RUNNING) and not is_lost_by_running(job.folder)


def _overrides(job: Job) -> list[str]:
    """What the launcher composes the job from; one that was interrupted goes on from its last checkpoint."""
    resume = ["ckpt_path=last"] if (job.folder / LAST_CHECKPOINT).is_file() else []
    return [*job.point.overrides, *resume]


def _announce(jobs: Sequence[Job], before: Sequence[State]) -> None:
    print(f"{len(jobs)} jobs in {jobs[0].folder.parent}")
    for job, found in zip(jobs, before, strict=True):
        print(f"  {job.point.name}: {_plan(job.folder, found)}")


def _plan(folder: Path, found: State) -> str:
    if found is State.RUNNING:
        return f"left alone, {holder(folder) or 'in use until just now'}"
    if found is State.DAMAGED:
        plan = f"left as it is: restore {CONFIG}, or delete {folder}" if is_lost_by_running(folder) else "run again"
        return f"{_what_is_damaged(folder)}, {plan}"
    plans = {State.FINISHED: "skipped, finished before", State.INTERRUPTED: "resumed", State.FAILED: "tried again"}
    return plans.get(found, "to run")


def _what_is_damaged(folder: Path) -> str:
    return f"{' and '.join(damaged(folder))} damaged"


def _conclude(jobs: Sequence[Job], stopped: str | None) -> None:
    """Tell what has become of the jobs, in a table where they have results.

    Raises:
        UserError: not all have finished.
    """
    left = {job.point.name: state(job.folder) for job in jobs}
    left = {name: found for name, found in left.items() if found is not State.FINISHED}
    folder = jobs[0].folder.parent
    print(f"{len(jobs) - len(left)} of {len(jobs)} jobs have finished")
    for name, found in left.items():
        hints = {State.FAILED: f", see {folder / name / ERROR}", State.DAMAGED: f", {_what_is_damaged(folder / name)}"}
        print(f"  {name}: {found}{hints.get(found, '')}")
    if any((job.folder / METRICS).is_file() for job in jobs):
        from retrieval.sweeps.report.table import overview  # imports pandas

        print(overview([job.folder for job in jobs]))
        if "reproduction" in jobs[0].config:
            from retrieval.sweeps import reproduction

            row = jobs[0].config.reproduction.row
            print(f"card: {reproduction.write_card([job.folder for job in jobs], row, folder)}")
        print(f"report: python -m retrieval.report {shlex.quote(str(folder))}")
    if left:
        reason = f"the launcher stopped ({stopped}); " if stopped else ""
        raise UserError(f"{reason}{len(left)} jobs are left: the same command runs only those")
