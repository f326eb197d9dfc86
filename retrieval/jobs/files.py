"""Writing a run's files, with one clear line where the disk is full or not ours."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from retrieval.errors import UserError
from retrieval.files import write_whole

ELSEWHERE = "output=<folder> writes elsewhere"


def write(path: Path, text: str) -> None:
    """Write a text file as a whole, or leave the one that is there; its folder is made where it is missing.

    Raises:
        UserError: the path cannot be written.
    """
    with refusals(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text)


def write_json(path: Path, value: Any) -> None:
    """The same for a value, as JSON that ends with a newline.

    Raises:
        UserError: the path cannot be written.
    """
    write(path, json.dumps(value, indent=2) + "\n")


@contextmanager
def refusals(path: Path, way_out: str = ELSEWHERE) -> Iterator[None]:
    """Make the operating system's refusal to write there a user's to mend; that a file exists is no refusal.

    Args:
        path: what is written.
        way_out: the knob that writes elsewhere, in words.

    Raises:
        UserError: the path cannot be written.
    """
    try:
        yield
    except FileExistsError:
        raise
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); {way_out}") from error
