"""Writing a run's files, with one clear line where the disk is full or not ours."""

import json
from collections.abc import Callable, Iterator
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


def read_json(path: Path) -> Any:
    """What `write_json` wrote; its newline tells a number from the beginning of a longer one.

    Raises:
        UserError: it cannot be read, or only a part of it is there.
    """
    try:
        text = path.read_text(encoding="utf-8")
        value = json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: damaged ({error})") from error
    if not text.endswith("\n"):
        raise UserError(f"{path}: damaged, it ends too early")
    return value


def is_whole(path: Path, read: Callable[[Path], Any] = read_json) -> bool:
    """Whether a file is there and can be read."""
    try:
        read(path)
    except UserError:
        return False
    return True


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
