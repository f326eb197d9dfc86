"""What every entry point is: a function of a composed config, with one clear line for a user's mistake."""

import logging
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
from omegaconf.errors import OmegaConfBaseException

from retrieval.data.decoding import VideoError
from retrieval.runs import register_resolvers

CONF = Path(__file__).parents[1] / "conf"
Job = Callable[[DictConfig], Any]
MISTAKES = (ValueError, OSError, VideoError, OmegaConfBaseException)


def job(config_name: str) -> Callable[[Job], Callable[[], Any]]:
    """Make a function the entry point that composes `conf/<config_name>.yaml` with the command line's overrides."""
    register_resolvers()

    def decorate(task: Job) -> Callable[[], Any]:
        return hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(clear_errors(task))

    return decorate


def clear_errors(task: Job) -> Job:
    """Let a job end with `error: <message>` and exit code 1 on bad input; the traceback goes to the debug log.

    In a sweep the error is raised as it is, so that Hydra records it for that job. `hydra.verbose=true` shows the
    traceback.
    """

    @wraps(task)
    def guarded(config: DictConfig) -> Any:
        try:
            return task(config)
        except (InstantiationException, *MISTAKES) as error:
            mistake = _cause(error)
            if HydraConfig.get().mode == RunMode.MULTIRUN or not isinstance(mistake, MISTAKES):
                raise
            logging.getLogger(__name__).debug("traceback", exc_info=error)
            sys.exit(f"error: {_last_line(str(mistake))}")

    return guarded


def _cause(error: BaseException) -> BaseException:
    """What went wrong inside an object that Hydra was building."""
    while isinstance(error, InstantiationException) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _last_line(message: str) -> str:
    """A data loader's worker sends its traceback as the message, the error itself on the last line."""
    lines = message.strip().splitlines() or ["unknown"]
    return lines[-1] if lines[0].startswith("Caught ") else " ".join(line.strip() for line in lines)
