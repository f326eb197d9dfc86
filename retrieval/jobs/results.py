"""What a job has found: written as JSON, read again, and told as tables."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from retrieval.errors import UserError
from retrieval.jobs.announcing import announce, tell
from retrieval.jobs.files import write
from retrieval.jobs.processes import is_first_process
from retrieval.jobs.runs import METRICS

COLUMNS = {
    "r_at_1": "R@1",
    "r_at_5": "R@5",
    "r_at_10": "R@10",
    "r_sum": "R-Sum (of 300)",
    "geometric_mean": "geometric mean",
    "median_rank": "median rank",
    "mean_rank": "mean rank",
}
DIRECTIONS = {"t2v": "text to video", "v2t": "video to text"}


@dataclass(frozen=True, kw_only=True)
class Results:
    """How good a model is on a split, how dear, and what exactly was measured.

    Args:
        split: train, val or test.
        data: the corpus' name.
        backbone: its source.
        reducer: its name.
        head: its name.
        frames: per video.
        words: per caption.
        checkpoint: whose weights were measured.
        selected_on: the split that the checkpoint was chosen on; None where none was.
        seed: the run's.
        cost: tokens and GMACs, see `retrieval.efficiency.cost`.
        videos: how many were ranked.
        captions: how many asked for them.
        metrics: `t2v/r_at_1` and so on; rescored ones behind their rescoring's name, `dual_softmax/t2v/r_at_1`.
        trained_parameters: how many numbers training has moved; None where nothing was trained.
    """

    split: str
    data: str
    backbone: str
    reducer: str
    head: str
    frames: int
    words: int
    checkpoint: str
    selected_on: str | None
    seed: int
    cost: dict[str, int | float]
    videos: int
    captions: int
    metrics: dict[str, float]
    trained_parameters: int | None = None

    @classmethod
    def measured(cls, logged: Mapping[str, float], **facts: Any) -> "Results":
        """From metrics as Lightning logged them, `test/t2v/r_at_1`, with videos and captions among them.

        Args:
            logged: what `trainer.test` returned.
            facts: all other fields.
        """
        metrics = {name.partition("/")[2]: round(value, 4) for name, value in logged.items()}
        return cls(metrics=metrics, videos=int(metrics["videos"]), captions=int(metrics["captions"]), **facts)

    @classmethod
    def read(cls, path: Path) -> "Results":
        """What `write` wrote.

        Raises:
            UserError: no such file, or one that holds something else.
        """
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, json.JSONDecodeError, TypeError) as error:
            raise UserError(f"{path}: not a job's results ({error}); run the job again") from error

    def write(self, folder: Path) -> None:
        """Write `metrics.json` into the run's folder.

        Raises:
            UserError: it cannot be written.
        """
        fields = {name: value for name, value in asdict(self).items() if name != "metrics" and value is not None}
        fields |= {"selected_on": self.selected_on, "metrics": self.metrics}
        if is_first_process():
            write(folder / METRICS, json.dumps(fields, indent=2) + "\n")

    def show(self) -> None:
        """Tell them: what was measured, and a table of the metrics and of each rescoring."""
        announce(self._facts())
        tell(*(self._table(rescoring) for rescoring in ["", *self._rescorings()]))

    def _facts(self) -> dict[str, str]:
        names = ("data", "backbone", "reducer", "head", "frames", "words")
        facts = {"split": f"{self.split}, {self.videos:,} videos, {self.captions:,} captions"}
        facts |= {name: str(getattr(self, name)) for name in names}
        chosen = f", chosen on {self.selected_on}" if self.selected_on else ""
        facts["checkpoint"] = f"{self.checkpoint}{chosen}"
        facts["cost"] = ", ".join(f"{value:,} {name.replace('_', ' ')}" for name, value in self.cost.items())
        if self.trained_parameters is not None:
            facts["trained"] = f"{self.trained_parameters:,} parameters"
        return facts

    def _rescorings(self) -> list[str]:
        return sorted({name.split("/")[0] for name in self.metrics if name.count("/") == 2})

    def _table(self, rescoring: str) -> Table:
        label = f", rescored by {rescoring}" if rescoring else ""
        both = self.metrics.get("/".join(filter(None, (rescoring, "both/r_sum"))))
        table = Table(
            title=f"{self.split} split: {self.videos} videos, {self.captions} captions{label}",
            caption=None if both is None else f"both directions: R-Sum {both:.1f} (of 600)",
        )
        for heading in ("", *COLUMNS.values()):
            table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
        for direction, name in DIRECTIONS.items():
            keys = ["/".join(filter(None, (rescoring, direction, column))) for column in COLUMNS]
            if keys[0] in self.metrics:  # some rescorings are of one direction
                table.add_row(name, *(f"{self.metrics[key]:.1f}" for key in keys))
        return table
