"""What counts as a user's mistake, and how it is told in one line."""

from hydra.errors import HydraException, InstantiationException
from omegaconf.errors import OmegaConfBaseException

from retrieval.data.decoding import VideoError

MISTAKES = (ValueError, OSError, VideoError, OmegaConfBaseException)
REFUSALS = (HydraException, *MISTAKES)
"""What composing a config and building from it may raise."""


def cause(error: BaseException) -> BaseException:
    """What went wrong inside an object that Hydra was building."""
    while isinstance(error, InstantiationException) and error.__cause__ is not None:
        error = error.__cause__
    return error


def one_line(error: BaseException) -> str:
    """The message of what went wrong; a data loader's worker sends its traceback, the error itself on the last line."""
    lines = str(cause(error)).strip().splitlines() or [type(error).__name__]
    return lines[-1] if lines[0].startswith("Caught ") else " ".join(line.strip() for line in lines)
