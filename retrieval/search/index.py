"""An index of videos: their moments, what a model keeps of each, and which are nearest to a question."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from retrieval.data.decoder import open_decord, video_opener
from retrieval.data.decoder.guarded import Open
from retrieval.data.loading import worker_count
from retrieval.data.notes import Remembering
from retrieval.errors import UserError
from retrieval.search.about import About
from retrieval.search.adding import Engine, Summary, add, check_adding, exclusively
from retrieval.search.contents import Contents
from retrieval.search.cutting import Cut
from retrieval.search.encoder import Encoder, located
from retrieval.search.encoding import encode_shards
from retrieval.search.lance import is_folder
from retrieval.search.moments import Filters, Moment, Moments
from retrieval.search.questions import PICTURES
from retrieval.search.reading import Reading, read_part
from retrieval.search.rows import FileRow
from retrieval.search.storage import Storage
from retrieval.search.walking import walk

if TYPE_CHECKING:
    from retrieval.search.answers import Answer

ALL = Filters()
CHECK, DEADLINE = "header", 300.0
"""How far files are trusted, and seconds after which a decoder that hangs is killed, as conf/index.yaml has them."""


class Index:
    """Moments of videos with what a model keeps of each of them.

    `Index.create("films.index", "best.ckpt").add(["/films"])` makes one, `Index.open("films.index").search("a man rides
    a bike")` asks it. What others add meanwhile is seen after `refresh()`.

    Args:
        storage: its tables.
        encoder: its model; None: the one that it remembers is loaded when it is needed.
        ann: whether LanceDB's vector index answers; None: where there is one, and from a million moments on.
        probes: partitions of the vector index that are looked through for a question; None: all, which finds what a
            product finds; fewer are faster and miss some.

    Raises:
        UserError: what the index tells of itself is damaged, or another model than its own is given.
    """

    def __init__(
        self, storage: Storage, encoder: Encoder | None = None, ann: bool | None = None, probes: int | None = None
    ) -> None:
        self.storage, self.ann, self.probes = storage, ann, probes
        if encoder is not None:
            encoder.check(storage.about.model, storage.address)
        self._encoder = encoder
        self.refresh()

    @classmethod
    def open(
        cls,
        path: str | PathLike[str],
        model: Encoder | str | PathLike[str] | None = None,
        ann: bool | None = None,
        probes: int | None = None,
    ) -> "Index":
        """The index at `path`.

        Args:
            path: a folder, or an object store's address as LanceDB takes it.
            model: an encoder, or the weights that the index was made with where they have moved to; None: those that it
                remembers are loaded with the first question.
            ann, probes: see the class.

        Raises:
            UserError: no index there, a damaged one, or another model than the index was made with.
        """
        storage = Storage(_address(path))
        if model is not None and not isinstance(model, Encoder):
            moved = replace(storage.about.model, weights=located(fspath(model)))
            model = Encoder.remembered(moved, storage.address)
        return cls(storage, model, ann, probes)

    @classmethod
    def create(cls, path: str | PathLike[str], model: Encoder | str | PathLike[str], cut: Cut | None = None) -> "Index":
        """A new, empty index.

        Args:
            path: a folder, or an object store's address as LanceDB takes it.
            model: an encoder, or weights: a checkpoint, or open_clip's name of some.
            cut: how videos are cut into moments.

        Raises:
            UserError: there is an index already, or the model cannot be loaded.
        """
        encoder = model if isinstance(model, Encoder) else Encoder.load(model)
        size = encoder.model.image_size
        shape = tuple(encoder.videos(torch.zeros(1, encoder.frames, 3, size, size, dtype=torch.uint8)).shape[1:])
        about = About(encoder.description, cut or Cut(), shape)
        with exclusively(_address(path)):
            if cls.exists(path):
                raise UserError(f"index={fspath(path)}: there is an index already; Index.open opens it")
            return cls(Storage.create(_address(path), about), encoder)

    @staticmethod
    def exists(path: str | PathLike[str]) -> bool:
        """Whether there is an index, whole or damaged."""
        return Storage.exists(_address(path))

    @property
    def encoder(self) -> Encoder:
        """Its model.

        Raises:
            UserError: it is not where it was, or is another one by now.
        """
        if self._encoder is None:
            self._encoder = Encoder.remembered(self.storage.about.model, self.storage.address)
        return self._encoder

    def refresh(self) -> None:
        """See what has been written since the index was opened."""
        self._contents = Contents(self.storage, self.ann, self.probes)

    @property
    def files(self) -> dict[str, FileRow]:
        """What is known of each file by path, of those that have vanished and those that cannot be read as well."""
        return self._contents.files

    @property
    def broken(self) -> dict[str, str]:
        """Files that are not in the index, or of which a part is not, by path with the cause."""
        return {path: row.error for path, row in self.files.items() if row.error and not row.vanished}

    @property
    def moments(self) -> Moments:
        """All moments of files that have not vanished, in the order of paths and time."""
        return self._contents.moments

    @property
    def vectors(self) -> Float[Tensor, "moment ..."]:
        """What the head keeps of each moment, in memory from the first call on."""
        return self._contents.kept

    def add(
        self,
        paths: str | PathLike[str] | Iterable[str | PathLike[str]],
        prune: bool = False,
        batch_size: int = 16,
        workers: int | str = 2,
        open: Open | None = None,
        engine: Engine = encode_shards,
    ) -> Summary:
        """Bring the index up to date with folders of videos and single ones; may be killed and called again.

        Args:
            paths: folders, with all that is in them, and files.
            prune: remove videos that are not there any more, instead of marking them.
            batch_size: moments that are read and encoded at a time.
            workers: processes that read videos; 0: this one; "auto": a core each.
            open: what opens a video; None: decord, which is killed after five minutes.
            engine: what reads and encodes.

        Raises:
            UserError: no such folder or no video in it, another job that writes to the index, or a full disk.
        """
        check_adding(batch_size, workers)
        listed = [paths] if isinstance(paths, str | PathLike) else list(paths)
        opener = open or Remembering(video_opener(open_decord, self.encoder.short_side, CHECK, DEADLINE), CHECK)
        reading = Reading(self.encoder.reader(opener), self.storage.about.cut, batch_size, worker_count(workers))
        summary = add(self.storage, self.encoder, walk(listed), reading, prune, engine)
        if self._contents.uses_index(self.storage.count(), self.encoder.model.head):
            self.storage.index_vectors()
        self.refresh()
        return summary

    def search(self, query: str, top: int = 10, filters: Filters = ALL) -> "list[Answer]":
        """The best answers to a query in words, overlapping moments of a video merged into one."""
        from retrieval.search.answers import answers

        return answers(self, self.encode_text([query]), top, filters)[0]

    def scores(self, kept: Float[Tensor, "query ..."]) -> Float[Tensor, "query moment"]:
        """The head's similarity of what was kept of queries with all moments, to the digit as evaluation has it."""
        return self._contents.exact(self.encoder.model.head).scores(kept)

    def nearest(
        self, kept: Float[Tensor, "query ..."], top: int, filters: Filters = ALL
    ) -> list[list[tuple[float, Moment]]]:
        """For each query the `top` best moments with their scores, best first, of equal ones the earlier in `moments`.

        Raises:
            UserError: a vector index is wanted, but the head keeps more than a vector.
        """
        contents = self._contents
        found = contents.nearest(kept, top, filters, self.encoder.model.head)
        return [[(score, contents.moments[number]) for score, number in each] for each in found]

    def encode_text(self, queries: Sequence[str]) -> Float[Tensor, "query ..."]:
        """What the head keeps of these queries."""
        return self.encoder.texts(queries)

    def encode_frames(
        self, path: str | PathLike[str], start: float | None = None, end: float | None = None, open: Open | None = None
    ) -> Float[Tensor, "1 ..."]:
        """What the head keeps of a video, or of a part of it, to look for what is like it.

        Args:
            path: the file.
            start, end: in seconds; None: from its beginning, to its end.
            open: what opens it; None: decord, which is killed after five minutes.

        Raises:
            VideoError: it cannot be read, or does not have this part.
        """
        return self.encoder.videos(self.frames(path, start, end, open)[None])

    def frames(
        self, path: str | PathLike[str], start: float | None = None, end: float | None = None, open: Open | None = None
    ) -> UInt8[Tensor, "frame 3 size size"]:
        """What the model is shown of a video, or of a part of it; see `encode_frames`."""
        opener = open or video_opener(open_decord, self.encoder.short_side, CHECK, DEADLINE)
        return read_part(Path(path), self.encoder.reader(opener), start, end)[0]

    def encode_image(self, path: str | PathLike[str]) -> Float[Tensor, "1 ..."]:
        """What the head keeps of a picture, as of a video that stands still.

        Raises:
            UserError: it cannot be read.
        """
        try:
            with Image.open(path, formats=PICTURES) as picture:
                upright = ImageOps.exif_transpose(picture).convert("RGB")
            pixels = torch.from_numpy(np.array(upright)).permute(2, 0, 1)
        except (UnidentifiedImageError, Image.DecompressionBombError, OSError) as error:
            raise UserError(f"{fspath(path)}: not a picture that can be read ({error})") from error
        frame = self.encoder.reader(open_decord).transform(pixels[None])
        return self.encoder.videos(frame.expand(self.encoder.frames, -1, -1, -1)[None])

    def thumbnails(self, moments: Sequence[Moment]) -> list[bytes]:
        """A small JPEG of each of these moments; an empty one where the index has changed and it is gone."""
        return self.storage.thumbnails([(moment.path, moment.start) for moment in moments])


def _address(path: str | PathLike[str]) -> str:
    address = fspath(path)
    return str(Path(address).expanduser().absolute()) if is_folder(address) else address
