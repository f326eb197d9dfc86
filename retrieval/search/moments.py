"""What an index holds: moments of videos, and which of them a question may be answered with."""

import fnmatch
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

from retrieval.search.rows import FileRow, file_key

WILDCARDS = frozenset("*?")


@dataclass(frozen=True)
class Moment:
    """A piece of a video, one row of the index."""

    number: int  # its row in `Index.vectors`
    path: str  # absolute path of the file, as it was walked
    start: float  # seconds
    end: float
    modified: float  # of the file when it was indexed, seconds since the epoch
    file_size: int  # bytes


@dataclass(frozen=True)
class Filters:
    """Which moments may answer: those of these paths and file times, with at least this score."""

    path: str | None = None  # a pattern of the whole path with * and ?, or a piece of it
    after: float | None = None  # of the file's time, seconds since the epoch
    before: float | None = None
    min_score: float | None = None

    def allow(self, path: str, modified: float) -> bool:
        """Whether a file may answer; `min_score` is for the answers."""
        if self.after is not None and modified < self.after:
            return False
        if self.before is not None and modified >= self.before:
            return False
        if self.path is None:
            return True
        if not WILDCARDS & set(self.path):
            return self.path in path
        return fnmatch.fnmatchcase(path, self.path.replace("[", "[[]"))  # names have brackets


class Moments(Sequence[Moment]):
    """The moments of an index in the order of their paths and, within a file, of time; made when they are asked for.

    Args:
        files: those that have moments, in the order of the paths.
        file: of each moment, its place in `files`; ascending.
        within: its number in that file; ascending.
        start, end: in seconds.
    """

    def __init__(
        self, files: Sequence[FileRow], file: np.ndarray, within: np.ndarray, start: np.ndarray, end: np.ndarray
    ) -> None:
        self.files, self.file, self.within, self.start, self.end = files, file, within, start, end
        self._place: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self.file)

    def __iter__(self) -> Iterator[Moment]:
        return (self._moment(number) for number in range(len(self)))

    @overload
    def __getitem__(self, number: int) -> Moment: ...
    @overload
    def __getitem__(self, number: slice) -> list[Moment]: ...
    def __getitem__(self, number: int | slice) -> Moment | list[Moment]:
        if isinstance(number, slice):
            return [self._moment(each) for each in range(len(self))[number]]
        return self._moment(range(len(self))[number])

    def allowed(self, filters: Filters) -> np.ndarray:
        """Which files the filters let through."""
        return np.array([filters.allow(file.path, file.modified) for file in self.files], dtype=bool)

    def find(self, key: str, within: int) -> int | None:
        """The moment of a file's key and its number there; None: it is not there."""
        if not self._place:
            self._place.update({file_key(file.path): place for place, file in enumerate(self.files)})
        if (place := self._place.get(key)) is None:
            return None
        first, last = (int(np.searchsorted(self.file, place, side)) for side in ("left", "right"))
        number = first + bisect_left(self.within[first:last].tolist(), within)
        return number if number < last and self.within[number] == within else None

    def _moment(self, number: int) -> Moment:
        file = self.files[self.file[number]]
        return Moment(number, file.path, float(self.start[number]), float(self.end[number]), file.modified, file.size)
