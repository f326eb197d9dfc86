"""A profile as tables."""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any

from rich.table import Table

from retrieval.efficiency.profile.figures import setting_of, way_of
from retrieval.efficiency.profile.findings import Profile
from retrieval.jobs.announcing import tell

Row = dict[str, Any]
PAPER = ("reducer", "tokens at the end", "tower GMACs", "reducer GMACs", "of none", "text GMACs", "parameters")
TRAINED = ("reducer", "tuning", "tokens at the end", "tower GMACs", "reducer GMACs", "of none", "trained parameters")
MEASURED = (
    "reducer",
    "ms",
    "quartiles",
    "videos/s",
    "speed-up",
    "quartiles",
    "GMAC ratio",
    "speed-up / GMAC ratio",
    "MiB",
    "of none",
)


def print_profile(profile: Profile) -> None:
    """Print all tables, and where the files are."""
    reducers, measurements = profile.reducers(), profile.measurements()
    on_paper = (tokens_table(reducers), paper_table(reducers), trained_table(profile.trained()))
    tell(*on_paper, *measured_tables(measurements))
    if fits := profile.fits():
        tell(fits_table(fits, profile.cards))
    tell("profile:", *map(str, profile.write()))


def paper_table(rows: Sequence[Row]) -> Table:
    """What each reducer costs on paper; its share of none is of all that encoding a video takes, head included."""
    table = _table("on paper, to encode one video and one caption", *PAPER)
    for row in rows:
        table.add_row(
            row["reducer"],
            str(row["output_tokens"]),
            f"{row['tower_gmacs']:.2f}",
            f"{row['reducer_gmacs']:.2f}",
            _share(row["gmac_ratio"]),
            f"{row['text_gmacs']:.2f}",
            f"{row['parameters']:,}",
        )
    return table


def trained_table(rows: Sequence[Row]) -> Table:
    """What each reducer costs on paper as it trains, adapters beside the weights."""
    table = _table("on paper, forward in training, for one video", *TRAINED)
    for row in rows:
        table.add_row(
            row["reducer"],
            row["tuning"],
            str(row["output_tokens"]),
            f"{row['tower_gmacs']:.2f}",
            f"{row['reducer_gmacs']:.2f}",
            _share(row["gmac_ratio"]),
            f"{row['trained_parameters']:,}",
        )
    return table


def tokens_table(rows: Sequence[Row]) -> Table:
    """Clips x tokens, class tokens included, on which each block's MLP works."""
    blocks = range(len(rows[0]["clips"]))
    table = _table("clips x tokens after each block", "reducer", *map(str, blocks))
    for row in rows:
        counts = zip(row["clips_at_mlp"], row["tokens_at_mlp"], strict=True)
        table.add_row(row["reducer"], *(f"{clips}x{tokens}" for clips, tokens in counts))
    return table


def measured_tables(rows: Sequence[Row]) -> Iterator[Table]:
    """Time and memory as measured: a table for each stage and tuning, batch size, precision and compilation."""
    for setting, together in groupby(rows, key=setting_of):
        table = _table(f"measured: {setting}", *MEASURED)
        for row in together:
            table.add_row(
                row["reducer"],
                "-" if row["seconds"] is None else _milliseconds(row["seconds"]),
                _quartiles(row, "seconds", _milliseconds),
                _number(row["videos_per_second"], "{:.3g}"),
                _number(row["speed_up"], "{:.2f}"),
                _quartiles(row, "speed_up", "{:.2f}".format),
                _number(row["gmac_ratio"], "{:.2f}"),
                _number(row["speed_up_over_gmac_ratio"], "{:.2f}"),
                _number(row["mib"], "{:.0f}"),
                _number(row["memory_ratio"], "{:.0%}"),
            )
        yield table


def fits_table(rows: Sequence[Row], cards: Sequence[float | int]) -> Table:
    """The largest batches that train in the memory of each card."""
    title = "videos a batch that train in so much memory"
    table = _table(
        title, "reducer", "tuning", "how", "MiB at first", "MiB a video", *(f"{card:g} GB" for card in cards)
    )
    for row in rows:
        sizes = [_number(size, "{:,}") for size in row["batch_sizes"]]
        fixed, slope = (f"{row[part]:.0f}" for part in ("fixed_mib", "mib_a_video"))
        table.add_row(row["reducer"], row["tuning"], way_of(row).strip(", "), fixed, slope, *sizes)
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title)
    for column in columns:
        table.add_column(column, justify="left" if column == "reducer" else "right", overflow="fold")
    return table


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


def _quartiles(row: Row, name: str, form: Callable[[float], str]) -> str:
    low, high = (row[f"{name}_{which}_quartile"] for which in ("lower", "upper"))
    return "-" if low is None else f"{form(low)}-{form(high)}"


def _share(ratio: float | None) -> str:
    return "-" if ratio is None else f"{1 / ratio:.1%}"


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.3g}" if seconds < 0.1 else f"{1000 * seconds:.0f}"
