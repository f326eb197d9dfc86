"""Stored frames: JPEGs in an LMDB, keyed by video and time stamp, read in place of the videos.

Reading 12 frames of a video means decoding nearly all of it; here it means decoding 12 JPEGs. The store knows when each
of a video's frames is shown, so that a sampler chooses as it does over the video, and gets the stored frames that are
nearest in time.
"""

import json
import platform
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import simplejpeg
import torch
from jaxtyping import UInt8
from torch import Tensor

from retrieval.data.corpora.base import Record
from retrieval.data.decoder import Damage, VideoError, VideoFile
from retrieval.data.store.database import PREPARE, environment, file_of
from retrieval.data.store.entries import MAX_NAME, DamagedValueError, Entry, entry_key, get_entry, get_frame
from retrieval.errors import UserError
from retrieval.files import write_whole

FORMAT = 2  # of what lies in a store; 1 had no checksums


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
            UserError: it was written with other settings, or cannot be made.
        """
        if self.manifest.is_file() or file_of(str(self.folder)).is_file():
            return self.verify()
        written = {"format": FORMAT, "settings": self.settings, "software": _software()}
        try:
            Path(self.folder).mkdir(parents=True, exist_ok=True)
            write_whole(self.manifest, json.dumps(written, indent=2) + "\n")
        except OSError as error:
            raise UserError(f"data.store.folder={self.folder} cannot be made: {error}") from error
        return None

    def verify(self) -> None:
        """Check that the store is there and was written with these settings.

        Raises:
            UserError: there is no store, or it is an old one.
            UserError: it was written with other settings, or nobody knows which.
        """
        if not self.manifest.is_file():
            if file_of(str(self.folder)).is_file():
                raise UserError(f"{self.manifest} is missing: {self._anew}")
            raise UserError(f"data.store.folder={self.folder}: no stored frames there; {PREPARE} first")
        written = self._manifest()
        if written["format"] != FORMAT:
            raise UserError(f"data.store.folder={self.folder} was written before frames had checksums: {self._anew}")
        if written["settings"] != self.settings:
            raise UserError(
                f"data.store.folder={self.folder} was written with {_as_text(written['settings'])}, this run has "
                f"{_as_text(self.settings)}: set data.store to the former, or give another data.store.folder"
            )

    def _manifest(self) -> dict[str, Any]:
        try:
            written = json.loads(self.manifest.read_text())
            return {"settings": dict(written["settings"]), "format": written.get("format", 1)}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{self.manifest} cannot be read ({error}): {self._anew}") from error

    @property
    def _anew(self) -> str:
        return f"delete data.store.folder={self.folder}, or give another, and {PREPARE}"

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

    def check(self, records: Sequence[Record], split: str) -> None:
        """Raise UserError where videos of `split` are not in the store, naming the first."""
        paths = sorted({record.path for record in records})
        with self.reading(paths[0]) as transaction:
            lacking = [path for path in paths if transaction.get(entry_key(self.name(path))) is None]
        if lacking:
            raise UserError(
                f"data.store.folder={self.folder} lacks {len(lacking)} videos of the split {split!r}, the first: "
                f"{lacking[0]}; {PREPARE}, or leave them out with data.on_error=skip"
            )

    def open(self, path: Path) -> VideoFile:
        """The stored frames of a video, to be read like the video itself.

        Raises:
            UserError: a store that is cut short, or cannot be read.
            VideoError: a video that is not in the store, has changed since, could not be read, or is damaged there.
        """
        with self.reading(path) as transaction:
            entry = get_entry(transaction, self.name(path))
        return StoredVideo(self, path, self._usable(path, entry))

    @contextmanager
    def reading(self, path: Path) -> Iterator[lmdb.Transaction]:
        """A transaction that reads what is stored of a video.

        Raises:
            VideoError: it is damaged.
        """
        try:
            with environment(str(self.folder)).begin(buffers=True) as transaction:
                yield transaction
        except (lmdb.Error, DamagedValueError) as error:
            raise VideoError(
                f"{path}: damaged in the store {self.folder} ({error}); {PREPARE}, which stores it again"
            ) from error

    def _usable(self, path: Path, entry: Entry | None) -> Entry:
        if entry is None:
            raise VideoError(f"{path}: not in the store {self.folder}; {PREPARE}")
        if entry.error is not None:
            raise VideoError(entry.error)
        if not entry.is_of(path):
            raise VideoError(f"{path}: changed since it was stored in {self.folder}; {PREPARE} again")
        return entry


class StoredVideo(VideoFile):
    """A video of which some frames are stored: for the others the nearest in time is read."""

    def __init__(self, store: FrameStore, path: Path, entry: Entry) -> None:
        self.store, self.path, self.entry = store, path, entry
        self.total, self.fps = entry.total, entry.fps

    @property
    def times(self) -> Sequence[float]:
        return self.entry.times

    def read(self, indices: Sequence[int]) -> UInt8[Tensor, "frame 3 height width"]:
        name = self.store.name(self.path)
        times, stored = self.entry.variable_times, self.entry.stored
        keys = [self.entry.key(name, nearest(stored, index, times)) for index in indices]
        with self.store.reading(self.path) as transaction:
            return self._decoded([get_frame(transaction, key) for key in keys])

    def examine(self) -> Damage | None:
        """What `prepare` found when it decoded the video.

        Raises:
            VideoError: it did not look.
        """
        if not self.entry.examined:
            raise VideoError(f"{self.path}: stored with data.check=none; {PREPARE} data.check=full looks for damage")
        return None if self.entry.damage is None else Damage(**self.entry.damage)

    def _decoded(self, jpegs: Sequence[memoryview]) -> UInt8[Tensor, "frame 3 height width"]:
        height, width = simplejpeg.decode_jpeg_header(jpegs[0])[:2]
        frames = np.empty((len(jpegs), height, width, 3), np.uint8)
        for jpeg, frame in zip(jpegs, frames, strict=True):
            simplejpeg.decode_jpeg(jpeg, buffer=frame)
        return torch.from_numpy(frames).permute(0, 3, 1, 2)


def nearest(stored: Sequence[int], index: int, times: Sequence[float] | None = None) -> int:
    """The stored frame that is shown nearest to that of `index`, the earlier of two; without `times` by number."""
    right = bisect_left(stored, index)
    candidates = stored[max(right - 1, 0) : right + 1]
    if times is None:
        return min(candidates, key=lambda frame: abs(frame - index))
    return min(candidates, key=lambda frame: abs(times[frame] - times[index]))


def encode_jpeg(frame: UInt8[Tensor, "3 height width"], quality: int) -> bytes:
    """A frame as JPEG with colours at full resolution."""
    pixels = np.ascontiguousarray(frame.permute(1, 2, 0).numpy())
    return simplejpeg.encode_jpeg(pixels, quality, colorsubsampling="444")


def _software() -> dict[str, str]:
    return {"python": platform.python_version()} | {
        package: version(package) for package in ("retrieval", "decord2", "av", "simplejpeg", "lmdb")
    }


def _as_text(settings: dict[str, Any]) -> str:
    return ", ".join(f"{name}={'null' if value is None else value}" for name, value in settings.items())
