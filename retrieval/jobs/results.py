"""What a job has found: written as JSON, read again, and told as tables."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from retrieval.errors import UserError
from retrieval.jobs.announcing import announce, tell
from retrieval.jobs.files import write_json
from retrieval.jobs.processes import is_first_process
from retrieval.jobs.protocol import Protocol
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
        data: the corpus' name.
        backbone: its source.
        reducer: its name.
        head: its name.
        checkpoint: whose weights were measured.
        protocol: on what they were measured and by what, and how they came about.
        cost: tokens and GMACs, see `retrieval.efficiency.cost`.
        metrics: `t2v/r_at_1` and so on; rescored ones behind their rescoring's name, `dual_softmax/t2v/r_at_1`.
        trained_parameters: how many numbers training has moved; None where nothing was trained.
    """

    data: str
    backbone: str
    reducer: str
    head: str
    checkpoint: str
    protocol: Protocol
    cost: dict[str, int | float]
    metrics: dict[str, float]
    trained_parameters: int | None = None

    @classmethod
    def measured(cls, logged: Mapping[str, float], under: Mapping[str, Any], **facts: Any) -> "Results":
        """From metrics as Lightning logged them, `test/t2v/r_at_1`, with videos and captions among them.

        Args:
            logged: what `trainer.test` returned.
            under: the fields of the protocol but for the numbers of videos and captions.
            facts: all other fields.
        """
        metrics = {name.partition("/")[2]: round(value, 4) for name, value in logged.items()}
        protocol = Protocol(videos=int(metrics["videos"]), captions=int(metrics["captions"]), **under)
        return cls(metrics=metrics, protocol=protocol, **facts)

    @classmethod
    def read(cls, path: Path) -> "Results":
        """What `write` wrote.

        Raises:
            UserError: no such file, one that holds something else, or one of an older version.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if isinstance(content, dict) and "metrics" in content and "protocol" not in content:
                raise UserError(
                    f"{path}: of an older version, without the protocol that it was measured under; measure its "
                    "checkpoint again: python -m retrieval.evaluate ckpt_path=<run>/checkpoints/best.ckpt"
                )
            return cls(**content | {"protocol": Protocol.of_json(content["protocol"])})
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"{path}: not a job's results ({error}); run the job again") from error

    def write(self, folder: Path) -> None:
        """Write `metrics.json` into the run's folder.

        Raises:
            UserError: it cannot be written.
        """
        fields = asdict(self) | {"protocol": self.protocol.to_json()}
        if is_first_process():
            write_json(folder / METRICS, fields)

    def show(self) -> None:
        """Tell them: what was measured, and a table of the metrics and of each rescoring."""
        announce(self._facts())
        tell(*(self._table(rescoring) for rescoring in ["", *self._rescorings()]))

    def _facts(self) -> dict[str, str]:
        names = ("data", "backbone", "reducer", "head", "checkpoint")
        facts = {name: str(getattr(self, name)) for name in names} | self.protocol.facts()
        facts["cost"] = ", ".join(f"{value:,} {name.replace('_', ' ')}" for name, value in self.cost.items())
        if self.trained_parameters is not None:
            facts["moved"] = f"{self.trained_parameters:,} parameters"
        return facts

    def _rescorings(self) -> list[str]:
        return sorted({name.split("/")[0] for name in self.metrics if name.count("/") == 2})

    def _table(self, rescoring: str) -> Table:
        label = f", rescored by {rescoring}" if rescoring else ""
        under = self.protocol
        both = self.metrics.get("/".join(filter(None, (rescoring, "both/r_sum"))))
        table = Table(
            title=f"{under.split} split: {under.videos} videos, {under.captions} captions{label}",
            caption=None if both is None else f"both directions: R-Sum {both:.1f} (of 600)",
        )
        for heading in ("", *COLUMNS.values()):
            table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
        for direction, name in DIRECTIONS.items():
            keys = ["/".join(filter(None, (rescoring, direction, column))) for column in COLUMNS]
            if keys[0] in self.metrics:  # some rescorings are of one direction
                table.add_row(name, *(f"{self.metrics[key]:.1f}" for key in keys))
        return table
