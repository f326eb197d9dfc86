"""How far adding videos has come: videos, hours of video a minute, time left by the bytes that are still to be read."""

import time
from collections.abc import Sequence
from types import TracebackType

from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from retrieval.search.reading import Piece
from retrieval.search.walking import Found


class Progress:
    """A bar while it is entered.

    Args:
        files: all that are to be read.
    """

    def __init__(self, files: Sequence[Found]) -> None:
        self.files, self.done, self.seconds, self.start = len(files), 0, 0.0, 0.0
        columns = (TextColumn("Indexing"), BarColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
        self.bar = Bar(*columns, disable=not files)
        self.task = self.bar.add_task(self._line(), total=sum(file.size for file in files))

    def __enter__(self) -> "Progress":
        self.start = time.monotonic()
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def tell(self, file: Found, piece: Piece) -> None:
        """A piece has been encoded."""
        self.seconds += piece.seconds
        self.done += piece.is_last
        self.bar.update(self.task, advance=file.size if piece.is_last else 0, description=self._line())

    def _line(self) -> str:
        minutes = (time.monotonic() - self.start) / 60
        rate = self.seconds / 3600 / minutes if self.start and minutes > 0 else 0.0
        return f"{self.done:,} of {self.files:,} videos, {rate:.2f} hours of video a minute"
