"""What a run leaves behind: its resolved config, its metrics as JSON, and a table for the eye."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

COLUMNS = {
    "r_at_1": "R@1",
    "r_at_5": "R@5",
    "r_at_10": "R@10",
    "r_sum": "R-Sum",
    "median_rank": "median rank",
    "mean_rank": "mean rank",
}
DIRECTIONS = {"t2v": "text to video", "v2t": "video to text"}


@rank_zero_only
def save_config(config: DictConfig) -> None:
    """Write the resolved config beside the results."""
    folder = Path(config.run_dir)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(config, resolve=True))


@rank_zero_only
def report(folder: str, metrics: Mapping[str, float], **facts: Any) -> None:
    """Write `metrics.json` into the run's folder and print it as tables.

    Args:
        folder: the run's.
        metrics: as Lightning logged them, `test/t2v/r_at_1` and so on.
        facts: what the numbers are of: split, frames, checkpoint and what it was chosen on, cost …
    """
    values = {name.partition("/")[2]: round(value, 4) for name, value in metrics.items()}
    path = Path(folder, "metrics.json")
    counts = {name: int(values[name]) for name in ("videos", "captions")}
    path.write_text(json.dumps(facts | counts | {"metrics": values}, indent=2) + "\n")
    console = Console()
    for rescoring in ["", *_rescorings(values)]:
        console.print(_table(values, rescoring, facts["split"]))
    cost = ", ".join(f"{value:,} {name.replace('_', ' ')}" for name, value in facts["cost"].items())
    chosen = f", chosen on {facts['selected_on']}" if facts["selected_on"] else ""
    lines = (f"checkpoint: {facts['checkpoint']}{chosen}", f"cost: {cost}", f"results: {path}")
    console.print(*lines, sep="\n", soft_wrap=True)


def _rescorings(values: dict[str, float]) -> list[str]:
    """Rescored metrics stand under their rescoring's name: `dual_softmax/t2v/r_at_1`."""
    return sorted({name.split("/")[0] for name in values if name.count("/") == 2})


def _table(values: dict[str, float], rescoring: str, split: str) -> Table:
    label = f", rescored by {rescoring}" if rescoring else ""
    table = Table(title=f"{split} split: {values['videos']:.0f} videos, {values['captions']:.0f} captions{label}")
    for heading in ("", *COLUMNS.values()):
        table.add_column(heading, justify="right" if heading else "left")
    for direction, name in DIRECTIONS.items():
        keys = ["/".join(filter(None, (rescoring, direction, column))) for column in COLUMNS]
        if keys[0] in values:  # some rescorings are of one direction
            table.add_row(name, *(f"{values[key]:.1f}" for key in keys))
    return table
