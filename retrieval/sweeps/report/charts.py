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

from retrieval.sweeps.report.rows import FRONTS, GAIN, R_AT_1, YARDSTICK, knob_text, on_front

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
LINES = ("-", "--", "-.", ":")
UNJOINED = {"linestyle": "none"}
CONTROL = "RandomPatches"
"""The reducer that the others are held against: what it reaches takes no thought."""
GAINS = {"both R-Sum": GAIN, R_AT_1: R_AT_1}
"""What is drawn against each cost, by its name in titles."""
POINTS: dict[str, Any] = {
    "markersize": 7,
    "capsize": 2,
    "markeredgecolor": "black",
    "markeredgewidth": 0.5,
    "elinewidth": 0.7,
}


def draw(rows: pd.DataFrame, knobs: list[str]) -> tuple[dict[str, Figure], list[str]]:
    """The pictures that a table gives, by their titles, and a sentence for each kind that it has no data for."""
    figures: dict[str, Figure] = {}
    left_out = []
    for cost in FRONTS.values():
        if rows.get(cost, pd.Series(dtype=float)).notna().any():
            figures |= {f"{title} against {cost}": trade_off(rows, cost, gain) for title, gain in GAINS.items()}
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


def trade_off(rows: pd.DataFrame, cost: str, gain: str = GAIN) -> Figure:
    """A gain against a cost, a marker a reducer; the Pareto front is a line, its members are numbered and named.

    Args:
        rows: of the report's table, with `reducer`, `label`, the gain and its deviation.
        cost: the column that costs.
        gain: the column that is gained.
    """
    figure, axis = _axes(cost, gain)
    best = _traded(axis, rows, cost, gain)
    for number, (_, row) in enumerate(best.iterrows(), 1):
        place: dict[str, Any] = {"xytext": (-7, 8), "textcoords": "offset points", "ha": "right"}
        axis.annotate(str(number), (row[cost], row[gain]), fontsize=8, fontweight="bold", **place)
        axis.plot([], [], " ", label=f"{number}  {row['label']}")
    _legend(axis)
    return figure


def panels(rows: pd.DataFrame, costs: Sequence[str], gains: Sequence[str]) -> Figure:
    """Gains against costs, a panel each, with one legend; each reducer's budgets are joined by a line, and the
    control's, from no reduction on, by a dashed one that stands out.
    """
    figure = Figure(figsize=(1.8 + 4.6 * len(costs), 3.9 * len(gains)), layout="constrained")
    grid = figure.subplots(len(gains), len(costs), squeeze=False)
    for (down, across), axis in np.ndenumerate(grid):
        _framed(axis, costs[across], gains[down])
        _traded(axis, rows, costs[across], gains[down], linestyle="-", linewidth=0.6)
        control = rows[rows["reducer"].isin((CONTROL, "none"))].sort_values(costs[across])
        if (control["reducer"] == CONTROL).any():
            line = {"color": "black", "linestyle": "--", "linewidth": 1.8, "zorder": 5}
            axis.plot(control[costs[across]], control[gains[down]], label=f"{CONTROL}: the control", **line)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", fontsize=8, frameon=False)
    return figure


def _traded(axis: Axes, rows: pd.DataFrame, cost: str, gain: str, **line: Any) -> pd.DataFrame:
    """Draw a gain against a cost and ring the Pareto front; returns the front's rows by their cost."""
    axis.margins(y=0.1)
    best = rows[on_front(rows, cost, gain)].sort_values(cost)
    for number, (_, front) in enumerate(best.groupby(YARDSTICK, dropna=False, sort=False)):
        label = "" if number else "Pareto front"
        axis.plot(front[cost], front[gain], color="0.4", linewidth=1.2, drawstyle="steps-post", label=label)
    for reducer, group in rows.groupby("reducer", sort=False):
        _points(axis, group.sort_values(cost), cost, gain, _styles(rows)[reducer], reducer, **(line or UNJOINED))
    axis.scatter(best[cost], best[gain], s=150, facecolors="none", edgecolors="black", linewidths=1.1)
    return best


def curves(rows: pd.DataFrame, knob: str, others: Sequence[str]) -> Figure:
    """R-Sum over a knob's values, a line for each reducer and each setting of the other knobs."""
    figure, axis = _axes(knob, GAIN)
    styles = _styles(rows)
    rows = rows.dropna(subset=[knob])
    lines = {reducer: cycle(LINES) for reducer in rows["reducer"]}
    for (reducer, *values), group in rows.groupby(["reducer", *others], sort=False, dropna=False):
        group = group.sort_values(knob).astype({knob: float})
        known = [f"{name}={knob_text(value)}" for name, value in zip(others, values, strict=True) if not pd.isna(value)]
        label = ", ".join([reducer, *known])
        _points(axis, group, knob, GAIN, styles[reducer], label, linestyle=next(lines[reducer]), linewidth=1.3)
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


def _axes(x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(9.5, 4.6), layout="constrained")
    return figure, _framed(figure.subplots(), x, y)


def _framed(axis: Axes, x: str, y: str) -> Axes:
    axis.set_xlabel(x)
    axis.set_ylabel(y)
    axis.grid(alpha=0.3, linewidth=0.6)
    axis.spines[["top", "right"]].set_visible(False)
    return axis


def _points(axis: Axes, group: pd.DataFrame, x: str, y: str, style: tuple[str, str], label: str, **line: Any) -> None:
    """One column over another, with deviations as error bars where there are several seeds."""
    deviations = group[f"{y} sd"].to_numpy(dtype=float)
    bars = None if np.isnan(deviations).all() else np.nan_to_num(deviations)
    colour, marker = style
    axis.errorbar(group[x], group[y], yerr=bars, color=colour, marker=marker, label=label, **POINTS, **line)


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
