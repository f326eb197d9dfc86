"""What counts as a user's mistake, and how it is told in one line."""

import errno
import re

from hydra.errors import HydraException, InstantiationException
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException

from retrieval.errors import UserError
from retrieval.jobs.keys import explain

COMPOSITION = (HydraException, OmegaConfBaseException)
"""What composing a config may raise."""
REFUSALS = (*COMPOSITION, UserError)
"""What composing a config and building from it may raise; see `is_mistake` for which of them are the user's."""

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""The operating system's refusals that are the disk's, whichever library wrote: full, over one's share, read-only."""


def cause(error: BaseException) -> BaseException:
    """What went wrong inside an object that Hydra was building."""
    while isinstance(error, InstantiationException) and error.__cause__ is not None:
        error = error.__cause__
    return error


def is_mistake(error: BaseException) -> bool:
    """Whether a user can mend this: `UserError`, a bad interpolation, an unknown `_target_`, a full disk."""
    if isinstance(error, OSError) and error.errno in DISK:
        return True
    if isinstance(error, InstantiationException) and _unknown_target(error):
        return True
    return isinstance(cause(error), UserError | InterpolationResolutionError)


def one_line(error: BaseException, config_name: str | None = None, overrides: list[str] | None = None) -> str:
    """The message of what went wrong, with the nearest names where a key or an option of the config is misspelt.

    Args:
        error: a mistake, or any other error where only a line can be shown.
        config_name: the job's, `train` and so on; None: the one that Hydra is running.
        overrides: of the job that could not be composed; None: the command line's.
    """
    error = cause(error) if not _unknown_target(error) else error
    if explained := explain(error, config_name, overrides):
        return explained
    if isinstance(error, OSError) and error.errno in DISK:
        return f"{error.filename or 'a file'}: cannot be written ({error.strerror}); output=<folder> writes elsewhere"
    lines = [line.strip() for line in str(error).strip().splitlines()] or [type(error).__name__]
    if lines[0].startswith("Caught "):  # a data loader's worker sends its traceback, which ends with the message
        name = type(error).__name__
        starts = [index for index, line in enumerate(lines) if re.match(rf"([\w.]+\.)?{name}: ", line)]
        lines = lines[starts[-1] :] if starts else lines[-1:]
        lines[0] = re.sub(rf"^([\w.]+\.)?{name}: ", "", lines[0])
    return " ".join(filter(None, lines))


def _unknown_target(error: BaseException) -> bool:
    """Whether there is no such class or module as a config names; an error inside the user's module is not that."""
    if not isinstance(error, InstantiationException):
        return False
    if (target := re.match(r"Error (?:locating|loading) target '([\w.]+)'", str(error))) is None:
        return False
    reasons = _causes(error)
    missing = [each.name or "" for each in reasons if isinstance(each, ModuleNotFoundError) and each.name]
    return all(f"{target[1]}.".startswith(f"{name}.") for name in missing)


def _causes(error: BaseException) -> list[BaseException]:
    found = []
    while (inner := error.__cause__ or error.__context__) is not None:
        found.append(inner)
        error = inner
    return found
