"""A file is whole or not there: it is written beside its place, brought to the disk, and only then given its name."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PARTIAL = ".partial"
"""The ending of a file that is being written; one is left where its writer was killed."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path beside `path` to write to; what was written takes that name, the file that was there stays till then.

    Whoever is killed, or finds the disk full, leaves that file; the last of several writers at once remains.

    Raises:
        OSError: it cannot be written; what had been written of it is gone.
    """
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}{PARTIAL}")
    try:
        yield partial
        _to_disk(partial, os.O_RDWR)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    with suppress(OSError):  # the file is in place; some filesystems cannot sync a folder
        _to_disk(path.parent, os.O_RDONLY)


def write_whole(path: Path, text: str) -> None:
    """Write a text file in the way of `replacing`.

    Raises:
        OSError: it cannot be written.
    """
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def _to_disk(path: Path, how: int) -> None:
    opened = os.open(path, how)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
