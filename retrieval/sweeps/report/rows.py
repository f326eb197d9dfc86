"""From jobs to the report's rows: one for all that differ only in their seed, with means, deviations and fronts."""

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from retrieval.sweeps.budgets import BUDGET
from retrieval.sweeps.report.jobs import JobResult
from retrieval.sweeps.states import State, knobs

GAIN = "both R-Sum (of 600)"
"""The column that pictures and Pareto fronts go by."""
METRICS = {
    "t2v R@1": "t2v/r_at_1",
    "t2v R@5": "t2v/r_at_5",
    "t2v R@10": "t2v/r_at_10",
    "t2v R-Sum (of 300)": "t2v/r_sum",
    "t2v geometric mean": "t2v/geometric_mean",
    "v2t R@1": "v2t/r_at_1",
    "v2t R@5": "v2t/r_at_5",
    "v2t R@10": "v2t/r_at_10",
    "v2t R-Sum (of 300)": "v2t/r_sum",
    "v2t geometric mean": "v2t/geometric_mean",
    GAIN: "both/r_sum",
}
"""Columns of the table, and the names of the metrics in `metrics.json`; sums say their best possible value."""
COSTS = {"tokens": "output_tokens", "GMACs": "video_gmacs", "parameters": "parameters"}
"""Columns of the table, and the names of the costs in `metrics.json`."""
MEANS = {"tokens": "mean_output_tokens", "GMACs": "mean_tower_gmacs"}
"""What takes their place where it depends on the pixels: what the videos have taken on average."""
BESIDE = "R-Sum beside none"
"""The column of what a reducer changes, seed by seed: seeds of a short training differ by more than reducers do."""
R_AT_1 = "t2v R@1"
"""The column of the other pictures against cost."""
FRONTS = {"front by GMACs": "GMACs", "front by latency": "latency (ms)"}
"""Columns that tell the members of a Pareto front of `GAIN`, and what costs there."""
YARDSTICK = [
    *(f"protocol.{name}" for name in ("split", "videos", "captions")),
    *(f"protocol.training.{name}" for name in ("selected_by", "selected_on")),
]
"""Columns in which rows have to agree for one of them to beat another."""
FIXED = {
    "reducer",
    "seeds",
    "state",
    "protocol",
    "folder",
    "label",
    "Pareto",
    *METRICS,
    BESIDE,
    *COSTS,
    *FRONTS,
    *FRONTS.values(),
}
"""Columns that no knob may take."""
FOLLOWING = ("name", "data.store.folder", "data.store.root")
"""Knobs that only follow from others."""
TARGET = "._target_"


def summarize(jobs: list[JobResult]) -> tuple[pd.DataFrame, list[str]]:
    """A row for jobs that differ only in their seed, and the names of the columns of the knobs in which jobs differ.

    Beside the knobs a row has `reducer`, `seeds` (how many have finished), `state`, the means and standard deviations
    (`… sd`, n - 1) of the metrics and of `BESIDE`, the costs, `protocol`, which counts the protocols from 1, and its
    facts (`protocol.…`; seeds, hardware and software as all of its jobs had them), `label`, which is what it is in
    words, and `folder`, that of its first job. Numbers that were measured or trained under another protocol have a row
    of their own.
    """
    columns = _columns(jobs)
    table = pd.DataFrame([_job_row(job, columns, number) for job, number in zip(jobs, protocols(jobs), strict=True)])
    table[BESIDE] = _beside_none(table, jobs)
    swept = list(dict.fromkeys(columns.values()))
    keys = ["reducer", *swept]
    table["protocol"] = _with_unfinished(table, keys)
    keys.append("protocol")
    groups = table.astype(dict.fromkeys(keys, object)).groupby(keys, dropna=False, sort=False)
    rows = pd.DataFrame([_group_row(group, swept) for _, group in groups])
    return rows.merge(_facts(jobs), on="protocol", how="left"), swept


