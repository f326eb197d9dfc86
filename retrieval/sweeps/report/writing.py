"""From a sweep's folder to its report."""

from pathlib import Path

import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure
from omegaconf import DictConfig

from retrieval.jobs.cells import csv_cell, markdown_cell
from retrieval.jobs.files import refusals, write
from retrieval.jobs.runs import LAST
from retrieval.sweeps.budgets import BUDGET
from retrieval.sweeps.report import frontier
from retrieval.sweeps.report.charts import draw
from retrieval.sweeps.report.jobs import JobResult, read_sweep
from retrieval.sweeps.report.latency import latencies
from retrieval.sweeps.report.off_the_shelf import off_the_shelf, with_changes
from retrieval.sweeps.report.rows import GAIN, MEANS, summarize, with_fronts
from retrieval.sweeps.report.table import as_text, facts, markdown


def write_report(
    folder: Path, measure_latency: bool = True, measure_off_the_shelf: bool = False, conf: Path | None = None
) -> list[Path]:
    """Write report.csv, report.md and figures/ into a sweep's folder, of one over budgets frontier.md too; returns all
    but the figures.

    Args:
        folder: the sweep's.
        measure_latency: measure the latency of its models, unless the folder has it from an earlier report.
        measure_off_the_shelf: measure the sweep's unreduced models with each reducer, unless the folder has that.
        conf: the user's own conf.

    Raises:
        UserError: no such folder, or no jobs in it.
        UserError: no job has finished, or a damaged file.
        UserError: no unreduced model to measure with the reducers.
    """
    jobs = read_sweep(folder)
    rows, knobs = summarize(jobs)
    models = _models(rows, jobs)
    latency = latencies(folder, models, _left(rows, jobs)) if models and measure_latency else None
    rows = with_fronts(rows, latency)
    if scores := off_the_shelf(folder, jobs, models, measure_off_the_shelf, conf):
        rows = with_changes(rows, scores)
    reached = rows[rows[GAIN].notna()]
    of_budgets = BUDGET in knobs
    with rc_context({"text.parse_math": False}):  # a $ in a name is no formula
        figures, left_out = draw(reached, knobs)
        figures |= frontier.pictures(reached) if of_budgets else {}
        images = [_save(folder, title, figure) for title, figure in figures.items()]
    csv, text = folder / "report.csv", folder / "report.md"
    table = rows.drop(columns=["label", "folder"]).map(csv_cell).rename(columns=csv_cell)
    write(csv, table.to_csv(index=False))
    before, after = ([markdown_cell(each) for each in sentences] for sentences in (facts(jobs, latency), left_out))
    title = f"# Sweep {markdown_cell(folder.name)}"
    parts = [title, *before, markdown(as_text(rows, knobs)), *images, *after]
    write(text, "\n\n".join(parts) + "\n")
    if not of_budgets:
        return [csv, text]
    write(folder / frontier.FILE, frontier.text(reached, jobs))
    return [csv, text, folder / frontier.FILE]


def _save(folder: Path, title: str, figure: Figure) -> str:
    """Save a picture under its title; returns the line of Markdown that shows it."""
    name = "".join(letter if letter.isalnum() else "_" for letter in title.lower()).strip("_").replace("__", "_")
    with refusals(folder / "figures", "copy the sweep to a folder of your own"):
        (folder / "figures").mkdir(exist_ok=True)
        for ending in ("svg", "png"):
            figure.savefig(folder / "figures" / f"{name[:100]}.{ending}", dpi=150)
    return f"![{markdown_cell(title)}](figures/{name[:100]}.png)"


def _left(rows: pd.DataFrame, jobs: list[JobResult]) -> dict[str, float]:
    """Mean tokens of each row for which they depend on the pixels."""
    means = {job.folder.name: job.results.cost.get(MEANS["tokens"]) for job in jobs if job.results}
    found = {row["label"]: means.get(row["folder"]) for _, row in rows.iterrows()}
    return {label: float(mean) for label, mean in found.items() if isinstance(mean, int | float)}


def _models(rows: pd.DataFrame, jobs: list[JobResult]) -> dict[str, DictConfig]:
    """A job's config for each row that has finished ones; an evaluated checkpoint's does not tell its model."""
    configs = {job.folder.name: job.config for job in jobs if job.config.get("ckpt_path") in (None, LAST)}
    known = rows[(rows["seeds"] > 0) & rows["folder"].isin(list(configs))]
    return {row["label"]: configs[row["folder"]] for _, row in known.iterrows()}
