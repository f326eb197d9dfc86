"""The way of files into an index: what is new or has changed is encoded and written, what has gone is marked."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

from retrieval.data.loading import check_workers
from retrieval.errors import UserError
from retrieval.jobs.locks import lock
from retrieval.search.encoder import Encoder
from retrieval.search.encoding import Shard, Tell, encode_shards, into_shards
from retrieval.search.lance import is_folder
from retrieval.search.progress import Progress
from retrieval.search.reading import Reading
from retrieval.search.rows import FileRow, MomentRows
from retrieval.search.storage import Storage
from retrieval.search.walking import Walk

SHARD = 16  # files that are written together
TIDY = 500  # shards after which the pieces that they were written in are put together

Engine = Callable[[Encoder, Sequence[Shard], Reading, Tell], Iterator[list[MomentRows]]]
"""What encodes shards, in any order: this machine (`encode_shards`), or many."""
_log = logging.getLogger(__name__)


@dataclass
class Summary:
    """What came of adding files.

    Attributes:
        found: videos that are there.
        unchanged: of them, in the index already.
        added, replaced: videos that were encoded, as new ones and because they had changed.
        moments: that these have.
        hours: of video that these last.
        vanished: videos in the index that are not there any more.
        pruned: of them, removed from the index.
        broken: by path, why a video or a part of it is not in the index.
        not_seen: folders that could not be listed, and files that have no name that can be written, as messages.
    """

    found: int = 0
    unchanged: int = 0
    added: int = 0
    replaced: int = 0
    moments: int = 0
    hours: float = 0.0
    vanished: int = 0
    pruned: int = 0
    broken: dict[str, str] = field(default_factory=dict)
    not_seen: list[str] = field(default_factory=list)


def exclusively(address: str) -> AbstractContextManager[None]:
    """Keep other jobs that write out of an index; an object store has no lock, there it is the user's to see to.

    Raises:
        UserError: another process writes there; it is told who, where and since when.
    """
    return lock(Path(address), "index job", "index=<folder> writes elsewhere") if is_folder(address) else nullcontext()


def add(
    storage: Storage, encoder: Encoder, found: Walk, reading: Reading, prune: bool, engine: Engine = encode_shards
) -> Summary:
    """Bring an index up to date with what was found.

    Killed at any moment it can be called again, and does only what was not written: of each worker a shard at most.

    Args:
        storage: the index.
        encoder: its model.
        found: the files; those under the same folders that are not among them have vanished.
        reading: how they are read.
        prune: remove what has vanished, instead of marking it.
        engine: what reads and encodes.

    Raises:
        UserError: another job writes there, or the disk is full.
    """
    with exclusively(storage.address):
        storage.refresh()
        known = storage.file_rows()
        lost = storage.delete_unfinished(known)
        if lost:
            _log.info("%d videos were being written when an earlier job was killed: they are read again", len(lost))
            known = {path: row for path, row in known.items() if path not in set(lost)}
        summary = _account(storage, known, found, prune)
        todo = [file for file in found.files.values() if not _is_done(file.signature, known.get(file.path))]
        shards, progress = into_shards(todo, SHARD), Progress(todo)
        with progress:
            for number, rows in enumerate(engine(encoder, shards, reading, progress.tell), 1):
                storage.write(rows, known)
                _count(summary, rows, known)
                if number % TIDY == 0:
                    storage.tidy(always=True)
        storage.tidy(always=bool(summary.replaced or summary.pruned or lost))
        return summary


def _is_done(signature: tuple[int, float], row: FileRow | None) -> bool:
    """Whether a file is as it was when it was read, with success or without."""
    return row is not None and row.signature == signature


def _account(storage: Storage, known: dict[str, FileRow], found: Walk, prune: bool) -> Summary:
    """Mark or remove what has vanished, and unmark what is there again."""
    summary = Summary(found=len(found.files))
    gone = [row for path, row in known.items() if path not in found.files and found.covers(path)]
    back = [row for path, row in known.items() if row.vanished and path in found.files]
    summary.vanished = len(gone)
    storage.put_files([replace(row, vanished=True) for row in gone if not row.vanished])
    storage.put_files([replace(row, vanished=False) for row in back])
    if prune:
        storage.delete([row.path for row in gone])
        summary.pruned = len(gone)
    unchanged = [known[path] for path, file in found.files.items() if _is_done(file.signature, known.get(path))]
    summary.unchanged = len(unchanged)
    summary.broken = {row.path: row.error for row in unchanged if row.error}
    summary.not_seen = [f"{folder}: {cause}" for folder, cause in found.unread.items()] + found.unnamed
    return summary


def _count(summary: Summary, rows: Sequence[MomentRows], known: dict[str, FileRow]) -> None:
    for each in rows:
        summary.replaced += each.file.path in known
        summary.added += each.file.path not in known
        summary.moments += each.file.moments
        summary.hours += each.file.seconds / 3600
        if each.file.error:
            summary.broken[each.file.path] = each.file.error


def check_adding(at_once: int, workers: int | str) -> None:
    """Raise UserError for numbers with which nothing can be read."""
    if at_once < 1:
        raise UserError(f"batch_size={at_once}, must be at least 1")
    check_workers(workers)
