"""A profile as pictures: how many tokens each reducer leaves, and its speed-up beside what its GMACs promise."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

MARKERS = "osv^D<>Pp*"


def draw_tokens_per_block(reducers: Sequence[Mapping[str, Any]]) -> Figure:
    """The tokens of a video that each block's MLP works on: a line for all reducers that leave the same everywhere.

    Where lines run together for a while, the thinner ones lie on the thicker.

    Args:
        reducers: rows with `reducer`, and for each block `clips_at_mlp` and `tokens_at_mlp`.
    """
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    axes = figure.subplots()
    names: dict[tuple[int, ...], list[str]] = {}
    for row in reducers:
        counts = tuple(clips * each for clips, each in zip(row["clips_at_mlp"], row["tokens_at_mlp"], strict=True))
        names.setdefault(counts, []).append(row["reducer"])
    for place, (tokens, alike) in enumerate(names.items()):
        width = 1.2 + 4 * (1 - place / len(names))
        axes.plot(tokens, label=", ".join(alike), linewidth=width, marker=MARKERS[place % len(MARKERS)], markersize=5)
    axes.set(xlabel="block", ylabel="tokens of a video", ylim=(0, None))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right upper", frameon=False)
    return figure


def draw_speed_up(measurements: Sequence[Mapping[str, Any]]) -> Figure:
    """Measured speed-up over no reduction, with its quartiles, beside the ratio of GMACs: a panel for each setting.

    Args:
        measurements: rows with what `setting_of` reads, `reducer`, `gmac_ratio`, `speed_up` and its quartiles; those of
            a setting are neighbours.
    """
    panels = [list(rows) for _, rows in groupby(measurements, key=setting_of)]
    height = 0.8 + 0.42 * max(map(len, panels))
    columns = min(2, len(panels))
    figure = Figure(figsize=(max(6.0, 5.0 * columns), height * -(-len(panels) // columns)), layout="constrained")
    grid = figure.subplots(-(-len(panels) // columns), columns, sharex=True, sharey=True, squeeze=False)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    for axes, rows in zip(grid.flat, panels, strict=False):
        places = range(len(rows))
        spread = [
            [row["speed_up"] - row["speed_up_lower_quartile"] for row in rows],
            [row["speed_up_upper_quartile"] - row["speed_up"] for row in rows],
        ]
        for shift, column, label, error in (
            (-0.2, "gmac_ratio", "GMAC ratio", None),
            (0.2, "speed_up", "measured speed-up, quartiles", spread),
        ):
            values = [row[column] for row in rows]
            bars = axes.barh([place + shift for place in places], values, 0.38, xerr=error, label=label)
            axes.bar_label(bars, fmt="%.2f", padding=2, fontsize=8)
        axes.set_yticks(places, [row["reducer"] for row in rows])
        axes.set(title=setting_of(rows[0]), xlabel="times faster than none")
        axes.margins(x=0.12)
        axes.spines[["top", "right"]].set_visible(False)
    grid[0, 0].invert_yaxis()
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2, frameon=False)
    return figure


def setting_of(row: Mapping[str, Any]) -> str:
    """What a measurement shares with those that it is compared with, in words."""
    stage = f"training, {row['tuning']}" if row["tuning"] else "encoding"
    return f"{stage}, batch {row['batch_size']}{way_of(row)}"


def way_of(row: Mapping[str, Any]) -> str:
    """How a batch is encoded, in words that follow its size."""
    pieces = f" in pieces of {row['micro_batch']}" if row["micro_batch"] else ""
    every = row["checkpointing"]
    kept = "" if not every else ", checkpointed" if every is True else f", every {every} blocks checkpointed"
    return f"{pieces}, {row['precision']}{', compiled' if row['compiled'] else ''}{kept}"
