"""What lies in a store's LMDB: an entry a video, a JPEG a frame, under keys of video and time stamp."""

import json
import os
import struct
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import lmdb

MAP_SIZE = 2**42  # address space, not disk: the file grows with what is written
MAX_NAME = 480  # bytes; LMDB's keys have 511


@dataclass(frozen=True)
class Entry:
    """What the store knows of a video.

    Attributes:
        size: of the source in bytes.
        time: of the source's last change, in nanoseconds.
        total: its frames.
        fps: its frames a second.
        claimed: seconds that its container says it lasts, 0 where it says nothing.
        stored: which of its frames are in the store, ascending.
        error: why none are, where it cannot be read.
        damage: the fields of a `Damage`, where decoding all of it showed some.
    """

    size: int
    time: int
    total: int = 0
    fps: float = 0.0
    claimed: float = 0.0
    stored: Sequence[int] = ()
    error: str | None = None
    damage: dict[str, Any] | None = None

    def is_of(self, path: Path) -> bool:
        """Whether the file is still the one that was stored, or is gone."""
        return not path.is_file() or (self.size, self.time) == signature(path)


@lru_cache(maxsize=8)
def environment(folder: str) -> lmdb.Environment:
    """The store opened for reading, once in each process."""
    return lmdb.open(folder, readonly=True, lock=False, readahead=False, map_size=MAP_SIZE)


os.register_at_fork(after_in_child=environment.cache_clear)  # LMDB's handles do not survive a fork


def entry_key(name: bytes) -> bytes:
    """Where a video's entry lies."""
    return b"video\0" + name


def frame_key(name: bytes, seconds: float) -> bytes:
    """Where a frame lies: by video, then by time in microseconds."""
    return b"frame\0" + name + b"\0" + struct.pack(">Q", round(seconds * 1e6))


def get_entry(transaction: lmdb.Transaction, name: bytes) -> Entry | None:
    """What is stored of a video, None where nothing is."""
    value = transaction.get(entry_key(name))
    return None if value is None else Entry(**json.loads(bytes(value)))


def put_entry(transaction: lmdb.Transaction, name: bytes, entry: Entry, frames: Sequence[bytes]) -> None:
    """Write a video with its frames, in place of what was stored under its name."""
    if (old := get_entry(transaction, name)) is not None:
        for index in old.stored:
            transaction.delete(frame_key(name, index / old.fps))
    for index, frame in zip(entry.stored, frames, strict=True):
        transaction.put(frame_key(name, index / entry.fps), frame)
    transaction.put(entry_key(name), json.dumps(asdict(entry)).encode())


def signature(path: Path) -> tuple[int, int]:
    """Size in bytes and time of the last change in nanoseconds: what tells that a file is another one."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns
