"""The report's table for people: means with deviations, in Markdown and on the screen."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from retrieval.jobs.cells import markdown_cell
from retrieval.sweeps.report.jobs import JobResult, read_jobs
from retrieval.sweeps.report.rows import FRONTS, GAIN, METRICS, knob_text, protocols, summarize

NOTHING = "-"
DIGITS = {"GMACs": ".4f", "tokens": ",.0f", "parameters": ",.0f", "latency (ms)": ".2f"}


def overview(folders: Sequence[Path]) -> str:
    """What the jobs of a sweep have reached, as a table of plain text as wide as it needs.

    Raises:
        UserError: a damaged file.
    """
    rows, knobs = summarize(read_jobs(folders))
    table = as_text(rows, knobs, metrics=("t2v R@1", "v2t R@1", GAIN), numbers=("GMACs",))
    return table.to_string(index=False)


def as_text(
    rows: pd.DataFrame, knobs: list[str], metrics: Iterable[str] = METRICS, numbers: Iterable[str] = DIGITS
) -> pd.DataFrame:
    """The table as text: `44.2 ± 1.3` with several seeds, a dash where there is nothing, a star for the fronts."""
    columns: dict[str, Any] = {"reducer": rows["reducer"]}
    columns |= {knob: [NOTHING if pd.isna(value) else knob_text(value) for value in rows[knob]] for knob in knobs}
    columns |= {"seeds": rows["seeds"].map(str), "state": rows["state"]}
    if rows["protocol"].nunique() > 1:
        columns |= {"protocol": [_number(value, "") for value in rows["protocol"]]}
    columns |= {name: spread(rows[name], rows[f"{name} sd"]) for name in metrics}
    columns |= {name: [_number(value, DIGITS[name]) for value in rows[name]] for name in numbers if name in rows}
    if any(front in rows for front in FRONTS):
        columns |= {"Pareto": [_fronts(row) for _, row in rows.iterrows()]}
    return pd.DataFrame(columns)


def markdown(table: pd.DataFrame) -> str:
    """A table of text in Markdown."""
    lines = [list(table.columns), ["---"] * len(table.columns), *table.to_numpy().tolist()]
    return "\n".join(f"| {' | '.join(map(markdown_cell, line))} |" for line in lines)


def facts(jobs: list[JobResult], latency: dict[str, Any] | None) -> list[str]:
    """What the numbers are of: under which protocols they were measured, and how latency was taken."""
    finished = [job.results for job in jobs if job.results is not None]
    sentences = [
        f"{len(finished)} of {len(jobs)} jobs have finished.",
        *(f"Protocol {number}: {text}." for number, text in _protocols(jobs).items()),
        "Recalls are in percent, means over as many seeds as the column seeds says, ± their standard deviation where "
        "there are several; rows of different protocols are not compared. R-Sum adds R@1, R@5 and R@10 of a direction "
        "(of 300, as TempMe's paper) or of both (of 600). GMACs and tokens are of one video, in closed form, "
        "or where they depend on the pixels the mean of the videos measured. A star marks the Pareto front: nothing "
        "else has a higher R-Sum of both directions at the same cost or less.",
    ]
    if latency is not None:
        sentences.append(
            f"Latency: the video tower with random weights on {latency['device']} with {latency['threads']} threads, "
            f"milliseconds a video in batches of {latency['videos']}, median of {latency['rounds']} rounds in which "
            "all models take turns."
        )
    return sentences


def _protocols(jobs: Sequence[JobResult]) -> dict[int, str]:
    """Each protocol in words; seeds, hardware and software as all of its jobs had them."""
    told: dict[int, list[dict[str, str]]] = {}
    for job, number in zip(jobs, protocols(jobs), strict=True):
        if job.results is not None and number is not None:
            told.setdefault(number, []).append(job.results.protocol.facts())
    return {
        number: "; ".join(f"{name}: {_each(facts.get(name, NOTHING) for facts in each)}" for name in each[0])
        for number, each in told.items()
    }


def _each(values: Iterable[str]) -> str:
    return " / ".join(dict.fromkeys(values))


def _fronts(row: pd.Series) -> str:
    costs = [cost.partition(" ")[0] for front, cost in FRONTS.items() if row.get(front)]
    return f"★ {', '.join(costs)}" if costs else ""


def _number(value: int | float, form: str) -> str:
    return NOTHING if pd.isna(value) else format(value, form)


def spread(means: pd.Series, deviations: pd.Series, sign: str = "") -> list[str]:
    """Means with their deviations, where there are any; `sign` "+" writes it before what is not negative too."""
    return [
        _number(mean, f"{sign}.1f") + ("" if pd.isna(deviation) else f" ± {deviation:.1f}")
        for mean, deviation in zip(means, deviations, strict=True)
    ]