def protocols(jobs: Sequence[JobResult]) -> list[int | None]:
    """Which protocol each job's numbers are of, counted from 1; None where there are no numbers."""
    kinds = [job.results and tuple(job.results.protocol.comparable().items()) for job in jobs]
    numbers = {kind: number for number, kind in enumerate(dict.fromkeys(filter(None, kinds)), 1)}
    return [numbers.get(kind) if kind else None for kind in kinds]


def _facts(jobs: Sequence[JobResult]) -> pd.DataFrame:
    """The facts of each protocol, a row each."""
    found = {number: job.results for job, number in zip(jobs, protocols(jobs), strict=True) if job.results}
    facts = [
        {"protocol": number} | {f"protocol.{name}": value for name, value in results.protocol.comparable().items()}
        for number, results in found.items()
    ]
    return pd.DataFrame(facts or {"protocol": []}).astype({"protocol": object})


def _beside_none(table: pd.DataFrame, jobs: Sequence[JobResult]) -> pd.Series:
    """By how much the R-Sum of each job is above that of the unreduced job of its seed; NaN without one such job."""
    seeds = pd.Series([job.config.get("seed") for job in jobs], dtype=object)
    unreduced = table[GAIN].where(table["reducer"] == "none").dropna()
    of_seed = unreduced.groupby(seeds).agg(lambda found: found.iloc[0] if len(found) == 1 else np.nan)
    return table[GAIN] - seeds.map(of_seed).astype(float)


def _with_unfinished(table: pd.DataFrame, keys: list[str]) -> pd.Series:
    """The protocol of each job; one without numbers stands with the first that has some and the same knobs."""
    filled = table.astype(dict.fromkeys(keys, object)).groupby(keys, dropna=False, sort=False)["protocol"]
    return table["protocol"].astype(object).where(table["protocol"].notna(), filled.transform("first"))


def with_fronts(rows: pd.DataFrame, latency: dict[str, Any] | None) -> pd.DataFrame:
    """The rows with latency, where there is one, and whether they are on the Pareto fronts of `GAIN` and cost."""
    rows = rows.copy()
    if latency is not None:
        rows["latency (ms)"] = rows["label"].map(latency["milliseconds"])
    for front, cost in FRONTS.items():
        if cost in rows:
            rows[front] = on_front(rows, cost, GAIN)
    return rows


def on_front(rows: pd.DataFrame, cost: str, gain: str) -> pd.Series:
    """Which rows are on the Pareto front of their own yardstick."""
    members = pd.Series(False, index=rows.index)
    for _, alike in rows.groupby(YARDSTICK, dropna=False):
        members[alike.index] = pareto_front(*(alike[name].to_numpy(np.float64) for name in (cost, gain)))
    return members


def pareto_front(cost: Float[np.ndarray, " point"], gain: Float[np.ndarray, " point"]) -> Bool[np.ndarray, " point"]:
    """Which points no other dominates: costs at most as much and gains at least as much, and one of both strictly.

    A point with a missing cost or gain (NaN) is never on the front.
    """
    cheaper = cost[:, None] <= cost
    better = gain[:, None] >= gain
    strictly = (cost[:, None] < cost) | (gain[:, None] > gain)
    return ~(cheaper & better & strictly).any(axis=0) & ~np.isnan(cost) & ~np.isnan(gain)


