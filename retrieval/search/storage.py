"""What an index keeps in LanceDB: a table of moments, a table of files, and a line of plain JSON about both.

The address is a folder or anything else that LanceDB opens (`s3://…`, `gs://…`, `az://…`). A commit is whole or not
there. A shard is two commits, its moments and then its files: moments whose file is not listed as it was then are of a
job that was killed in between. No reader sees them, and the next job deletes them before it does anything else; what
was listed of such a file goes as well, so that it is read again.
"""

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from retrieval.errors import UserError
from retrieval.search.about import About
from retrieval.search.lance import connected, first_line, is_folder, lancedb, names_of_tables, writing
from retrieval.search.nearest import build, is_built
from retrieval.search.rows import FileRow, MomentRows, file_key, file_schema, moment_schema, moment_table

MOMENTS, FILES, ABOUT = "moments", "files", "about"
KEPT = timedelta(hours=1)
"""How long the pieces of replaced versions stay, for who is reading them."""
SCATTERED = 100
"""Small pieces of a table above which they are put together."""
AT_ONCE = 500  # files named in one condition


class Storage:
    """The tables of an index.

    Args:
        address: a folder, or another address of LanceDB's.

    Raises:
        UserError: LanceDB is not installed, or there is no index at this address.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        lancedb()
        if is_folder(address) and not Path(address).is_dir():
            raise UserError(f"index={address}: no such folder; make it with python -m retrieval.index index={address}")
        with self.readable():
            self.database = connected(address)
            self.about = self._read_about()
            self.moments, self.files = (self.database.open_table(name) for name in (MOMENTS, FILES))
            self._check_columns()

    @classmethod
    def exists(cls, address: str) -> bool:
        """Whether there is an index at the address, whole or damaged."""
        if is_folder(address) and not Path(address).is_dir():
            return False
        return ABOUT in names_of_tables(connected(address))

    @classmethod
    def create(cls, address: str, about: About) -> "Storage":
        """An empty index; what tells of it comes last, so that half an index is none.

        Raises:
            UserError: it cannot be written there.
        """
        import pyarrow as pa

        database = connected(address)
        with writing(address):
            database.create_table(MOMENTS, schema=moment_schema(prod(about.shape)), mode="overwrite")
            database.create_table(FILES, schema=file_schema(), mode="overwrite")
            database.create_table(ABOUT, pa.table({"json": [about.write()]}))
        return cls(address)

    @contextmanager
    def readable(self) -> Iterator[None]:
        """Tell in one line what cannot be read."""
        try:
            yield
        except UserError:
            raise
        except (ValueError, RuntimeError, OSError) as error:
            raise UserError(f"index={self.address}: damaged, or no index ({first_line(error)})") from error

    def refresh(self) -> None:
        """See what others have written since."""
        with self.readable():
            for table in (self.moments, self.files):
                table.checkout_latest()

    def file_rows(self) -> dict[str, FileRow]:
        """All files by path."""
        with self.readable():
            rows = self.files.search().to_arrow().drop_columns(["file"]).to_pylist()
        return {row["path"]: FileRow(**row) for row in sorted(rows, key=lambda row: row["path"])}

    def write(self, files: Sequence[MomentRows], known: Container[str]) -> None:
        """Put these files in the place of what is there of them; doing so twice is as good as once.

        Args:
            files: as they were read.
            known: paths of which moments may be there already.

        Raises:
            UserError: it cannot be written, the disk being full; what was there can be read.
        """
        rows = moment_table(files, self.moments.schema, self.about.model.fingerprint)
        old = [each.file.path for each in files if each.file.path in known]
        with writing(self.address):
            if old:
                self._replace(rows, old)
            elif len(rows):
                self.moments.add(rows)
            self.put_files([each.file for each in files])

    def put_files(self, rows: Sequence[FileRow]) -> None:
        """List these files, in the place of what was listed of them."""
        import pyarrow as pa

        if not rows:
            return
        table = pa.Table.from_pylist([{"file": file_key(row.path), **asdict(row)} for row in rows], file_schema())
        with writing(self.address):
            change = self.files.merge_insert("file").when_matched_update_all().when_not_matched_insert_all()
            change.execute(table)

    def delete(self, paths: Sequence[str]) -> None:
        """Forget these files and their moments; first the files, so that none is listed without its moments."""
        for condition in _conditions(paths):
            with writing(self.address):
                self.files.delete(condition)
                self.moments.delete(condition)

    def delete_unfinished(self, files: Mapping[str, FileRow]) -> list[str]:
        """Forget files whose moments are not those that are listed: so many, of the file as it was then.

        Returns:
            their paths.
        """
        there: Counter[tuple[str, int, float]] = Counter()
        with self.readable():
            for batch in self.moments.search().select(["path", "size", "modified"]).to_batches():
                there.update(_counted(batch))
        listed = Counter({(path, *row.signature): row.moments for path, row in files.items() if row.moments})
        found = sorted({path for (path, *_), _ in there.items() ^ listed.items()})
        self.delete(found)
        return found

    def tidy(self, always: bool = False) -> None:
        """Put small pieces together, take new rows into the vector index, and give back what old versions hold."""
        always = always or is_built(self.moments)
        for table in (self.moments, self.files):
            if always or table.stats()["fragment_stats"]["num_small_fragments"] > SCATTERED:
                with writing(self.address):
                    table.optimize(cleanup_older_than=KEPT)

    def index_vectors(self) -> None:
        """Make the vector index where there is none yet."""
        self.refresh()
        with writing(self.address):
            build(self.moments)

    def thumbnails(self, wanted: Sequence[tuple[str, float]]) -> list[bytes]:
        """The pictures of moments, each by its file's path and its start; an empty one where it is gone."""
        starts: dict[str, set[float]] = {}
        for path, start in wanted:
            starts.setdefault(file_key(path), set()).add(start)
        if not starts:
            return []
        either = " OR ".join(
            f"(file = '{file}' AND start IN ({', '.join(map(repr, sorted(each)))}))" for file, each in starts.items()
        )
        self.refresh()
        with self.readable():
            rows = self.moments.search().where(either).select(["file", "start", "thumbnail"]).to_arrow().to_pylist()
        found = {(row["file"], row["start"]): row["thumbnail"] for row in rows}
        return [found.get((file_key(path), start), b"") for path, start in wanted]

    def vectors(self, places: np.ndarray, shape: Sequence[int], version: int) -> Tensor:
        """What is kept of the moments, each at its place; those at -1 are left out.

        Args:
            places: of the rows in the order in which `columns` gave them.
            shape: of what is kept of a moment.
            version: of the table that `columns` read.
        """
        result = torch.empty(int(places.max(initial=-1)) + 1, *shape)
        into, first = result.flatten(1).numpy(), 0
        with self.readable():
            self.moments.checkout(version)
            for batch in self.moments.search().select(["vector"]).to_batches():
                part = places[first : first + len(batch)]
                values = batch.column(0).flatten().to_numpy(zero_copy_only=False).reshape(-1, into.shape[1])
                into[part[part >= 0]] = values[part >= 0]
                first += len(batch)
            self.moments.checkout_latest()
        return result

    def columns(self, names: Sequence[str]) -> dict[str, Any]:
        """Columns of all moments as Arrow arrays, and the `version` of the table that they are from."""
        self.refresh()
        with self.readable():
            version = self.moments.version
            table = self.moments.search().select(list(names)).to_arrow()
        return {"version": version, **{name: table.column(name).combine_chunks() for name in names}}

    def count(self) -> int:
        """How many moments there are, those of vanished files too."""
        with self.readable():
            return self.moments.count_rows()

    def _replace(self, rows: Any, paths: Iterable[str]) -> None:
        """In one commit: all that is there of these files goes, the rows come."""
        keys = ", ".join(f"'{file_key(path)}'" for path in sorted(paths))
        if not len(rows):
            self.moments.delete(f"file IN ({keys})")
            return
        change = self.moments.merge_insert(["file", "number"]).when_matched_update_all().when_not_matched_insert_all()
        change.when_not_matched_by_source_delete(f"file IN ({keys})").execute(rows)

    def _check_columns(self) -> None:
        """Raise UserError where the tables are not those that are told of."""
        told = {MOMENTS: moment_schema(prod(self.about.shape)), FILES: file_schema()}
        for name, table in ((MOMENTS, self.moments), (FILES, self.files)):
            if not table.schema.equals(told[name]):
                raise UserError(f"index={self.address}: damaged, the columns of its {name} are not those it tells of")

    def _read_about(self) -> About:
        if ABOUT not in names_of_tables(self.database):
            raise UserError(f"index={self.address}: no index there; make it with python -m retrieval.index")
        (text,) = self.database.open_table(ABOUT).search().to_arrow().column("json").to_pylist()
        return About.read(text, f"index={self.address}")


def _conditions(paths: Sequence[str]) -> Iterator[str]:
    for first in range(0, len(paths), AT_ONCE):
        yield f"file IN ({', '.join(repr(file_key(path)) for path in paths[first : first + AT_ONCE])})"


def _counted(batch: Any) -> dict[tuple[str, int, float], int]:
    """How often each row is in a batch."""
    import pyarrow as pa

    names = ["path", "size", "modified"]
    counts = pa.Table.from_batches([batch]).group_by(names).aggregate([([], "count_all")]).to_pydict()
    return dict(zip(zip(*(counts[name] for name in names), strict=True), counts["count_all"], strict=True))
