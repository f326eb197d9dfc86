"""What a run has found out about its video files, shared by all its processes that read them.

Every note is a fact of a file, which does not change while the run reads it. So samples are the same with and without
notes, by any number of workers in any order, and after a resume: a broken file is only not opened again in vain.
"""

import json
import os
import tempfile
import weakref
from collections.abc import Hashable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from jaxtyping import UInt8
from torch import Tensor

from retrieval.data.decoder import Damage, StuckError, VideoError, VideoFile
from retrieval.data.decoder.guarded import Open
from retrieval.data.decoder.index import ANYWAY


class Notes:
    """Values by key, in a temporary file that every process of a run appends to and reads on.

    A file, because data workers may be forked or spawned, come and go, and share nothing else; it is removed with the
    object that made it. Where it cannot be written, each process keeps its own notes.
    """

    def __init__(self) -> None:
        self.path, self.offset = Path(os.devnull), 0
        self.known: dict[Hashable, Any] = {}
        try:
            handle, name = tempfile.mkstemp(prefix="retrieval-notes-")
        except OSError:
            return
        os.close(handle)
        self.path = Path(name)
        weakref.finalize(self, _remove, self.path, os.getpid())

    def __setitem__(self, key: Sequence[Any], value: Any) -> None:
        self.known[_hashable(key)] = value
        line = json.dumps([key, value]).encode() + b"\n"
        with suppress(OSError), self.path.open("ab", buffering=0) as file:
            file.write(line)  # one write of a file opened to append: lines of two processes do not mix

    def get(self, *key: Any) -> Any:
        """What any process has noted under `key`; None: nothing yet."""
        with suppress(OSError):
            if self.path.stat().st_size > self.offset:
                self._read_on()
        return self.known.get(_hashable(key))

    def _read_on(self) -> None:
        with self.path.open("rb") as file:
            file.seek(self.offset)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]  # the last line may still be written
        self.offset += len(whole)
        for line in whole.splitlines():
            with suppress(ValueError):  # a full disk has taken a part of it
                key, value = json.loads(line)
                self.known[_hashable(key)] = value


class Remembering:
    """`open`, which is not asked twice about what it has refused; with check="full" it opens sound videos alone."""

    def __init__(self, open: Open, check: str) -> None:
        self.open, self.check, self.notes = open, check, Notes()

    def __call__(self, path: Path) -> VideoFile:
        """The opened video.

        Raises:
            VideoError: `open` refused it, now or before, or it is damaged.
        """
        if (reason := self.notes.get("broken", str(path))) is not None:
            raise VideoError(reason)
        if (facts := self.notes.get("facts", str(path))) is not None:
            return RememberedFile(self, path, *facts)
        try:
            video = self.open(path)
            if self.check == "full" and self.notes.get("sound", str(path)) is None:
                _refuse(path, video.examine())
                self.notes["sound", str(path)] = True
        except VideoError as error:
            self.notes["broken", str(path)] = str(error)
            raise
        return RememberedFile(self, path, video.total, video.fps, video.size, video.times, video)


class RememberedFile(VideoFile):
    """An opened video, or one of which frames could not be read before: opened again only for other frames."""

    def __init__(
        self,
        by: Remembering,
        path: Path,
        total: int,
        fps: float,
        size: Sequence[int] | None,
        times: Sequence[float],
        video: VideoFile | None = None,
    ) -> None:
        self.by, self.path, self.video, self._times = by, path, video, times
        self.total, self.fps, self.size = total, fps, None if size is None else (size[0], size[1])

    @property
    def times(self) -> Sequence[float]:
        return self._times

    def read(self, indices: Sequence[int]) -> UInt8[Tensor, "frame 3 height width"]:
        notes, name = self.by.notes, str(self.path)
        if (reason := notes.get("frames", name, list(indices))) is not None:
            raise VideoError(reason)
        try:
            self.video = self.video or self.by.open(self.path)
            return self.video.read(indices)
        except StuckError as error:
            notes["broken", name] = str(error)
            raise
        except VideoError as error:
            notes["frames", name, list(indices)] = str(error)
            notes["facts", name] = (self.total, self.fps, self.size, list(self.times))
            raise


def _refuse(path: Path, damage: Damage | None) -> None:
    if damage is not None:
        raise VideoError(f"{path}: damaged, {damage}; data.check=header does not look for this, {ANYWAY}")


def _hashable(key: Any) -> Any:
    return tuple(map(_hashable, key)) if isinstance(key, list | tuple) else key


def _remove(path: Path, owner: int) -> None:
    if os.getpid() == owner:  # not a forked worker that ends
        path.unlink(missing_ok=True)
