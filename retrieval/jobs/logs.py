"""One log, on the screen and in the run's folder: what this package tells, and the warnings of its libraries."""

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from retrieval.jobs.files import refusals
from retrieval.jobs.processes import is_first_process

LEAF_SPEC = r"`isinstance\(treespec, LeafSpec\)` is deprecated"
"""What torch says of every batch that Lightning moves; nobody here can mend it."""
_log = logging.getLogger(__name__)


class Screen(logging.StreamHandler[TextIO]):
    """Writes where `sys.stdout` points at the time: progress bars and notebooks put something else in its place.

    Of several processes the first one tells, the others warn.
    """

    def __init__(self, label: str) -> None:
        super().__init__(sys.stdout)
        self.setLevel(logging.NOTSET if is_first_process() else logging.WARNING)
        self.addFilter(_is_ours_or_a_warning)
        self.addFilter(lambda record: getattr(record, "on_screen", True))
        self.setFormatter(_Brief(label))

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line to standard output, as it is now."""
        self.stream = sys.stdout
        super().emit(record)


class _Brief(logging.Formatter):
    """The message alone, with its level where it is a warning or worse, behind a job's name in a sweep."""

    def __init__(self, label: str) -> None:
        super().__init__("%(message)s")
        self.prefix = f"{label}: " if label else ""

    def format(self, record: logging.LogRecord) -> str:
        level = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        text = f"{level}{super().format(record)}"
        return "\n".join(f"{self.prefix}{line}" for line in text.splitlines())


def _is_ours_or_a_warning(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING or record.name.partition(".")[0] == "retrieval"


@contextmanager
def log_to_screen(label: str = "") -> Iterator[None]:
    """Let the log go to the screen, Python's warnings with it; what was before is put back in the end.

    Args:
        label: stands before every line; jobs of a sweep that run side by side are told apart by it.
    """
    root = logging.getLogger()
    handlers, level, show = root.handlers[:], root.level, warnings.showwarning
    warnings.filterwarnings("ignore", LEAF_SPEC)
    warnings.showwarning = _log_warning
    root.handlers = [Screen(label), *(each for each in handlers if not isinstance(each, Screen))]
    root.setLevel(min(level or logging.INFO, logging.INFO))
    try:
        yield
    finally:
        for handler in root.handlers:
            if handler not in handlers:
                handler.close()
        root.handlers, warnings.showwarning = handlers, show
        root.setLevel(level)


def log_to_file(path: Path) -> None:
    """Let the log go into a file too, after what it holds; of a run that came before in this process no longer.

    Raises:
        UserError: the path cannot be written.
    """
    root = logging.getLogger()
    for handler in [each for each in root.handlers if isinstance(each, _RunFile)]:
        root.removeHandler(handler)
        handler.close()
    with refusals(path):
        root.addHandler(_RunFile(path))


class _RunFile(logging.FileHandler):
    """A run's log."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, encoding="utf-8")
        self.addFilter(_is_ours_or_a_warning)
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", datefmt="%Y-%m-%d %H:%M:%S"))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """A line that a full disk does not take is on the screen; `logging` would put a traceback there for each."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


def leave_log_to_us() -> None:
    """Lightning puts a handler of its own on the screen as it is imported, which tells all warnings a second time."""
    import lightning

    logging.getLogger(lightning.__name__).handlers.clear()


def only_to_files(message: str) -> None:
    """Log an error that is told on the screen in another way."""
    _log.error(message, extra={"on_screen": False})


def _log_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """A warning to users as it is; one to developers with its place."""
    place = "" if issubclass(category, UserWarning) else f"{filename}:{lineno}: {category.__name__}: "
    logging.getLogger("py.warnings").warning("%s%s", place, message)
