"""One clear line for a user's mistake, in place of a traceback."""

import logging
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.types import RunMode
from omegaconf.errors import OmegaConfBaseException

MISTAKES = (ValueError, OSError, OmegaConfBaseException)


def clear_errors(job: Callable[..., Any]) -> Callable[..., Any]:
    """Let a job end with `error: <message>` and exit code 1 on bad input; the traceback goes to the debug log.

    In a sweep the error is raised as it is, so that Hydra records it for that job. Defects keep their traceback.
    """

    @wraps(job)
    def guarded(*arguments: Any) -> Any:
        try:
            return job(*arguments)
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
