"""What `prepare` finds in a store before it writes: whole videos, damaged ones, or no store that could be kept."""

import multiprocessing
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import lmdb
from rich.progress import track

from retrieval.data.store.database import DamagedStoreError, file_of, writable
from retrieval.data.store.entries import DamagedValueError, Entry, get_entry, get_frame
from retrieval.data.store.frames import FrameStore
from retrieval.errors import UserError
from retrieval.orphans import end_with_parent

FORK = multiprocessing.get_context("fork")
CRASHES = (signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV)
"""What ends a process that LMDB lets read a damaged page; any other end says nothing of the store."""


@dataclass
class Examined:
    """A store that can be written to.

    Attributes:
        whole: the videos that are whole in it, and whose files have not changed since. What could not be read is not
            among them: it is tried again, for a knob or the machine may have been to blame.
        damage: what was found, in words; all of it is stored again.
    """

    whole: set[Path] = field(default_factory=set)
    damage: list[str] = field(default_factory=list)


def examine(store: FrameStore, paths: Sequence[Path], check: str) -> Examined:
    """Read all that is stored of the videos; a store that LMDB cannot read is set aside.

    A process of its own reads, because a damaged page can end it: LMDB checks its pages by assertions.

    Args:
        store: the frames.
        paths: of the videos.
        check: with which they would be stored: what was stored with a laxer one is not whole.

    Raises:
        UserError: a store that cannot be written.
        RuntimeError: the process was killed, or has failed with a traceback of its own.
    """
    if not file_of(str(store.folder)).is_file():
        return Examined()
    receiver, sender = FORK.Pipe(duplex=False)
    process = FORK.Process(target=_send_examined, args=(sender, store, paths, check))
    process.start()
    sender.close()
    try:
        examined = receiver.recv()
    except EOFError as error:
        process.join()
        if -(process.exitcode or 0) not in CRASHES:
            raise RuntimeError(f"the process that checks {store.folder} ended with {process.exitcode}") from error
        examined = DamagedStoreError(f"data.store.folder={store.folder} is damaged: LMDB cannot go through its pages")
    process.join()
    if isinstance(examined, DamagedStoreError):
        return Examined(damage=[f"{examined}; all is stored again, {_set_aside(store)} is what there was"])
    if isinstance(examined, UserError):
        raise examined
    return examined


def _send_examined(sender: Connection, store: FrameStore, paths: Sequence[Path], check: str) -> None:
    end_with_parent()  # it would keep the lock of the folder
    try:
        sender.send(_examined(store, paths, check))
    except UserError as error:
        sender.send(error)
    except lmdb.Error as error:
        sender.send(DamagedStoreError(f"data.store.folder={store.folder} is damaged ({error})"))


def _examined(store: FrameStore, paths: Sequence[Path], check: str) -> Examined:
    examined = Examined()
    with writable(str(store.folder)) as database, database.begin(buffers=True) as transaction:
        for _ in transaction.cursor().iternext(values=False):  # goes through all pages of keys
            pass
        for path in track(paths, "Checking frames"):
            try:
                entry = _whole_entry(store, path, transaction)
            except DamagedValueError as error:
                examined.damage.append(f"{path}: damaged in the store {store.folder} ({error}), stored again")
            else:
                if entry is not None and entry.is_of(path) and _is_kept(entry, check):
                    examined.whole.add(path)
    return examined


def _is_kept(entry: Entry, check: str) -> bool:
    """Whether the video would be stored as it is by a `prepare` with this `check`."""
    is_sound = entry.damage is None or check != "full"
    return entry.error is None and (check == "none" or (entry.examined and is_sound))


def _whole_entry(store: FrameStore, path: Path, transaction: lmdb.Transaction) -> Entry | None:
    name = store.name(path)
    entry = get_entry(transaction, name)
    if entry is not None:
        for index in entry.stored:
            get_frame(transaction, entry.key(name, index))
    return entry


def _set_aside(store: FrameStore) -> Path:
    database = file_of(str(store.folder))
    return database.rename(database.with_suffix(".damaged"))
