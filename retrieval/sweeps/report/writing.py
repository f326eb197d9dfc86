"""From a sweep's folder to its report."""

from pathlib import Path

import pandas as pd
from omegaconf import DictConfig

from retrieval.jobs.files import write
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
    figures, left_out = draw(rows[rows[GAIN].notna()], knobs)
    images = []
    (folder / "figures").mkdir(exist_ok=True)
    for title, figure in figures.items():
        for ending in ("svg", "png"):
            path = folder / "figures" / f"{_file_name(title)}.{ending}"
            figure.savefig(path, dpi=150)
        images.append(f"![{title}]({path.relative_to(folder)})")
    csv, text = folder / "report.csv", folder / "report.md"
    write(csv, rows.drop(columns=["label", "folder"]).to_csv(index=False))
    parts = [f"# Sweep {folder.name}", *facts(jobs, latency), markdown(as_text(rows, knobs)), *images, *left_out]
    write(text, "\n\n".join(parts) + "\n")
    return [csv, text]


def _models(rows: pd.DataFrame, jobs: list[JobResult]) -> dict[str, DictConfig]:
    """A job's config for each row that has finished ones; an evaluated checkpoint's does not tell its model."""
    configs = {job.folder.name: job.config for job in jobs if job.config.get("ckpt_path") in (None, LAST)}
    known = rows[(rows["seeds"] > 0) & rows["folder"].isin(list(configs))]
    return {row["label"]: configs[row["folder"]] for _, row in known.iterrows()}


def _file_name(title: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in title.lower()).strip("_").replace("__", "_")
