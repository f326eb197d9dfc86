"""What was published for a row of the papers' tables, and how large the published sets are: `published.yaml`, read."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from retrieval.errors import UserError

FILE = Path(__file__).with_name("published.yaml")


@dataclass(frozen=True)
class Figure:
    """A published number, and where it was read."""

    value: int | float
    source: str


@dataclass(frozen=True)
class Row:
    """A row of a paper's table.

    Args:
        title: method, backbone, set.
        paper: who published it.
        metrics: by the names of `metrics.json`.
        costs: `gflops` and `tokens` of the video tower, `memory` in GB a device in training, `ms` a video in inference.
    """

    title: str
    paper: str
    metrics: Mapping[str, Figure]
    costs: Mapping[str, Figure] = field(default_factory=dict)


def published_row(name: str) -> Row:
    """The row called so.

    Raises:
        UserError: there is none.
    """
    rows = _content()["rows"]
    if name not in rows:
        raise UserError(f"reproduction.row={name}: nothing of that name is published; there are {', '.join(rows)}")
    row = rows[name]
    figures = {part: _figures(row.get(part, {})) for part in ("metrics", "costs")}
    return Row(row["title"], row["paper"], **figures)


def published_rows() -> list[str]:
    """The names of all rows."""
    return list(_content()["rows"])


def published_videos(corpus: str) -> dict[str, Figure]:
    """How many videos the splits of a corpus have; those of which no number is known are left out."""
    return _figures(_content()["videos"].get(corpus, {}))


def _figures(content: Mapping[str, Any]) -> dict[str, Figure]:
    sources = _content()["sources"]
    return {name: Figure(value, sources[source]) for name, (value, source) in content.items()}


@cache
def _content() -> dict[str, Any]:
    return yaml.safe_load(FILE.read_text(encoding="utf-8"))