def knob_text(value: Any) -> str:
    """A knob's value as it was set; 4, though a column with gaps has made it 4.0."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _job_row(job: JobResult, columns: dict[str, str], protocol: int | None) -> dict[str, Any]:
    metrics, costs = ({}, {}) if job.results is None else (job.results.metrics, job.results.cost)
    values = {name: _value(name, value) for name, value in knobs(job.config).items()}
    row = dict.fromkeys(columns.values()) | {columns[name]: values[name] for name in columns if name in values}
    row |= {"reducer": job.reducer, "state": job.state, "folder": job.folder.name, "protocol": protocol}
    row |= {column: metrics.get(name, float("nan")) for column, name in METRICS.items()}
    row |= {column: _cost(costs, column) for column in COSTS}
    circumstances = {} if job.results is None else job.results.protocol.circumstances()
    return row | {f"protocol.{name}": text for name, text in circumstances.items()}


def _cost(costs: Mapping[str, Any], column: str) -> Any:
    """What a video costs; where that depends on the pixels, what the videos have taken on average."""
    most = costs.get(COSTS[column], float("nan"))
    if column == "GMACs" and MEANS[column] in costs:
        return costs[MEANS[column]] + most - costs.get("tower_gmacs", most)  # head and reducer cost what they do anyway
    return costs.get(MEANS.get(column, ""), most)


def _group_row(group: pd.DataFrame, swept: list[str]) -> dict[str, Any]:
    first, finished = group.iloc[0], group[group["state"] == State.FINISHED]
    known = [f"{knob}={knob_text(first[knob])}" for knob in swept if not pd.isna(first[knob])]
    row = {key: first[key] for key in ("reducer", *swept)} | {"seeds": len(finished), "state": _states(group)}
    row |= {name: finished[name].mean() for name in [*METRICS, BESIDE]}
    row |= {f"{name} sd": finished[name].std() for name in [*METRICS, BESIDE]}
    row |= {name: finished[name].max() for name in COSTS}
    label = ", ".join([first["reducer"], *known])
    told = [name for name in finished if name.startswith("protocol.")]
    row |= {name: " / ".join(dict.fromkeys(finished[name].dropna())) for name in told}
    return row | {"protocol": first["protocol"], "folder": first["folder"], "label": label}


def _states(group: pd.DataFrame) -> str:
    """`finished`, or how many of the jobs are in which state."""
    counts = group["state"].value_counts()
    if list(counts.index) == [State.FINISHED]:
        return str(State.FINISHED)
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def _columns(jobs: list[JobResult]) -> dict[str, str]:
    """The knobs in which jobs with the same reducer differ, by dotted name, and the column that each goes to.

    A knob that always has the value of one before it follows from that one, as do a module's seed from the job's; and
    what has one value for each budget is a setting that was found for it.
    """
    varying: dict[str, None] = {}
    together = []
    for reducer in dict.fromkeys(job.reducer for job in jobs):
        alike = [knobs(job.config) for job in jobs if job.reducer == reducer]
        names = dict.fromkeys(name for each in alike for name in each if name not in FOLLOWING)
        first: dict[tuple[Any, ...], str] = {}
        budgets = [each.get(BUDGET) for each in alike]
        for name in ["seed", BUDGET, *names]:
            values = tuple(each.get(name) for each in alike)
            found = name != BUDGET and len(set(zip(budgets, values, strict=True))) == len(set(budgets))
            if (len(set(values)) > 1 and not found) or (name == BUDGET and any(values)):
                first.setdefault(values, name)
        varying |= {name: None for name in first.values() if name != "seed"}
        together.append(names.keys())
    return {name: _column(name, varying, together) for name in varying}


def _column(name: str, varying: Iterable[str], together: Sequence[Set[str]]) -> str:
    """A knob's own name, or its dotted one where the same reducer's jobs have another knob of that name."""
    others = {other for other in varying if other != name and any({name, other} <= names for names in together)}
    taken = FIXED | {_own_name(other) for other in others}
    return next((column for column in (_own_name(name), name.removesuffix(TARGET)) if column not in taken), name)


def _own_name(name: str) -> str:
    """A knob's name without the parts that it belongs to; an element of a list keeps its number."""
    parts = name.removesuffix(TARGET).split(".")
    last = max(position for position, part in enumerate(parts) if not part.isdigit())
    return ".".join(parts[last:])


def _value(name: str, value: Any) -> Any:
    """A knob's value for its column: of a class its own name."""
    return value.rpartition(".")[2] if name.endswith(TARGET) else value
