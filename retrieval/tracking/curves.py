"""Curves as CSV: one file a run, also where the run was killed and goes on."""

import csv
import io
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from retrieval.files import replacing
from retrieval.jobs.files import refusals

Row = dict[str, Any]


class Curves(Logger):
    """Writes `<folder>/metrics.csv`: a row each time something is logged, a column a metric, and the step.

    Lightning's CSVLogger begins a new folder for a run that goes on, or deletes what it had. Here a run that goes on
    from a checkpoint keeps the rows before it, and repeats what came after.

    Args:
        folder: made at the first row.
    """

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.path = Path(folder, "metrics.csv")
        self.columns: list[str] | None = None  # of the file; None until the first row of this process

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        with refusals(self.path):
            self._add({**metrics, "step": step or 0})

    def _add(self, row: Row) -> None:
        if self.columns is None:
            self._rewrite([*(each for each in self._rows() if int(each["step"]) < row["step"]), row])
        elif row.keys() <= set(self.columns):
            with self.path.open("a", newline="") as file:
                csv.DictWriter(file, self.columns).writerow(row)
        else:
            self._rewrite([*self._rows(), row])

    def _rows(self) -> list[Row]:
        if not self.path.is_file():
            return []
        with self.path.open(newline="") as file:
            text = file.read()
        whole = text[: text.rfind("\n") + 1]  # a full disk takes half a row
        return list(csv.DictReader(io.StringIO(whole, newline="")))

    def _rewrite(self, rows: list[Row]) -> None:
        """Put the file in place as a whole, so that one who is killed loses nothing."""
        self.columns = sorted({name for row in rows for name in row})
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(self.path) as partial, partial.open("w", newline="") as file:
            table = csv.DictWriter(file, self.columns)
            table.writeheader()
            table.writerows(rows)

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """Nothing: a run's config is in its folder."""

    @property
    def name(self) -> str:
        return self.path.parent.name

    @property
    def version(self) -> str:
        return ""

    @property
    def save_dir(self) -> str:
        return str(self.path.parent.parent)
