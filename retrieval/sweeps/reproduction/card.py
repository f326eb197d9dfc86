"""The card at the end of a reproduction: what was published, what came out here, and what exactly that was."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import pandas as pd

from retrieval.errors import UserError
from retrieval.jobs.cells import markdown_cell
from retrieval.jobs.files import read_json, write
from retrieval.jobs.results import Results
from retrieval.sweeps.report.jobs import JobResult, read_jobs
from retrieval.sweeps.report.rows import METRICS, summarize
from retrieval.sweeps.report.table import NOTHING, facts, markdown
from retrieval.sweeps.reproduction.figures import Row, published_row
from retrieval.training.usage import FILE as USAGE

FILE = "card.md"
SHOWN = ("t2v R@1", "t2v R@5", "t2v R@10", "t2v R-Sum (of 300)", "v2t R@1")
PLACES = ("data.root", "data.videos", "output", "hydra.sweep.dir")
"""Knobs whose values tell somebody's folders even where they are single names."""
GB = 1e9


def write_card(folders: Sequence[Path], row: str, place: Path) -> Path:
    """Write `card.md` into a sweep's folder: to be sent on, and pasted into the README.

    Args:
        folders: of the jobs; those without results are told.
        row: the published one that they reproduce.
        place: the sweep's folder.

    Raises:
        UserError: a damaged file, or one that cannot be written.
    """
    jobs = read_jobs(folders)
    finished = [job for job in jobs if job.results is not None]
    published = published_row(row)
    rows = summarize(finished)[0] if finished else pd.DataFrame()
    parts = [
        f"# {published.title}",
        f"{len(finished)} of {len(jobs)} runs have finished. Published by {published.paper}.",
        markdown(_compared(published, rows)),
        "Text to video unless it says v2t; R-Sum adds R@1, R@5 and R@10 of one direction. Ours are means over `runs` "
        "seeds, ± their standard deviation.",
        *_sources(published),
        "For the README:",
        markdown(_for_the_readme(published, rows, finished)),
        "## Runs",
        markdown(_runs(finished)),
        *_costs(published, [job.results for job in finished if job.results]),
        "## Protocol",
        *map(markdown_cell, facts(jobs, None)[1:-1]),
        "## Command",
        f"```bash\n{command(sys.argv)}\n```",
    ]
    write(place / FILE, "\n\n".join(parts) + "\n")
    return place / FILE


def command(arguments: Sequence[str]) -> str:
    """The command that was given, without what tells somebody's folders.

    Args:
        arguments: `sys.argv`.
    """
    shown = [f"{each.partition('=')[0]}=..." if _is_private(each) else each for each in arguments[1:]]
    return " ".join(["python -m retrieval.train", *map(shlex.quote, shown)])


def _is_private(argument: str) -> bool:
    name, _, value = argument.partition("=")
    return name.lstrip("+") in PLACES or "/" in value


def _compared(published: Row, rows: pd.DataFrame) -> pd.DataFrame:
    """What was published above what came out, a line a protocol."""
    figures = {name: published.metrics.get(METRICS[name]) for name in SHOWN}
    first = {name: NOTHING if figure is None else f"{figure.value:.1f}" for name, figure in figures.items()}
    lines = [{"": "published", "runs": NOTHING} | first]
    for _, row in rows.iterrows():
        ours = {name: _spread(row[name], row[f"{name} sd"]) for name in SHOWN}
        lines.append({"": f"ours, chosen on {row['protocol.training.selected_on']}", "runs": row["seeds"]} | ours)
    return pd.DataFrame(lines)


def _for_the_readme(published: Row, rows: pd.DataFrame, finished: Sequence[JobResult]) -> pd.DataFrame:
    """A line for each protocol, in the order of the README's table."""
    name = "t2v R@1" if METRICS["t2v R@1"] in published.metrics else "t2v R-Sum (of 300)"
    usages = [usage for job in finished if (usage := _usage(job.folder))]
    figure = published.metrics[METRICS[name]]
    line: dict[str, Any] = {"row": published.title, f"published {name}": f"{figure.value:.1f}"}
    for _, row in rows.iterrows():
        title = "published protocol" if row["protocol.training.selected_on"] == "test" else "honest protocol"
        line[f"{name}, {title}"] = f"{_spread(row[name], row[f'{name} sd'])} ({row['seeds']})"
    line["hardware"] = " / ".join(dict.fromkeys(job.results.protocol.hardware for job in finished if job.results))
    line["hours a run"] = _mean(usages, "training_seconds", 3600)
    line["training memory (GB)"] = _mean(usages, "training_peak_bytes", GB)
    return pd.DataFrame([line])


def _runs(finished: Sequence[JobResult]) -> pd.DataFrame:
    """A line a run."""
    lines = []
    for job in finished:
        assert job.results is not None
        protocol, usage = job.results.protocol, _usage(job.folder)
        lines.append(
            {
                "run": job.folder.name,
                "chosen on": protocol.selected_on,
                "seed": protocol.seed,
                "checkpoint": job.results.checkpoint,
                **{name: f"{job.results.metrics[METRICS[name]]:.1f}" for name in SHOWN},
                "training hours": _mean([usage] if usage else [], "training_seconds", 3600),
                "training memory (GB)": _mean([usage] if usage else [], "training_peak_bytes", GB),
                "test seconds": _mean([usage] if usage else [], "testing_seconds", 1),
                "test memory (GB)": _mean([usage] if usage else [], "testing_peak_bytes", GB),
            }
        )
    return pd.DataFrame(lines)


def _costs(published: Row, results: Sequence[Results]) -> list[str]:
    """Published costs and ours."""
    units = {"gflops": "GFLOPs", "tokens": "tokens", "memory": "GB in training", "ms": "ms a video"}
    theirs = [f"{figure.value:g} {units[name]}" for name, figure in published.costs.items()]
    ours = [
        f"{each.cost['video_gmacs']:.2f} GMACs (GFLOPs as the papers count), {each.cost['output_tokens']} tokens, "
        f"{each.trained_parameters or 0:,} trained parameters"
        for each in results[:1]
    ]
    told = [f"Published: {', '.join(theirs)}."] if theirs else []
    return [" ".join([*told, *(f"Ours: {each}." for each in ours)])] if told or ours else []


def _sources(published: Row) -> list[str]:
    figures = [*published.metrics.values(), *published.costs.values()]
    return [f"Published numbers: {'; '.join(dict.fromkeys(figure.source for figure in figures))}."]


def _usage(folder: Path) -> dict[str, Any] | None:
    """Time and memory of a run; None where they are not known."""
    try:
        return read_json(folder / USAGE)
    except UserError:
        return None


def _mean(usages: Sequence[dict[str, Any]], name: str, unit: int | float) -> str:
    values = [usage[name] / unit for usage in usages if name in usage]
    return f"{mean(values):.3g}" if values else NOTHING


def _spread(value: float, deviation: float) -> str:
    return f"{value:.1f}" + ("" if pd.isna(deviation) else f" ± {deviation:.1f}")
