"""What a sweep over budgets has found: each reducer at each share of the unreduced GMACs, trained and off the shelf."""

import json
from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from retrieval.jobs.cells import markdown_cell
from retrieval.jobs.protocol import Protocol
from retrieval.sweeps.report.charts import CONTROL, panels
from retrieval.sweeps.report.jobs import JobResult
from retrieval.sweeps.report.off_the_shelf import CHANGES
from retrieval.sweeps.report.rows import BESIDE, GAIN, R_AT_1
from retrieval.sweeps.report.table import NOTHING, markdown, spread
from retrieval.training.usage import FILE as USAGE

FILE = "frontier.md"
TRAINED, SHELF = "frontier", "off the shelf"
"""The titles of the two pictures."""


def pictures(rows: pd.DataFrame) -> dict[str, Figure]:
    """What was trained with each reducer against its cost, and where it was measured what it loses without training."""
    costs = [cost for cost in ("GMACs", "latency (ms)") if cost in rows and rows[cost].notna().any()]
    gains = [gain for gain in (GAIN, R_AT_1, BESIDE) if rows[gain].notna().any()]
    figures = {TRAINED: panels(rows, costs, gains)}
    if all(change in rows for change in CHANGES.values()):
        figures[SHELF] = panels(rows, ["GMACs"], list(CHANGES.values()))
    return figures


def text(rows: pd.DataFrame, jobs: list[JobResult]) -> str:
    """The table in Markdown, with what the numbers are of."""
    finished = [job for job in jobs if job.results is not None]
    seeds = f"{rows['seeds'].min()} to {rows['seeds'].max()}" if rows["seeds"].nunique() > 1 else rows["seeds"].max()
    test = finished[0].results.protocol if finished[0].results else None
    sentences = [
        f"{len(finished)} jobs of {_seconds(finished)} on average; {seeds} seeds each, means ± standard deviations."
        + (f" {test.facts()['split']}{_chance(test)}." if test else ""),
    ]
    return "\n\n".join([markdown(table(rows, jobs)), *map(markdown_cell, sentences)]) + "\n"


def _chance(test: Protocol) -> str:
    """The R-Sum of a random order; nothing where videos have several captions, the best of which counts."""
    if test.captions != test.videos:
        return ""
    return f"; by chance R-Sum is {200 * sum(min(rank / test.videos, 1) for rank in (1, 5, 10)):.0f}"


def table(rows: pd.DataFrame, jobs: list[JobResult]) -> pd.DataFrame:
    """A line for each reducer and budget as text: the unreduced model first, then the control, then the others."""
    first = {"none": 0, CONTROL: 1}
    order = rows.assign(first=rows["reducer"].map(first).fillna(2))
    rows = order.sort_values(["first", "reducer", "GMACs"], ascending=[True, True, False], kind="stable")
    whole = rows.loc[rows["reducer"] == "none", "GMACs"].max()
    settings = _settings(jobs)
    columns: dict[str, Any] = {"reducer": rows["reducer"], "setting": [settings[folder] for folder in rows["folder"]]}
    columns |= {"GMACs": [f"{gmacs:.3f}" for gmacs in rows["GMACs"]]}
    columns |= {"share": [NOTHING if pd.isna(whole) else f"{gmacs / whole:.0%}" for gmacs in rows["GMACs"]]}
    if "latency (ms)" in rows:
        columns |= {"ms a video": [NOTHING if pd.isna(ms) else f"{ms:.2f}" for ms in rows["latency (ms)"]]}
    names = {gain: gain for gain in (R_AT_1, GAIN, BESIDE)}
    names |= {CHANGES[gain]: f"off the shelf: {gain.removesuffix(' (of 600)')}" for gain in (R_AT_1, GAIN)}
    columns |= {
        name: spread(rows[gain], rows[f"{gain} sd"], "+" if gain in (BESIDE, *CHANGES.values()) else "")
        for gain, name in names.items()
        if gain in rows
    }
    return pd.DataFrame(columns)


def _settings(jobs: list[JobResult]) -> dict[str, str]:
    """By folder the reducer's knobs in which jobs with the same reducer differ."""
    found = {}
    for job in jobs:
        alike = [_knobs(other.config.get("reducer")) for other in jobs if other.reducer == job.reducer]
        own = _knobs(job.config.get("reducer"))
        varying = [knob for knob in own if any(other.get(knob) != own[knob] for other in alike)]
        found[job.folder.name] = ", ".join(f"{knob.rpartition('.')[2]}={own[knob]}" for knob in varying) or NOTHING
    return found


def _knobs(config: Any, name: str = "") -> dict[str, str]:
    """Knobs by dotted name as text; a list of numbers is one knob, one of reducers holds those of each."""
    if isinstance(config, Mapping):
        return {key: text for knob, value in config.items() for key, text in _knobs(value, f"{name}.{knob}").items()}
    if isinstance(config, Sequence) and not isinstance(config, str):
        if any(isinstance(each, Mapping) for each in config):
            return _knobs({str(place): each for place, each in enumerate(config)}, name)
        return {name: f"[{', '.join(map(str, config))}]"}
    return {name: str(config)}


def _seconds(jobs: list[JobResult]) -> str:
    """How long a job took on average, its start left out."""
    found = []
    for job in jobs:
        try:
            usage = json.loads((job.folder / USAGE).read_text(encoding="utf-8"))
            found.append(float(usage["training_seconds"]) + float(usage["testing_seconds"]))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return f"{mean(found):.0f} s" if found else "unknown length"
