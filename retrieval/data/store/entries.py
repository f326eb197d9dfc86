"""What lies in a store's LMDB: an entry a video, a JPEG a frame, under keys of video and time stamp.

Every value begins with its length and a checksum of its key and itself, so that no damage is taken for a picture. The
length is known before the value is touched: a damaged node of LMDB's own may claim bytes beyond the file's end.
"""

import json
import struct
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import lmdb

MAX_NAME = 480  # bytes; LMDB's keys have 511
SEAL = struct.Struct("<II")  # length and checksum of what follows


class DamagedValueError(Exception):
    """A value that is not what was written."""


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
        examined: whether all of it was decoded in search of damage.
        damage: the fields of a `Damage`, where that showed some.
        first: when its first frame is shown, in seconds.
        variable_times: when each frame is shown, in seconds, where they do not follow one another every 1 / fps.
    """

    size: int
    time: int
    total: int = 0
    fps: float = 0.0
    claimed: float = 0.0
    stored: Sequence[int] = ()
    error: str | None = None
    examined: bool = True
    damage: dict[str, Any] | None = None
    first: float = 0.0
    variable_times: Sequence[float] | None = None

    @property
    def times(self) -> Sequence[float]:
        """When each frame is shown, in seconds."""
        if self.variable_times is not None:
            return self.variable_times
        return [self.first + number / self.fps for number in range(self.total)]

    def key(self, name: bytes, index: int) -> bytes:
        """Where a frame lies: by video, then by time in microseconds after the first frame."""
        times = self.variable_times
        seconds = index / self.fps if times is None else times[index] - times[0]
        return _frames_key(name) + struct.pack(">Q", round(seconds * 1e6))

    def is_of(self, path: Path) -> bool:
        """Whether the file is still the one that was stored, or is gone."""
        return not path.is_file() or (self.size, self.time) == signature(path)


def entry_key(name: bytes) -> bytes:
    """Where a video's entry lies."""
    return b"video\0" + name


def get_frame(transaction: lmdb.Transaction, key: bytes) -> memoryview:
    """A stored frame.

    Raises:
        DamagedValueError: it is not what was put there, or gone.
    """
    frame = get_value(transaction, key)
    if frame is None:
        raise DamagedValueError("a frame is missing")
    return frame


def get_value(transaction: lmdb.Transaction, key: bytes) -> memoryview | None:
    """What was put under a key, None where nothing was; `transaction` gives buffers.

    Raises:
        DamagedValueError: it is not what was put there.
    """
    found = transaction.get(key)
    if found is None:
        return None
    value = memoryview(found)
    if len(value) < SEAL.size:
        raise DamagedValueError("a value is cut short")
    length, checksum = SEAL.unpack_from(value)
    if length != len(value) - SEAL.size:
        raise DamagedValueError("a length does not agree")
    if checksum != crc32(value[SEAL.size :], crc32(key)):
        raise DamagedValueError("a checksum does not agree")
    return value[SEAL.size :]


def get_entry(transaction: lmdb.Transaction, name: bytes) -> Entry | None:
    """What is stored of a video, None where nothing is.

    Raises:
        DamagedValueError: the entry is not what was put there.
    """
    value = get_value(transaction, entry_key(name))
    return None if value is None else Entry(**json.loads(bytes(value)))


def put_entry(transaction: lmdb.Transaction, name: bytes, entry: Entry, frames: Sequence[bytes]) -> None:
    """Write a video with its frames, in place of what was stored under its name."""
    _delete_frames(transaction, name)
    for index, frame in zip(entry.stored, frames, strict=True):
        _put_value(transaction, entry.key(name, index), frame)
    _put_value(transaction, entry_key(name), json.dumps(asdict(entry)).encode())


def signature(path: Path) -> tuple[int, int]:
    """Size in bytes and time of the last change in nanoseconds: what tells that a file is another one."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _put_value(transaction: lmdb.Transaction, key: bytes, value: bytes) -> None:
    transaction.put(key, SEAL.pack(len(value), crc32(value, crc32(key))) + value)


def _delete_frames(transaction: lmdb.Transaction, name: bytes) -> None:
    """All of a video's, whatever its entry says."""
    with transaction.cursor() as cursor:
        found = cursor.set_range(_frames_key(name))
        while found and bytes(cursor.key()).startswith(_frames_key(name)):
            found = cursor.delete()


def _frames_key(name: bytes) -> bytes:
    """What the keys of a video's frames begin with."""
    return b"frame\0" + name + b"\0"
