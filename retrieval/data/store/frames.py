"""Stored frames: JPEGs in an LMDB, keyed by video and time stamp, read in place of the videos.

Reading 12 frames of a video means decoding nearly all of it; here it means decoding 12 JPEGs. The store knows each
video's own length and frame rate, so that a sampler chooses as it does over the video, and gets the stored frames that
are nearest in time.
"""

import json
import os
import platform
import struct
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import simplejpeg
import torch
from jaxtyping import UInt8
from torch import Tensor

from retrieval.data.decoding import VideoError
from retrieval.data.sampling import ClipError
from retrieval.errors import UserError

MAP_SIZE = 2**42  # address space, not disk: the file grows with what is written
MAX_NAME = 480  # bytes; LMDB's keys have 511
PREPARE = "run python -m retrieval.prepare"


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
    """

    size: int
    time: int
    total: int = 0
    fps: float = 0.0
    claimed: float = 0.0
    stored: Sequence[int] = ()
    error: str | None = None

    def is_of(self, path: Path) -> bool:
        """Whether the file is still the one that was stored, or is gone."""
        return not path.is_file() or (self.size, self.time) == signature(path)


@dataclass(frozen=True)
class FrameStore:
    """A folder of stored frames.

    Args:
        folder: of the store.
        root: what videos' names are relative to.
        short_side: pixels of the frames' shorter side at most; null: as in the video.
        quality: of the JPEGs, 1 to 100, without chroma subsampling.
        rate: frames stored a second, besides those that the sampler picks in evaluation; null: every frame.
    """

    folder: str | Path
    root: str | Path
    short_side: int | None
    quality: int
    rate: float | None

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 100:
            raise UserError(f"data.store.quality={self.quality}, must be from 1 to 100")
        if self.rate is not None and self.rate <= 0:
            raise UserError(f"data.store.rate={self.rate} frames a second, must be positive, or null for every frame")
        if self.short_side is not None and self.short_side < 1:
            raise UserError(f"data.store.short_side={self.short_side}, must be at least 1")

    @property
    def settings(self) -> dict[str, Any]:
        return {"short_side": self.short_side, "quality": self.quality, "rate": self.rate}

    @property
    def manifest(self) -> Path:
        return Path(self.folder, "manifest.json")

    def create(self) -> None:
        """Make the folder with its manifest, or check the one that is there.

        Raises:
            UserError: it was written with other settings.
        """
        if self.manifest.is_file():
            return self.verify()
        Path(self.folder).mkdir(parents=True, exist_ok=True)
        partial = self.manifest.with_suffix(".partial")
        partial.write_text(json.dumps({"settings": self.settings, "software": _software()}, indent=2) + "\n")
        partial.rename(self.manifest)
        return None

    def verify(self) -> None:
        """Check that the store is there and was written with these settings.

        Raises:
            UserError: there is no store.
            UserError: it was written with other settings.
        """
        if not self.manifest.is_file():
            raise UserError(f"data.store.folder={self.folder}: no stored frames there; {PREPARE} first")
        written = json.loads(self.manifest.read_text())["settings"]
        if written != self.settings:
            raise UserError(
                f"data.store.folder={self.folder} was written with {_told(written)}, this run has "
                f"{_told(self.settings)}: set data.store to the former, or give another data.store.folder"
            )

    def name(self, path: Path) -> bytes:
        """A video's name in the store: its path under `root`.

        Raises:
            UserError: it is too long.
        """
        inside = path.relative_to(self.root) if path.is_relative_to(self.root) else path
        name = inside.as_posix().encode()
        if len(name) > MAX_NAME:
            raise UserError(f"{path}: the name is longer than the {MAX_NAME} bytes that a store can hold")
        return name

    def lacking(self, paths: Sequence[Path]) -> list[Path]:
        """Those of the videos that are not in the store."""
        with environment(str(self.folder)).begin(buffers=True) as transaction:
            return [path for path in paths if transaction.get(entry_key(self.name(path))) is None]

    def read(self, path: Path, choose: Callable[[int, float], Sequence[int]]) -> UInt8[Tensor, "frame 3 height width"]:
        """The stored frames nearest to those that `choose` picks, given the video's frames and frames a second.

        Raises:
            VideoError: a video that is not in the store, has changed since, could not be read, or is too short.
        """
        name = self.name(path)
        with environment(str(self.folder)).begin(buffers=True) as transaction:
            entry = self._usable(path, get_entry(transaction, name))
            try:
                wanted = choose(entry.total, entry.fps)
            except ClipError as error:
                raise VideoError(f"{path}: {error}") from error
            keys = [frame_key(name, nearest(entry.stored, index) / entry.fps) for index in wanted]
            return self._decoded(path, [transaction.get(key) for key in keys])

    def _usable(self, path: Path, entry: Entry | None) -> Entry:
        if entry is None:
            raise VideoError(f"{path}: not in the store {self.folder}; {PREPARE}")
        if entry.error is not None:
            raise VideoError(entry.error)
        if not entry.is_of(path):
            raise VideoError(f"{path}: changed since it was stored in {self.folder}; {PREPARE} again")
        return entry

    def _decoded(self, path: Path, jpegs: Sequence[Any]) -> UInt8[Tensor, "frame 3 height width"]:
        try:
            height, width = simplejpeg.decode_jpeg_header(jpegs[0])[:2]
            frames = np.empty((len(jpegs), height, width, 3), np.uint8)
            for jpeg, frame in zip(jpegs, frames, strict=True):
                simplejpeg.decode_jpeg(jpeg, buffer=frame)
        except (TypeError, ValueError) as error:
            raise VideoError(
                f"{path}: its frames in {self.folder} are damaged ({error}); delete the store and {PREPARE}"
            ) from error
        return torch.from_numpy(frames).permute(0, 3, 1, 2)


@lru_cache(maxsize=8)
def environment(folder: str) -> lmdb.Environment:
    """The store opened for reading, once in each process."""
    return lmdb.open(folder, readonly=True, lock=False, readahead=False, map_size=MAP_SIZE)


os.register_at_fork(after_in_child=environment.cache_clear)  # LMDB's handles do not survive a fork


def nearest(stored: Sequence[int], index: int) -> int:
    """The stored frame nearest to `index`, the earlier of two."""
    right = bisect_left(stored, index)
    candidates = stored[max(right - 1, 0) : right + 1]
    return min(candidates, key=lambda frame: abs(frame - index))


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


def encode_jpeg(frame: UInt8[Tensor, "3 height width"], quality: int) -> bytes:
    """A frame as JPEG with colours at full resolution."""
    pixels = np.ascontiguousarray(frame.permute(1, 2, 0).numpy())
    return simplejpeg.encode_jpeg(pixels, quality, colorsubsampling="444")


def _software() -> dict[str, str]:
    return {"python": platform.python_version()} | {
        package: version(package) for package in ("retrieval", "decord2", "simplejpeg", "lmdb")
    }


def _told(settings: dict[str, Any]) -> str:
    return ", ".join(f"{name}={'null' if value is None else value}" for name, value in settings.items())
