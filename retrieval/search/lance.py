"""LanceDB, which is an extra: where it opens things, and what it says when it cannot."""

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from retrieval.errors import UserError

INSTALL = 'pip install "/path/to/this/repository[search]"'
"""What LanceDB, PySceneDetect and Gradio come with."""

FORK = "lancedb fork support is experimental"
"""It warns of forks in the midst of its work. Ours come between two calls of it, which return when all is done; what is
forked decodes videos, never calls it, and ends without cleaning up after it."""


def lancedb() -> Any:
    """The library.

    Raises:
        UserError: it is not installed.
    """
    os.environ.setdefault("LANCEDB_LOG", "error")  # it warns of every table that is made, and of what it may do one day
    try:
        import lancedb
    except ImportError as error:
        raise UserError(f"an index needs LanceDB: {INSTALL} ({error})") from error
    warnings.filterwarnings("ignore", FORK, RuntimeWarning)
    return lancedb


def connected(address: str) -> Any:
    """The database at an address.

    Raises:
        UserError: LanceDB is not installed, or cannot open such an address.
    """
    library = lancedb()
    try:
        return library.connect(address)
    except (ValueError, RuntimeError, OSError) as error:
        raise UserError(f"index={address}: cannot be opened ({first_line(error)})") from error


def is_folder(address: str) -> bool:
    """Whether an index lies in a folder, and not in an object store."""
    return "://" not in address


@contextmanager
def writing(address: str) -> Iterator[None]:
    """Tell in one line what cannot be written.

    Raises:
        UserError: what LanceDB or the system say.
    """
    try:
        yield
    except UserError:
        raise
    except (RuntimeError, OSError) as error:
        raise UserError(
            f"index={address}: cannot be written, is the disk full? ({first_line(error)}); what was written before can "
            "be searched, and the same command goes on once there is room"
        ) from error


def names_of_tables(database: Any) -> Sequence[str]:
    return database.list_tables(limit=100).tables


def first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
