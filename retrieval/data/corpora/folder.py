"""Any folder of videos with a table of captions: a CSV or JSON Lines file of `video` and `caption`.

Optional columns: `split` (train, val or test; without it every row belongs to test, for zero-shot evaluation), `start`
and `end` (seconds). A row is one caption; rows of the same video, start and end are captions of the same record.
"""

import os
import reprlib
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

from retrieval.data.corpora.base import SPLITS, Corpus, Record, check_choice, check_split, tell_counts
from retrieval.data.corpora.tables import Row, check_text, read_csv, read_json_lines
from retrieval.errors import UserError

_REQUIRED = ("video", "caption")
_READERS = {".csv": read_csv, ".jsonl": read_json_lines}


class Folder(Corpus):
    """The videos under `root` that the table `captions` names.

    Args:
        root: the folder that the table's `video` paths are relative to.
        captions: the table, a .csv or .jsonl file; absolute, or relative to `root`.
        outside_root: whether the table may name files outside of `root`: "refuse" or "allow".

    Attributes:
        splits: those that the table has rows of.

    Raises:
        UserError: another `outside_root`.
    """

    def __init__(self, root: str | Path, captions: str | Path, outside_root: str = "refuse") -> None:
        check_choice("outside_root", outside_root, ("refuse", "allow"))
        self.root = Path(root)
        self.captions = self.root / captions
        self.outside_root = outside_root

    @cached_property
    def splits(self) -> tuple[str, ...]:  # type: ignore[override]  # read with the table, when first asked for
        return tuple(split for split in SPLITS if any(row["split"] == split for row in self._rows))

    @cached_property
    def _rows(self) -> list[Row]:
        if not self.root.is_dir():
            raise UserError(f"data.root={self.root}: no such folder; give the folder of the videos")
        rows = read_rows(self.captions)
        if self.outside_root == "refuse":
            for number, row in enumerate(rows, 1):
                if not is_inside(self.root, row["video"]):
                    raise UserError(
                        f"{self.captions}, row {number}: video {row['video']} is outside of data.root={self.root}; "
                        "data.outside_root=allow reads such files"
                    )
        return rows

    def records(self, split: str) -> list[Record]:
        check_split(split)
        rows = [row for row in self._rows if row["split"] == split]
        if not rows:
            raise UserError(
                f"{self.captions} has no rows for the split {split!r}: add a column 'split' with train, val or test "
                "(rows without it belong to test)"
            )
        records = self._group(rows)
        tell_counts(f"{self.captions}, {split}: {len(rows):,} of {len(self._rows):,} rows", records)
        return records

    def _group(self, rows: list[Row]) -> list[Record]:
        captions: dict[tuple[str, float | None, float | None], list[str]] = {}
        for row in rows:
            captions.setdefault((row["video"], row["start"], row["end"]), []).append(row["caption"])
        return [
            Record(_video_id(video, start, end), self.root / video, tuple(texts), start, end)
            for (video, start, end), texts in captions.items()
        ]


def is_inside(root: Path, name: str) -> bool:
    """Whether a file that a table names lies in `root`.

    By its name alone, so that symbolic links in one's own folder lead where they lead; but behind `..`, which may go
    back over such a link, by where the file really is.
    """
    if ".." in Path(name).parts:
        return Path(os.path.realpath(root / name)).is_relative_to(os.path.realpath(root))
    return Path(os.path.abspath(root / name)).is_relative_to(os.path.abspath(root))


def read_rows(path: Path) -> list[Row]:
    """The checked rows of a table of captions, with their split, and with `start` and `end` as seconds or None.

    Raises:
        UserError: no such file; the message lists the tables that lie beside it.
        UserError: an unknown ending, an empty table, a missing column, an empty or impossible value.
    """
    if not path.is_file():
        beside = sorted(file.name for ending in _READERS for file in path.parent.glob(f"*{ending}"))
        raise UserError(f"data.captions={path}: no such file; tables there: {', '.join(beside) or 'none'}")
    if path.suffix not in _READERS:
        raise UserError(f"data.captions={path}: unknown ending {path.suffix!r}; choose one of {', '.join(_READERS)}")
    rows = [_check_row(row, where) for where, row in _READERS[path.suffix](path)]
    if not rows:
        raise UserError(f"data.captions={path} is empty: it needs a row of {', '.join(_REQUIRED)} per caption")
    return rows


def _check_row(row: Row, where: str) -> Row:
    for column in _REQUIRED:
        if column not in row:
            raise UserError(f"{where}: no column {column!r}; found: {_listed(row)}")
        check_text(row[column], f"{where}: {column}")
    if not row["video"].isprintable():
        raise UserError(f"{where}: video is {row['video'][:80]!r}, not the name of a file")
    split = row.get("split")
    if split not in (None, "", *SPLITS):
        raise UserError(f"{where}: unknown split {reprlib.repr(split)}: choose one of {', '.join(SPLITS)}")
    start, end = _seconds(row, "start", where), _seconds(row, "end", where)
    if end is not None and end <= (start or 0.0):
        raise UserError(f"{where}: end={end} s is not after start={start or 0.0} s")
    return {"video": row["video"], "caption": row["caption"], "split": split or "test", "start": start, "end": end}


def _listed(columns: Iterable[str]) -> str:
    return ", ".join(columns)[:200] or "none"


def _seconds(row: Row, column: str, where: str) -> float | None:
    value = row.get(column)
    if value is None or value == "":
        return None
    try:
        seconds = -1.0 if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise UserError(f"{where}: {column} is {reprlib.repr(value)}, not a time in seconds")
    return seconds


def _video_id(video: str, start: float | None, end: float | None) -> str:
    if start is None and end is None:
        return video
    return f"{video}[{start or 0:.15g}-{'' if end is None else f'{end:.15g}'}]"
