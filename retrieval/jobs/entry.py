"""What every entry point is: a function of a composed config, with one clear line for a user's mistake."""

import logging
import multiprocessing
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig

from retrieval.jobs.errors import MISTAKES, cause, one_line
from retrieval.jobs.runs import register_resolvers
from retrieval.sweeps import register_sweeper, run_once

CONF = Path(__file__).parents[2] / "conf"
Job = Callable[[DictConfig], Any]


def job(config_name: str) -> Callable[[Job], Callable[[], Any]]:
    """Make a function the entry point that composes `conf/<config_name>.yaml` with the command line's overrides."""
    register_resolvers()

    def decorate(task: Job) -> Callable[[], Any]:
        entry = hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(clear_errors(task))

        @wraps(task)
        def main() -> Any:
            register_sweeper()
            return entry()

        return main

    return decorate


def clear_errors(task: Job) -> Job:
    """Let a job end with `error: <message>` and exit code 1 on bad input; the traceback goes to the debug log.

    In a sweep the traceback goes into the job's folder, and a job that has finished before is not run again (see
    `retrieval.sweeps.run_once`). `hydra.verbose=true` shows the traceback.
    """

    @wraps(task)
    def guarded(config: DictConfig) -> Any:
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            # joblib's processes start others in a way of their own, which data loaders cannot.
            multiprocessing.set_start_method(multiprocessing.get_all_start_methods()[0], force=True)
            return run_once(task, config)
        try:
            return task(config)
        except (InstantiationException, *MISTAKES) as error:
            if not isinstance(cause(error), MISTAKES):
                raise
            logging.getLogger(__name__).debug("traceback", exc_info=error)
            sys.exit(f"error: {one_line(error)}")

    return guarded
