"""Opening a store's LMDB, which a damaged file may not turn into the end of the process.

LMDB maps its file and trusts it: what lies beyond the file's end kills whoever reads it (SIGBUS). So the length is
compared with LMDB's own count of pages before anything is mapped. LMDB's two meta pages alternate, the one with the
higher transaction number counts (`MDB_meta` in LMDB's mdb.c).
"""

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, NamedTuple

import lmdb

from retrieval.errors import UserError

MAP_SIZE = 2**42  # address space, not disk: the file grows with what is written
MAGIC, VERSION = 0xBEEFC0DE, 1
META = struct.Struct("=16x II 16x I 92x QQ")  # magic, version, page size, last page, transaction
PAGE_SIZES = [2**power for power in range(9, 16)]
PREPARE = "run python -m retrieval.prepare"


class DamagedStoreError(UserError):
    """A store that LMDB must not be given; `prepare` mends it."""


@lru_cache(maxsize=8)
def environment(folder: str) -> lmdb.Environment:
    """The store opened for reading, once in each process; it needs no lock file, so that its disk may be read-only.

    Raises:
        DamagedStoreError: it is shorter than its pages, or no LMDB at all.
        UserError: it is not there, or cannot be opened.
    """
    check_length(folder)
    with _our_errors(folder, "cannot be read"):
        return lmdb.open(folder, readonly=True, lock=False, readahead=False, map_size=MAP_SIZE)


os.register_at_fork(after_in_child=environment.cache_clear)  # LMDB's handles do not survive a fork


@contextmanager
def writable(folder: str) -> Iterator[lmdb.Environment]:
    """The store opened for writing; made where it is missing.

    Raises:
        DamagedStoreError: it is shorter than its pages, or no LMDB at all.
        UserError: it cannot be opened, as on a read-only disk.
    """
    if file_of(folder).is_file():
        check_length(folder)
    with _our_errors(folder, "cannot be written"):
        database = lmdb.open(folder, map_size=MAP_SIZE)
    with database:
        yield database


def file_of(folder: str) -> Path:
    """Where LMDB keeps its pages."""
    return Path(folder, "data.mdb")


def check_length(folder: str) -> None:
    """Raise DamagedStoreError for a file that is shorter than its pages, or whose meta pages cannot be read."""
    with _our_errors(folder, "cannot be read"):
        length, expected = file_of(folder).stat().st_size, expected_length(folder)
    if length < expected:
        raise DamagedStoreError(
            f"data.store.folder={folder} is damaged: data.mdb has {length} of its {expected} bytes; {PREPARE}, which "
            "stores all anew"
        )


def lengthen(folder: str) -> None:
    """Fill a file up to its count of pages, after each transaction.

    LMDB counts pages at the end that a transaction took and gave back, but does not write them.
    """
    expected = expected_length(folder)
    if file_of(folder).stat().st_size < expected:
        os.truncate(file_of(folder), expected)


def expected_length(folder: str) -> int:
    """Bytes that the pages of a store take.

    Raises:
        DamagedStoreError: meta pages that are none.
    """
    with file_of(folder).open("rb") as file:
        one = _meta(file)
        other = one and _meta(file, one.page_size)
    if one is None or other is None or one.page_size != other.page_size:
        raise DamagedStoreError(
            f"data.store.folder={folder} is damaged: data.mdb does not begin as LMDB's files do; {PREPARE}, which "
            "stores all anew"
        )
    return one.page_size * (1 + max(one, other, key=lambda meta: meta.transaction).last_page)


class _Meta(NamedTuple):
    page_size: int
    last_page: int
    transaction: int


def _meta(file: BinaryIO, offset: int = 0) -> _Meta | None:
    """The meta page that lies there; None where it is none."""
    file.seek(offset)
    page = file.read(META.size)
    if len(page) < META.size:
        return None
    magic, version, *numbers = META.unpack(page)
    meta = _Meta(*numbers)
    return meta if (magic, version) == (MAGIC, VERSION) and meta.page_size in PAGE_SIZES and meta.last_page else None


@contextmanager
def _our_errors(folder: str, what: str) -> Iterator[None]:
    try:
        yield
    except (lmdb.Error, OSError) as error:
        raise UserError(f"data.store.folder={folder} {what}: {error}") from error
