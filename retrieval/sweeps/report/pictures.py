"""Which pictures a sweep's table gives, and why others are left out."""

from itertools import combinations
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from retrieval.sweeps.report.charts import curves, heat_map, trade_off

FORMATS = ("png", "svg")
FOLDER = "figures"


def draw(rows: pd.DataFrame, knobs: list[str]) -> tuple[dict[str, Figure], list[str]]:
    """The pictures by their names, and a sentence for each kind that the table has no data for."""
    figures, left_out = {}, []
    for cost, front in (("GMACs", "front by GMACs"), ("latency (ms)", "front by latency")):
        if rows.get(cost, pd.Series(dtype=float)).notna().any():
            figures[f"R-Sum against {cost}"] = trade_off(rows, cost, front)
        else:
            left_out.append(f"No picture against {cost}: not measured.")
    numeric = [knob for knob in knobs if _values(rows, knob) > 1]
    for knob in numeric:
        figures[f"R-Sum over {knob}"] = curves(rows, knob, [other for other in knobs if other != knob])
    left_out += [] if numeric else ["No curves: no knob of a number has several values."]
    pairs = [pair for pair in combinations(numeric, 2) if _vary_together(rows, *pair)]
    for down, across in pairs:
        figures[f"R-Sum over {down} and {across}"] = heat_map(rows, down, across)
    left_out += [] if pairs else ["No heat map: no reducer has several values of two knobs."]
    return figures, left_out


def save(figures: dict[str, Figure], folder: Path) -> dict[str, Path]:
    """Write each picture in every format; returns the paths of the PNGs by the pictures' names."""
    (folder / FOLDER).mkdir(exist_ok=True)
    paths = {name: folder / FOLDER / f"{_file_name(name)}.{FORMATS[0]}" for name in figures}
    for name, figure in figures.items():
        for ending in FORMATS:
            figure.savefig(paths[name].with_suffix(f".{ending}"), dpi=150)
    return paths


def _values(rows: pd.DataFrame, knob: str) -> int:
    """How many numbers a knob takes; none where its values are not numbers."""
    values = pd.to_numeric(rows[knob].dropna(), errors="coerce")
    return 0 if values.isna().any() else values.nunique()


def _vary_together(rows: pd.DataFrame, one: str, other: str) -> bool:
    both = rows.dropna(subset=[one, other])
    return any(group[one].nunique() > 1 and group[other].nunique() > 1 for _, group in both.groupby("reducer"))


def _file_name(name: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in name.lower()).strip("_").replace("__", "_")
