"""From files to the rows of an index, shard by shard.

A shard is a few files that are written together. The list of shards is made once and does not change, a shard's rows
are a function of its files alone, and writing them twice is as good as once: whoever loses a shard does it again.

Which moments are encoded in one batch does not depend on which worker is the faster: full batches are of one file, and
what is left over of the files of a shard is put together in the order of the files. So a job that was killed and went
on gives the same numbers, to the last bit, as one that was not.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from retrieval.search.cutting import Span
from retrieval.search.encoder import Encoder
from retrieval.search.reading import Piece, Reading, read_moments
from retrieval.search.rows import FileRow, MomentRows
from retrieval.search.walking import Found

Tell = Callable[[Found, Piece], None]
"""Is called with every piece that has been encoded, and its file."""


@dataclass(frozen=True)
class Shard:
    """Files that are written together."""

    number: int
    files: tuple[Found, ...]


def into_shards(files: Sequence[Found], size: int) -> list[Shard]:
    """All files, `size` of them a shard."""
    parts = (tuple(files[first : first + size]) for first in range(0, len(files), size))
    return [Shard(number, part) for number, part in enumerate(parts)]


def encode_shards(
    encoder: Encoder, shards: Sequence[Shard], reading: Reading, tell: Tell | None = None
) -> Iterator[list[MomentRows]]:
    """The rows of each shard, in the order in which the shards are done; read in processes, encoded in this one."""
    order = [(shard, place) for shard in shards for place in range(len(shard.files))]
    begun: dict[int, _Begun] = {}
    for piece in read_moments([shard.files[place].path for shard, place in order], reading):
        shard, place = order[piece.file]
        rows = begun.setdefault(shard.number, _Begun(shard, encoder, reading.at_once))
        rows.take(place, piece)
        if tell is not None:
            tell(shard.files[place], piece)
        if rows.is_whole:
            yield begun.pop(shard.number).finish()


@dataclass
class _File:
    """What has come of a file so far."""

    numbers: list[int] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    thumbnails: list[bytes] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    kept: dict[int, Tensor] = field(default_factory=dict)
    waiting: list[tuple[int, Tensor]] = field(default_factory=list)
    seconds: float = 0.0
    is_whole: bool = False


class _Begun:
    """A shard that is being read."""

    def __init__(self, shard: Shard, encoder: Encoder, at_once: int) -> None:
        self.shard, self.encoder, self.at_once = shard, encoder, at_once
        self.files = [_File() for _ in shard.files]

    @property
    def is_whole(self) -> bool:
        return all(file.is_whole for file in self.files)

    def take(self, place: int, piece: Piece) -> None:
        """Encode a full batch at once; what is less waits for the other files."""
        if piece.is_broken:
            self.files[place] = _File(errors=list(piece.errors), is_whole=True)
            return
        file = self.files[place]
        file.numbers += piece.numbers
        file.spans += piece.spans
        file.thumbnails += piece.thumbnails
        file.errors += piece.errors
        file.seconds += piece.seconds
        file.is_whole = piece.is_last
        if piece.frames is None:
            return
        if len(piece.frames) == self.at_once:
            file.kept |= dict(zip(piece.numbers, self.encoder.videos(piece.frames), strict=True))
        else:
            file.waiting += zip(piece.numbers, piece.frames, strict=True)

    def finish(self) -> list[MomentRows]:
        """Encode what waits, and give out all rows."""
        waiting = [(file, *each) for file in self.files for each in file.waiting]
        for first in range(0, len(waiting), self.at_once):
            batch = waiting[first : first + self.at_once]
            kept = self.encoder.videos(torch.stack([frames for _, _, frames in batch]))
            for (file, number, _), each in zip(batch, kept, strict=True):
                file.kept[number] = each
        return [_rows(found, file) for found, file in zip(self.shard.files, self.files, strict=True)]


def _rows(found: Found, file: _File) -> MomentRows:
    error = file.errors[0] if file.errors else None
    if file.numbers and error:
        error = f"{len(file.errors)} of {len(file.errors) + len(file.numbers)} moments are left out: {error}"
    row = FileRow(found.path, found.size, found.modified, file.seconds, len(file.numbers), error)
    kept = torch.stack([file.kept[number] for number in file.numbers]) if file.numbers else None
    starts, ends = ([span[side] for span in file.spans] for side in (0, 1))
    return MomentRows(row, file.numbers, starts, ends, kept, file.thumbnails)
