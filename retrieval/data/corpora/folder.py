"""Any folder of videos with a table of captions: a CSV or JSON Lines file of `video` and `caption`.

Optional columns: `split` (train, val or test; without it every row belongs to test, for zero-shot evaluation), `start`
and `end` (seconds). A row is one caption; rows of the same video, start and end are captions of the same record.
"""

import csv
import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from retrieval.data.corpora.base import SPLITS, Corpus, Record, check_split
from retrieval.errors import UserError

Row = dict[str, Any]
_REQUIRED = ("video", "caption")


class Folder(Corpus):
    """The videos under `root` that the table `captions` names.

    Args:
        root: the folder that the table's `video` paths are relative to.
        captions: the table, a .csv or .jsonl file; absolute, or relative to `root`.

    Attributes:
        splits: those that the table has rows of.
    """

    def __init__(self, root: str | Path, captions: str | Path) -> None:
        self.root = Path(root)
        self.captions = self.root / captions

    @cached_property
    def splits(self) -> tuple[str, ...]:  # type: ignore[override]  # read with the table, when first asked for
        return tuple(split for split in SPLITS if any(_split(row) == split for row in self._rows))

    @cached_property
    def _rows(self) -> list[Row]:
        if not self.root.is_dir():
            raise UserError(f"data.root={self.root}: no such folder; give the folder of the videos")
        return read_rows(self.captions)

    def records(self, split: str) -> list[Record]:
        check_split(split)
        rows = [row for row in self._rows if _split(row) == split]
        if not rows:
            raise UserError(
                f"{self.captions} has no rows for the split {split!r}: add a column 'split' with train, val or test "
                "(rows without it belong to test)"
            )
        return self._group(rows)

    def _group(self, rows: list[Row]) -> list[Record]:
        captions: dict[tuple[str, float | None, float | None], list[str]] = {}
        for row in rows:
            captions.setdefault((row["video"], row["start"], row["end"]), []).append(row["caption"])
        return [
            Record(_video_id(video, start, end), self.root / video, tuple(texts), start, end)
            for (video, start, end), texts in captions.items()
        ]


def read_rows(path: Path) -> list[Row]:
    """The checked rows of a table of captions, with `start` and `end` as seconds or None.

    Raises:
        UserError: no such file; the message lists the tables that lie beside it.
        UserError: an unknown ending, an empty table, a missing column, an empty or impossible value.
    """
    if not path.is_file():
        beside = sorted(file.name for ending in ("*.csv", "*.jsonl") for file in path.parent.glob(ending))
        raise UserError(f"data.captions={path}: no such file; tables there: {', '.join(beside) or 'none'}")
    readers = {".csv": _read_csv, ".jsonl": _read_json_lines}
    if path.suffix not in readers:
        raise UserError(f"data.captions={path}: unknown ending {path.suffix!r}; choose one of {', '.join(readers)}")
    try:
        rows = [_check_row(row, f"{path}, row {number}") for number, row in enumerate(readers[path.suffix](path), 1)]
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no UTF-8 text: {error}") from error
    if not rows:
        raise UserError(f"data.captions={path} is empty: it needs a row of {', '.join(_REQUIRED)} per caption")
    return rows


def _read_csv(path: Path) -> Iterator[Row]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        yield from csv.DictReader(file)


def _read_json_lines(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise UserError(f"{path}, line {number} is no JSON: {error}") from error
            if not isinstance(row, dict):
                raise UserError(f"{path}, line {number} is no JSON object: {line.strip()[:80]}")
            yield row


def _check_row(row: dict[Any, Any], where: str) -> Row:
    if None in row:  # what csv calls the cells beyond the last column
        raise UserError(f"{where} has more cells than columns: put captions with commas in quotes")
    for column in _REQUIRED:
        if column not in row:
            raise UserError(f"{where}: no column {column!r}; found: {', '.join(map(str, row)) or 'none'}")
        if not isinstance(row[column], str) or not row[column].strip():
            raise UserError(f"{where}: {column} is {row[column]!r}, not a text")
    if row.get("split"):
        try:
            check_split(row["split"])
        except UserError as error:
            raise UserError(f"{where}: {error}") from error
    start, end = _seconds(row, "start", where), _seconds(row, "end", where)
    if end is not None and end <= (start or 0.0):
        raise UserError(f"{where}: end={end} s is not after start={start or 0.0} s")
    return row | {"start": start, "end": end}


def _split(row: Row) -> str:
    return row.get("split") or "test"


def _seconds(row: Row, column: str, where: str) -> float | None:
    value = row.get(column)
    if value is None or value == "":
        return None
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise UserError(f"{where}: {column} is {value!r}, not a time in seconds")
    return seconds


def _video_id(video: str, start: float | None, end: float | None) -> str:
    if start is None and end is None:
        return video
    return f"{video}[{start or 0:g}-{'' if end is None else f'{end:g}'}]"
