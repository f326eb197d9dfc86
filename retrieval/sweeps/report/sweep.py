"""A sweep's jobs as a table: what each was, how far it came, and what it reached. Reads YAML and JSON alone."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig, OmegaConf

from retrieval.errors import UserError
from retrieval.sweeps.states import CONFIG, State, knobs, state

METRICS = {
    "t2v R@1": "t2v/r_at_1",
    "t2v R@5": "t2v/r_at_5",
    "t2v R-Sum": "t2v/r_sum",
    "v2t R@1": "v2t/r_at_1",
    "v2t R@5": "v2t/r_at_5",
    "v2t R-Sum": "v2t/r_sum",
    "R-Sum": "r_sum",
}
"""Columns of the table, and the names of the metrics in `metrics.json`."""
COSTS = {"tokens": "output_tokens", "GMACs": "video_gmacs", "parameters": "parameters"}
"""Columns of the table, and the names of the costs in `metrics.json`."""


@dataclass(frozen=True)
class JobResult:
    """A job of a sweep: its config, its state, and its `metrics.json` where it has finished."""

    folder: Path
    config: DictConfig
    state: State
    results: dict[str, Any] | None


def read_sweep(folder: Path) -> list[JobResult]:
    """All jobs of a sweep, by the names of their folders.

    Raises:
        UserError: no such folder, or no jobs in it.
        UserError: no job has finished, or a damaged file.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give a sweep's, such as runs/sweeps/ablation")
    jobs = [_read_job(path.parent) for path in sorted(folder.glob(f"*/{CONFIG}"))]
    if not jobs:
        raise UserError(f"{folder}: no jobs in it (no */{CONFIG}); give a sweep's folder, not a run's")
    if all(job.results is None for job in jobs):
        told = ", ".join(f"{job.folder.name}: {job.state}" for job in jobs[:3])
        raise UserError(f"{folder}: none of the {len(jobs)} jobs has finished ({told} …); run the sweep again")
    return jobs


def reducer_name(config: Any) -> str:
    """What a reducer's config builds, by name: `KMedoids`, `KMedoids + TempMe`, `none`."""
    if "reducers" in config:
        return " + ".join(reducer_name(each) for each in config["reducers"])
    name = config["_target_"].rpartition(".")[2]
    return "none" if name == "Reducer" else name


def knob_text(value: Any) -> str:
    """A knob's value as it was set; 4, though a column with gaps has made it 4.0."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def job_table(jobs: list[JobResult]) -> tuple[pd.DataFrame, list[str]]:
    """A row a job, and the names of the columns that hold the knobs in which jobs differ."""
    table = pd.DataFrame([_row(job) for job in jobs])
    varying = _varying_knobs(jobs)
    for column in dict.fromkeys(varying.values()):
        table[column] = None
    for row, job in enumerate(jobs):
        values = knobs(job.config)
        for name, column in varying.items():
            if name in values:
                table.loc[row, column] = values[name]
    return table, list(dict.fromkeys(varying.values()))


def group_jobs(table: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """A row for jobs that differ only in their seed: means, standard deviations (`… sd`, n - 1), counts and states."""
    rows = []
    keys = ["reducer", *columns]
    for _, group in table.astype(dict.fromkeys(keys, object)).groupby(keys, dropna=False, sort=False):
        finished = group[group["state"] == State.FINISHED]
        row = {key: group.iloc[0][key] for key in keys} | {"seeds": len(finished), "state": _states(group)}
        row |= {name: finished[name].mean() for name in METRICS}
        row |= {f"{name} sd": finished[name].std() for name in METRICS}
        row |= {name: finished[name].max() for name in COSTS}
        rows.append(row | {"folder": group.iloc[0]["folder"]})
    return pd.DataFrame(rows)


def _read_job(folder: Path) -> JobResult:
    found, path = state(folder), folder / "metrics.json"
    try:
        results = json.loads(path.read_text()) if found is State.FINISHED and path.is_file() else None
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: damaged ({error}); delete the job's folder and run the sweep again") from error
    return JobResult(folder, OmegaConf.load(folder / CONFIG), found, results)  # type: ignore[arg-type]


def _row(job: JobResult) -> dict[str, Any]:
    metrics, costs = ({}, {}) if job.results is None else (job.results["metrics"], job.results["cost"])
    row = {"reducer": reducer_name(job.config.reducer), "seed": job.config.seed, "state": job.state}
    row |= {column: metrics.get(name, float("nan")) for column, name in METRICS.items()}
    row |= {column: costs.get(name, float("nan")) for column, name in COSTS.items()}
    return row | {"folder": job.folder.name}


def _states(group: pd.DataFrame) -> str:
    """`finished`, or how many of the jobs are in which state."""
    counts = group["state"].value_counts()
    if list(counts.index) == [State.FINISHED]:
        return str(State.FINISHED)
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def _varying_knobs(jobs: list[JobResult]) -> dict[str, str]:
    """The knobs in which jobs with the same reducer differ, by dotted name, and the column that each goes to.

    A knob that always has the value of one before it follows from that one, as do a module's seed from the job's.
    """
    varying: dict[str, str] = {}
    for reducer in dict.fromkeys(reducer_name(job.config.reducer) for job in jobs):
        alike = [knobs(job.config) for job in jobs if reducer_name(job.config.reducer) == reducer]
        columns: dict[tuple[Any, ...], str] = {}
        for name in ["seed", *dict.fromkeys(name for each in alike for name in each)]:
            values = tuple(each.get(name) for each in alike)
            if len(set(values)) > 1:
                columns.setdefault(values, name)
        varying |= {name: _column(name) for name in columns.values() if name != "seed"}
    return varying


def _column(name: str) -> str:
    """A knob's own name, without the parts that it belongs to; an element of a list keeps its number."""
    parts = name.split(".")
    last = max(position for position, part in enumerate(parts) if not part.isdigit())
    return ".".join(parts[last:])
