"""How checkpoints are written and read: a file is whole or not there, and the one before stays until it is."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from retrieval.errors import UserError
from retrieval.files import replacing
from retrieval.model import read_checkpoint


class WholeCheckpoints(TorchCheckpointIO):
    """Writes beside the target and renames; reads what is whole, and runs nothing in it.

    Lightning's own writes through the system's temporary folder, which may be small, and copies from there where the
    run is on another filesystem: a job that is killed meanwhile leaves half a checkpoint in place of the last good one.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write `checkpoint`.

        Raises:
            UserError: the disk is full, or not ours.
        """
        with put_in_place(Path(path)) as partial, partial.open("wb") as file:
            torch.save(checkpoint, file)

    def load_checkpoint(self, path: str | Path, *_: Any, **__: Any) -> dict[str, Any]:
        """What `path` holds, on the CPU.

        Raises:
            UserError: no such file, or a damaged one.
        """
        return read_checkpoint(Path(path))


@contextmanager
def put_in_place(path: Path) -> Iterator[Path]:
    """A path to write to, whose file takes `path`'s place once it is whole.

    Its name, `.last.ckpt.….partial`, is none that Lightning or `ckpt_path=last` takes for a checkpoint; `start_run`
    deletes those of killed jobs.

    Raises:
        UserError: the disk is full, or not ours.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            yield partial
    except (OSError, RuntimeError) as error:
        refusal = _refusal(error)
        if refusal is None:
            raise
        raise UserError(
            f"{path}: cannot be written ({refusal.strerror}): make room in {path.parent}, then go on with "
            "ckpt_path=last; what was saved before is whole"
        ) from error


def _refusal(error: BaseException | None) -> OSError | None:
    """The operating system's refusal behind an error: torch raises one of its own on top as it closes the file."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error
