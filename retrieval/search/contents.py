"""What is in an index at a time: its moments, what is kept of them, and which are nearest to a question."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from retrieval.errors import UserError
from retrieval.heads import Head
from retrieval.heads.mean import cosine
from retrieval.search import nearest
from retrieval.search.moments import Filters, Moments
from retrieval.search.rows import FileRow, file_key
from retrieval.search.storage import Storage


class Contents:
    """The moments of an index at a time, read when they are asked for.

    Args:
        storage: the index.
        ann: whether LanceDB's vector index answers; None: where there is one, and from a million moments on.
        probes: partitions of it that are looked through; None: all.

    Attributes:
        files: what is known of each file, by path.
    """

    def __init__(self, storage: Storage, ann: bool | None, probes: int | None) -> None:
        self.storage, self.ann, self.probes = storage, ann, probes
        self.files = storage.file_rows()

    @cached_property
    def moments(self) -> Moments:
        """All moments of files that have not vanished, in the order of paths and time."""
        columns, files, place, order = self._rows
        start, end, within = (columns[name].to_numpy()[order] for name in ("start", "end", "number"))
        return Moments(files, place[order], within, start, end)

    @cached_property
    def kept(self) -> Float[Tensor, "moment ..."]:
        """What the head keeps of each of them."""
        columns, _, place, order = self._rows
        places = np.full(len(place), -1)
        places[order] = np.arange(len(order))
        return self.storage.vectors(places, self.storage.about.shape, columns["version"])

    @cached_property
    def _rows(self) -> tuple[dict[str, Any], list[FileRow], np.ndarray, np.ndarray]:
        """Columns of all rows, the files that have moments, which of them each row is of, and the rows in order.

        Rows of files that have vanished, or that were written of a file as it is not listed, are left out.
        """
        columns = self.storage.columns(("path", "number", "start", "end", "size", "modified"))
        files = [row for row in self.files.values() if row.moments and not row.vanished]
        place = _places(columns, files)
        order = np.lexsort((columns["number"].to_numpy(), place))[np.count_nonzero(place < 0) :]
        return columns, files, place, order

    @cached_property
    def _indexed(self) -> Any:
        """The table of moments with its vector index, which is made where there is none."""
        self.storage.index_vectors()
        return self.storage.moments

    @cached_property
    def _has_index(self) -> bool:
        return nearest.is_built(self.storage.moments)

    def exact(self, head: Head) -> nearest.Exact:
        """Scores by the head's own similarity, over all that is kept in memory."""
        if self._exact is None or self._exact.similarity is not head.similarity:
            self._exact = nearest.Exact.of(self.kept, head.similarity)
        return self._exact

    _exact: nearest.Exact | None = None

    def nearest(self, kept: Float[Tensor, "query ..."], top: int, filters: Filters, head: Head) -> nearest.Best:
        """For each query the `top` best of the moments that the filters let through."""
        files = self.moments.allowed(filters)
        if self.uses_index(len(self.moments), head):
            found = [self._by_index(each, top, files) for each in kept]
        else:
            allowed = None if files.all() else torch.from_numpy(files[self.moments.file])
            found = self.exact(head).best(kept, top, allowed)
        low = -torch.inf if filters.min_score is None else filters.min_score
        return [[(score, number) for score, number in each if score >= low] for each in found]

    def uses_index(self, moments: int, head: Head) -> bool:
        """Whether the vector index answers when there are as many moments.

        Raises:
            UserError: it should, but what the head keeps is compared in another way than by a cosine.
        """
        is_cosine = head.similarity is cosine
        if self.ann and not is_cosine:
            raise UserError(
                f"ann=true: the head {type(head).__name__} compares moments in a way of its own, which no vector index "
                "knows: leave ann out"
            )
        if not is_cosine or not moments:
            return False
        return moments > nearest.MOST or self._has_index if self.ann is None else self.ann

    def _by_index(self, kept: Float[Tensor, " dim"], top: int, files: np.ndarray) -> list[tuple[float, int]]:
        """The best that the vector index finds, their scores to the digit."""
        found = nearest.indexed(self._indexed, kept, top, self.probes, self._condition(files))
        there = [
            (place, kept) for file, within, kept in found if (place := self.moments.find(file, within)) is not None
        ]
        if not there:
            return []
        there.sort(key=lambda each: each[0])
        scores = nearest.Exact.of(torch.stack([vector for _, vector in there]), cosine).scores(kept[None])[0]
        return nearest.ordered(scores, torch.tensor([place for place, _ in there]), top)

    def _condition(self, files: np.ndarray) -> str | None:
        """What rows of the allowed files meet: they are named, or all others are."""
        paths = [row.path for row in self.moments.files]
        inside = [paths[place] for place in np.flatnonzero(files)]
        outside = [paths[place] for place in np.flatnonzero(~files)]
        outside += [row.path for row in self.files.values() if row.vanished and row.moments]
        named, word = (outside, "NOT IN") if len(outside) <= len(inside) else (inside, "IN")
        if not named:
            return None if word == "NOT IN" else "false"
        keys = ", ".join(f"'{file_key(path)}'" for path in named)
        return f"file {word} ({keys})"


def _places(columns: Mapping[str, Any], files: Sequence[FileRow]) -> np.ndarray:
    """The file of each row, by its place among `files`; -1: none of them, or as it was at another time."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not files:
        return np.full(len(columns["path"]), -1)
    found = pc.index_in(columns["path"], pa.array([row.path for row in files]))
    place = pc.fill_null(found, -1).to_numpy().astype(np.int64)
    size, modified = (np.array([getattr(row, name) for row in files])[place] for name in ("size", "modified"))
    same = (columns["size"].to_numpy() == size) & (columns["modified"].to_numpy() == modified)
    return np.where((place >= 0) & same, place, -1)
