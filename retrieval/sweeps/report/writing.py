"""From a sweep's folder to its report."""

from pathlib import Path

import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure
from omegaconf import DictConfig

from retrieval.jobs.cells import csv_cell, markdown_cell
from retrieval.jobs.files import refusals, write
from retrieval.jobs.runs import LAST
from retrieval.sweeps.report.charts import draw
from retrieval.sweeps.report.jobs import JobResult, read_sweep
from retrieval.sweeps.report.latency import latencies
from retrieval.sweeps.report.rows import GAIN, summarize, with_fronts
from retrieval.sweeps.report.table import as_text, facts, markdown


def write_report(folder: Path, measure_latency: bool = True) -> list[Path]:
    """Write report.csv, report.md and figures/ into a sweep's folder; returns the first two.

    Args:
        folder: the sweep's.
        measure_latency: measure the latency of its models, unless the folder has it from an earlier report.

    Raises:
        UserError: no such folder, or no jobs in it.
        UserError: no job has finished, or a damaged file.
    """
    jobs = read_sweep(folder)
    rows, knobs = summarize(jobs)
    models = _models(rows, jobs) if measure_latency else {}
    latency = latencies(folder, models) if models else None
    rows = with_fronts(rows, latency)
    with rc_context({"text.parse_math": False}):  # a $ in a name is no formula
        figures, left_out = draw(rows[rows[GAIN].notna()], knobs)
        images = [_save(folder, title, figure) for title, figure in figures.items()]
    csv, text = folder / "report.csv", folder / "report.md"
    table = rows.drop(columns=["label", "folder"]).map(csv_cell).rename(columns=csv_cell)
    write(csv, table.to_csv(index=False))
    before, after = ([markdown_cell(each) for each in sentences] for sentences in (facts(jobs, latency), left_out))
    title = f"# Sweep {markdown_cell(folder.name)}"
    parts = [title, *before, markdown(as_text(rows, knobs)), *images, *after]
    write(text, "\n\n".join(parts) + "\n")
    return [csv, text]


def _save(folder: Path, title: str, figure: Figure) -> str:
    """Save a picture under its title; returns the line of Markdown that shows it."""
    name = "".join(letter if letter.isalnum() else "_" for letter in title.lower()).strip("_").replace("__", "_")
    with refusals(folder / "figures", "copy the sweep to a folder of your own"):
        (folder / "figures").mkdir(exist_ok=True)
        for ending in ("svg", "png"):
            figure.savefig(folder / "figures" / f"{name[:100]}.{ending}", dpi=150)
    return f"![{markdown_cell(title)}](figures/{name[:100]}.png)"


def _models(rows: pd.DataFrame, jobs: list[JobResult]) -> dict[str, DictConfig]:
    """A job's config for each row that has finished ones; an evaluated checkpoint's does not tell its model."""
    configs = {job.folder.name: job.config for job in jobs if job.config.get("ckpt_path") in (None, LAST)}
    known = rows[(rows["seeds"] > 0) & rows["folder"].isin(list(configs))]
    return {row["label"]: configs[row["folder"]] for _, row in known.iterrows()}
