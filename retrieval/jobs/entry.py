"""What every command is: a function, called with one clear line for a user's mistake and a traceback for a bug."""

import multiprocessing
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from retrieval.errors import UserError
from retrieval.jobs.errors import COMPOSITION, is_mistake, one_line
from retrieval.jobs.files import write
from retrieval.jobs.keys import CONF, check_missing
from retrieval.jobs.knobs import check_knobs
from retrieval.jobs.locks import until_the_end
from retrieval.jobs.logs import leave_log_to_us, log_to_screen, only_to_files
from retrieval.jobs.processes import end_with_first_process, end_with_launcher, is_first_process
from retrieval.jobs.resolvers import register_resolvers
from retrieval.jobs.runs import ERROR, LAST_CHECKPOINT, discard_if_empty, is_in_sweep
from retrieval.jobs.stopping import Stopped, command_to_go_on, stoppable

Job = Callable[[DictConfig], Any]


def job(config_name: str) -> Callable[[Job], Callable[[], Any]]:
    """Make a function the entry point that composes `conf/<config_name>.yaml` with the command line's overrides."""
    register_resolvers()

    def decorate(task: Job) -> Callable[[], Any]:
        @wraps(task)
        def main() -> Any:
            from retrieval.sweeps import register_sweeper

            end_with_first_process()
            _make_current_folder_importable()
            register_sweeper()
            started: list[bool] = []
            entry = hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)
            with log_to_screen(), _hydra_raises(), stoppable(), until_the_end():
                try:
                    return entry(guarded(task, started))()
                except Stopped as stopped:
                    stopped.tell()
                    raise
                except COMPOSITION as error:
                    if started:  # an error of these types that the job itself raises is a bug
                        raise
                    sys.exit(f"error: {one_line(error, config_name)}")

        return main

    return decorate


def guarded(task: Job, started: list[bool]) -> Job:
    """Let a job end with `error: <message>` and exit code 1 on a user's mistake.

    Anything else keeps its traceback, which is also written into the run's folder if the run has one by then. A job of
    a sweep that has finished before is not run again (see `retrieval.sweeps.run_once`).

    Args:
        task: the job.
        started: is appended to when the config is composed and the job begins.
    """

    @wraps(task)
    def run(config: DictConfig) -> Any:
        started.append(True)
        if is_in_sweep():
            with stoppable():  # here too: a job may have a process of its own
                return _run_in_sweep(task, config)
        try:
            check_missing(config)
            check_knobs(config)
            leave_log_to_us()
            return task(config)
        except Stopped as stopped:
            _tell_how_to_go_on(stopped, config)
            raise
        except Exception as error:
            if is_mistake(error):
                only_to_files(f"error: {one_line(error)}")
                discard_if_empty(config)
                sys.exit(f"error: {one_line(error)}")
            _keep_traceback(config)
            raise

    return run


def command_line(task: Callable[[], None]) -> Callable[[], None]:
    """The same for a command without a config, which reads its own options."""

    @wraps(task)
    def main() -> None:
        _make_current_folder_importable()
        with log_to_screen(), stoppable():
            try:
                task()
            except Stopped as stopped:
                stopped.tell()
                raise
            except UserError as error:
                sys.exit(f"error: {one_line(error)}")

    return main


def _run_in_sweep(task: Job, config: DictConfig) -> Any:
    from retrieval.sweeps import run_once

    # joblib's processes start others in a way of their own, which data loaders cannot.
    multiprocessing.set_start_method(multiprocessing.get_all_start_methods()[0], force=True)
    end_with_launcher()
    config.run_dir = HydraConfig.get().runtime.output_dir
    check_missing(config)
    check_knobs(config)
    with log_to_screen(Path(config.run_dir).name):
        leave_log_to_us()
        return run_once(task, config)


def _tell_how_to_go_on(stopped: Stopped, config: DictConfig) -> None:
    """One line from the first process; the others end without, and with 0: for any other code Lightning kills all."""
    if not is_first_process():
        raise SystemExit(0) from stopped
    run_dir = None if OmegaConf.is_missing(config, "run_dir") else Path(config.run_dir)
    way = "the same command starts again"
    if run_dir and (run_dir / LAST_CHECKPOINT).is_file():
        way = f"go on with: {command_to_go_on(config.name, config.output)}"
    only_to_files(stopped.tell(way))
    discard_if_empty(config)


def _keep_traceback(config: DictConfig) -> None:
    if not OmegaConf.is_missing(config, "run_dir") and is_first_process():
        write(Path(config.run_dir, ERROR), traceback.format_exc())


def _make_current_folder_importable() -> None:
    """A user's own modules lie where the command is given; `python -m` has that folder on the path, others do not."""
    if not {"", os.getcwd()} & set(sys.path):
        sys.path.append(os.getcwd())


@contextmanager
def _hydra_raises() -> Iterator[None]:
    """Let Hydra raise what it catches instead of printing it over several lines."""
    before = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = before
