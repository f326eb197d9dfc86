"""The rows of an index: of its moments and of its files, and the tables that LanceDB is given."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor


@dataclass(frozen=True)
class FileRow:
    """What an index knows of a file.

    Attributes:
        path: absolute, as it was walked.
        size, modified: when it was read.
        seconds: that it lasts.
        moments: how many are in the index.
        error: why none are, or why some are not; None: all are.
        vanished: whether it was not there any more at the last walk.
    """

    path: str
    size: int
    modified: float
    seconds: float = 0.0
    moments: int = 0
    error: str | None = None
    vanished: bool = False

    @property
    def signature(self) -> tuple[int, float]:
        return self.size, self.modified


@dataclass(frozen=True)
class MomentRows:
    """The moments of a file that was read: numbers within it, seconds, what the head keeps, and pictures."""

    file: FileRow
    numbers: Sequence[int]
    starts: Sequence[float]
    ends: Sequence[float]
    kept: Tensor | None
    thumbnails: Sequence[bytes]


def file_key(path: str) -> str:
    """A file's name in conditions, which needs no quoting."""
    return hashlib.sha256(path.encode()).hexdigest()[:32]


def moment_schema(numbers: int) -> Any:
    import pyarrow as pa

    columns = {
        "file": pa.string(),
        "number": pa.int32(),
        "path": pa.string(),
        "start": pa.float64(),
        "end": pa.float64(),
        "size": pa.int64(),
        "modified": pa.float64(),
        "model": pa.string(),
        "vector": pa.list_(pa.float32(), numbers),
        "thumbnail": pa.binary(),
    }
    return pa.schema([pa.field(name, kind) for name, kind in columns.items()])


def file_schema() -> Any:
    import pyarrow as pa

    columns = {
        "file": pa.string(),
        "path": pa.string(),
        "size": pa.int64(),
        "modified": pa.float64(),
        "seconds": pa.float64(),
        "moments": pa.int64(),
        "error": pa.string(),
        "vanished": pa.bool_(),
    }
    return pa.schema([pa.field(name, kind) for name, kind in columns.items()])


def moment_table(files: Sequence[MomentRows], schema: Any, model: str) -> Any:
    import pyarrow as pa

    whole = [each for each in files if each.kept is not None and len(each.numbers)]
    if not whole:
        return schema.empty_table()
    kept = np.concatenate([each.kept.flatten(1).numpy() for each in whole if each.kept is not None])
    rows = [(each.file, index) for each in whole for index in range(len(each.numbers))]
    columns: dict[str, Any] = {
        "file": [key for each in whole for key in [file_key(each.file.path)] * len(each.numbers)],
        "number": [number for each in whole for number in each.numbers],
        "path": [file.path for file, _ in rows],
        "start": [start for each in whole for start in each.starts],
        "end": [end for each in whole for end in each.ends],
        "size": [file.size for file, _ in rows],
        "modified": [file.modified for file, _ in rows],
        "model": [model] * len(rows),
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(kept.ravel()), kept.shape[1]),
        "thumbnail": [picture for each in whole for picture in each.thumbnails],
    }
    return pa.table(columns, schema=schema)
