"""What an index holds: moments of videos, and which of them a question may be answered with."""

import fnmatch
from dataclasses import dataclass


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

    path: str | None = None  # a pattern with * and ?, or a piece of the path
    after: float | None = None  # of the file's time, seconds since the epoch
    before: float | None = None
    min_score: float | None = None

    def allow(self, path: str, modified: float) -> bool:
        """Whether a file may answer; `min_score` is for the answers."""
        if self.after is not None and modified < self.after:
            return False
        if self.before is not None and modified > self.before:
            return False
        if self.path is None:
            return True
        return fnmatch.fnmatchcase(path, self.path) if set(self.path) & set("*?[") else self.path in path
