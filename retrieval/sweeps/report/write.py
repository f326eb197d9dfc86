"""From a sweep's folder to its report."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import DictConfig

from retrieval.sweeps.report import pictures
from retrieval.sweeps.report.latency import latencies
from retrieval.sweeps.report.page import page
from retrieval.sweeps.report.pareto import pareto_front
from retrieval.sweeps.report.sweep import JobResult, group_jobs, job_table, knob_text, read_sweep
from retrieval.sweeps.report.table import FRONTS, facts, markdown, shown


def write_report(folder: Path, measure_latency: bool = True) -> list[Path]:
    """Write report.csv, report.md, report.html and figures/ into a sweep's folder; returns the first three.

    Args:
        folder: the sweep's.
        measure_latency: measure the latency of its models, unless the folder has it from an earlier report.

    Raises:
        UserError: no such folder, or no jobs in it.
        UserError: no job has finished, or a damaged file.
    """
    jobs = read_sweep(folder)
    rows, knobs = summarize(jobs)
    latency = latencies(folder, _models(rows, jobs)) if measure_latency else None
    rows = with_fronts(rows, latency)
    figures, left_out = pictures.draw(rows[rows["R-Sum"].notna()], knobs)
    paths = pictures.save(figures, folder)
    told, table = facts(jobs, latency), shown(rows, knobs)
    csv, text, html = (folder / f"report.{ending}" for ending in ("csv", "md", "html"))
    rows.drop(columns=["label", "folder"]).to_csv(csv, index=False)
    text.write_text(_text(folder.name, told, table, paths, left_out))
    html.write_text(page(f"Sweep {folder.name}", told, table, paths, left_out))
    return [csv, text, html]


def summarize(jobs: list[JobResult]) -> tuple[pd.DataFrame, list[str]]:
    """A row for jobs that differ only in their seed, labelled by what it is, and the names of the swept knobs."""
    table, knobs = job_table(jobs)
    rows = group_jobs(table, knobs)
    rows["label"] = [
        ", ".join([row["reducer"], *(f"{knob}={knob_text(row[knob])}" for knob in knobs if not pd.isna(row[knob]))])
        for _, row in rows.iterrows()
    ]
    return rows, knobs


def with_fronts(rows: pd.DataFrame, latency: dict[str, Any] | None) -> pd.DataFrame:
    """The rows with latency, where there is one, and whether they are on the Pareto fronts of R-Sum and cost."""
    rows = rows.copy()
    if latency is not None:
        rows["latency (ms)"] = rows["label"].map(latency["milliseconds"])
    for front, cost in FRONTS.items():
        if cost in rows:
            rows[front] = pareto_front(*(rows[name].to_numpy(dtype=np.float64) for name in (cost, "R-Sum")))
    return rows


def _models(rows: pd.DataFrame, jobs: list[JobResult]) -> dict[str, DictConfig]:
    """A job's config for each row that has finished ones."""
    configs = {job.folder.name: job.config for job in jobs}
    return {row["label"]: configs[row["folder"]] for _, row in rows.iterrows() if row["seeds"]}


def _text(name: str, told: list[str], table: pd.DataFrame, paths: dict[str, Path], left_out: list[str]) -> str:
    images = [f"![{title}]({path.parent.name}/{path.name})" for title, path in paths.items()]
    return "\n\n".join([f"# Sweep {name}", *told, markdown(table).strip(), *images, *left_out]) + "\n"
