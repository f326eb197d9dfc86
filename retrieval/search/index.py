"""An index of videos: which moments they have, where they lie, what the model keeps of them, and which are nearest."""

from collections.abc import Iterable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from torch import Tensor

from retrieval.search.moments import Filters, Moment


class Index:
    """Moments of videos with what a model keeps of each of them, in a folder."""

    moments: Sequence[Moment]  # all that are there; those of vanished files are left out
    vectors: Tensor  # [moment, ...] what the head keeps of each, float32

    @classmethod
    def open(cls, path: str | PathLike[str], model: Any = None) -> "Index":
        """The index at `path`; its model is loaded with the first question."""
        raise NotImplementedError

    @classmethod
    def create(cls, path: str | PathLike[str], source: Any) -> "Index":
        """A new, empty index at `path` for the model that `source` describes."""
        raise NotImplementedError

    def add(self, paths: Iterable[str | PathLike[str]]) -> Any:
        """Walk these files and folders, skip what is unchanged, encode the rest and write it."""
        raise NotImplementedError

    def search(self, query: str, top: int = 10, filters: Filters = Filters()) -> list[Any]:
        """The best answers to a query in words."""
        raise NotImplementedError

    def scores(self, kept: Tensor) -> Tensor:
        """The head's similarity of what was kept of queries with all moments, [query, moment]."""
        raise NotImplementedError

    def nearest(self, kept: Tensor, top: int, filters: Filters = Filters()) -> list[list[tuple[float, Moment]]]:
        """For each query the `top` best moments with their scores, best first."""
        raise NotImplementedError

    def encode_text(self, queries: Sequence[str]) -> Tensor:
        """What the head keeps of these queries, [query, ...]."""
        raise NotImplementedError

    def encode_frames(self, path: str | Path, start: float, end: float) -> Tensor:
        """What the head keeps of a piece of a video as a query, [1, ...]."""
        raise NotImplementedError

    def encode_image(self, path: str | Path) -> Tensor:
        """What the head keeps of a picture as a query, [1, ...]."""
        raise NotImplementedError

    def thumbnails(self, moments: Sequence[Moment]) -> list[bytes]:
        """A small JPEG of each of these moments."""
        raise NotImplementedError
