"""Pictures of a sweep: accuracy against cost with the Pareto front, curves over a knob, a heat map of two.

Colours are Okabe and Ito's, which the colour-blind tell apart; each reducer has a marker of its own too, and the heat
map writes its values, so that nothing hangs on colour alone.
"""

from collections.abc import Sequence
from itertools import combinations, cycle
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from retrieval.sweeps.report.rows import FRONTS, GAIN, YARDSTICK, knob_text

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
LINES = ("-", "--", "-.", ":")
POINTS: dict[str, Any] = {
    "markersize": 7,
    "capsize": 2,
    "markeredgecolor": "black",
    "markeredgewidth": 0.5,
    "elinewidth": 0.7,
}


def draw(rows: pd.DataFrame, knobs: list[str]) -> tuple[dict[str, Figure], list[str]]:
    """The pictures that a table gives, by their titles, and a sentence for each kind that it has no data for."""
    figures, left_out = {}, []
    for front, cost in FRONTS.items():
        if rows.get(cost, pd.Series(dtype=float)).notna().any():
            figures[f"both R-Sum against {cost}"] = trade_off(rows, cost, front)
        else:
            left_out.append(f"No picture against {cost}: not measured.")
    numeric = [knob for knob in knobs if _numbers(rows, knob) > 1]
    for knob in numeric:
        figures[f"both R-Sum over {knob}"] = curves(rows, knob, [other for other in knobs if other != knob])
    pairs = [pair for pair in combinations(numeric, 2) if _vary_together(rows, *pair)]
    for down, across in pairs:
        figures[f"both R-Sum over {down} and {across}"] = heat_map(rows, down, across)
    left_out += [] if numeric else ["No curves: no knob of a number has several values."]
    left_out += [] if pairs else ["No heat map: no reducer has several values of two knobs."]
    return figures, left_out


def trade_off(rows: pd.DataFrame, cost: str, front: str) -> Figure:
    """R-Sum against a cost, a marker a reducer; the Pareto front is a line, its members are numbered and named.

    Args:
        rows: of the report's table, with `reducer`, `label`, `GAIN` and its deviation.
        cost: the column that costs.
        front: the column that tells the members of the front.
    """
    figure, axis = _axes(cost)
    axis.margins(y=0.1)
    best = rows[rows[front]].sort_values(cost)
    for number, (_, line) in enumerate(best.groupby(YARDSTICK, dropna=False, sort=False)):
        label = "" if number else "Pareto front"
        axis.plot(line[cost], line[GAIN], color="0.4", linewidth=1.2, drawstyle="steps-post", label=label)
    for reducer, group in rows.groupby("reducer", sort=False):
        _points(axis, group, cost, _styles(rows)[reducer], reducer, linestyle="none")
    axis.scatter(best[cost], best[GAIN], s=150, facecolors="none", edgecolors="black", linewidths=1.1)
    for number, (_, row) in enumerate(best.iterrows(), 1):
        place: dict[str, Any] = {"xytext": (-7, 8), "textcoords": "offset points", "ha": "right"}
        axis.annotate(str(number), (row[cost], row[GAIN]), fontsize=8, fontweight="bold", **place)
        axis.plot([], [], " ", label=f"{number}  {row['label']}")
    _legend(axis)
    return figure


def curves(rows: pd.DataFrame, knob: str, others: Sequence[str]) -> Figure:
    """R-Sum over a knob's values, a line for each reducer and each setting of the other knobs."""
    figure, axis = _axes(knob)
    styles = _styles(rows)
    rows = rows.dropna(subset=[knob])
    lines = {reducer: cycle(LINES) for reducer in rows["reducer"]}
    for (reducer, *values), group in rows.groupby(["reducer", *others], sort=False, dropna=False):
        group = group.sort_values(knob).astype({knob: float})
        known = [f"{name}={knob_text(value)}" for name, value in zip(others, values, strict=True) if not pd.isna(value)]
        label = ", ".join([reducer, *known])
        _points(axis, group, knob, styles[reducer], label, linestyle=next(lines[reducer]), linewidth=1.3)
    axis.set_xticks(sorted(rows[knob].astype(float).unique()))
    _legend(axis)
    return figure


def heat_map(rows: pd.DataFrame, down: str, across: str) -> Figure:
    """Mean R-Sum over two knobs, one map for each reducer that has both; the values are written into the fields."""
    both = rows.dropna(subset=[down, across])
    reducers = list(dict.fromkeys(both["reducer"]))
    grids = [both[both["reducer"] == name].pivot_table(GAIN, down, across, dropna=False) for name in reducers]
    low, high = both[GAIN].min(), both[GAIN].max()
    figure = Figure(figsize=(4.6 * len(grids), 3.6), layout="constrained")
    for axis, name, grid in zip(figure.subplots(1, len(grids), squeeze=False)[0], reducers, grids, strict=True):
        image = axis.imshow(grid.to_numpy(), cmap="cividis", vmin=low, vmax=high, origin="lower", aspect="auto")
        axis.set_title(name, fontsize=10)
        axis.set_xticks(range(len(grid.columns)), [f"{value:g}" for value in grid.columns])
        axis.set_yticks(range(len(grid.index)), [f"{value:g}" for value in grid.index])
        axis.set_xlabel(across)
        axis.set_ylabel(down)
        _write_values(axis, grid.to_numpy(), (low + high) / 2)
    figure.colorbar(image, ax=figure.axes, label=GAIN)
    return figure


def _axes(x: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(9.5, 4.6), layout="constrained")
    axis = figure.subplots()
    axis.set_xlabel(x)
    axis.set_ylabel(GAIN)
    axis.grid(alpha=0.3, linewidth=0.6)
    axis.spines[["top", "right"]].set_visible(False)
    return figure, axis


def _points(axis: Axes, group: pd.DataFrame, x: str, style: tuple[str, str], label: str, **line: Any) -> None:
    """R-Sum over a column, with deviations as error bars where there are several seeds."""
    deviations = group[f"{GAIN} sd"].to_numpy(dtype=float)
    bars = None if np.isnan(deviations).all() else np.nan_to_num(deviations)
    colour, marker = style
    axis.errorbar(group[x], group[GAIN], yerr=bars, color=colour, marker=marker, label=label, **POINTS, **line)


def _legend(axis: Axes) -> None:
    axis.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), fontsize=8, frameon=False)


def _styles(rows: pd.DataFrame) -> dict[str, tuple[str, str]]:
    """Colour and marker of each reducer."""
    return dict(zip(dict.fromkeys(rows["reducer"]), zip(cycle(COLOURS), cycle(MARKERS), strict=False), strict=False))


def _write_values(axis: Axes, values: np.ndarray, middle: float) -> None:
    for (y, x), value in np.ndenumerate(values):
        if not np.isnan(value):
            colour = "black" if value > middle else "white"
            axis.text(x, y, f"{value:.1f}", ha="center", va="center", color=colour, fontsize=9)


def _numbers(rows: pd.DataFrame, knob: str) -> int:
    """How many numbers a knob takes; none where its values are not numbers."""
    values = pd.to_numeric(rows[knob].dropna(), errors="coerce")
    return 0 if values.isna().any() else values.nunique()


def _vary_together(rows: pd.DataFrame, one: str, other: str) -> bool:
    both = rows.dropna(subset=[one, other])
    return any(group[one].nunique() > 1 and group[other].nunique() > 1 for _, group in both.groupby("reducer"))
