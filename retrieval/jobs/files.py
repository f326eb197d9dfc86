"""Writing a run's files, with one clear line where the disk is full or not ours."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from retrieval.errors import UserError


def write(path: Path, text: str) -> None:
    """Write a text file; its folder is made where it is missing.

    Raises:
        UserError: the path cannot be written.
    """
    with refusals(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


@contextmanager
def refusals(path: Path) -> Iterator[None]:
    """Make the operating system's refusal to write there a user's to mend; that a file exists is no refusal.

    Raises:
        UserError: the path cannot be written.
    """
    try:
        yield
    except FileExistsError:
        raise
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); output=<folder> writes elsewhere") from error
