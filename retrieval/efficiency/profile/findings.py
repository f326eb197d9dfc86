"""What a profile found: `profile.json`, pictures beside it, and tables for the eye."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from retrieval.efficiency.profile.figures import draw_speed_up, draw_tokens_per_block
from retrieval.efficiency.profile.settings import Case
from retrieval.jobs.files import write_json

BASELINE = "none"
"""The label of the reducer that all is relative to."""
_log = logging.getLogger(__name__)
Row = dict[str, Any]


class Profile:
    """The findings so far.

    `profile.json` has the facts, which hold for all, and two lists of flat rows: `reducers`, what each costs on paper,
    and `measurements`, one for each reducer, batch size, precision and compilation. What is relative is so to `none` in
    the same setting and round, and missing where `none` was not profiled.

    Args:
        folder: where files are written.
        facts: what all the numbers are of: backbone, frames, device …
    """

    def __init__(self, folder: Path, facts: Mapping[str, Any]) -> None:
        self.folder, self.facts = folder, facts
        self.costs: dict[str, Row] = {}
        self.seconds: dict[Case, list[float]] = {}
        self.peaks: dict[Case, dict[str, int]] = {}

    def add_costs(self, label: str, costs: Mapping[str, Any]) -> None:
        """Add to what a reducer costs on paper; warn where PyTorch's counter disagrees with the closed form."""
        row = self.costs.setdefault(label, {})
        row.update(costs)
        for tower in ("video_gmacs", "text_gmacs"):
            if row.get(f"counted_{tower}", row.get(tower)) != row.get(tower):
                counts = f"{row[tower]} {tower} in closed form, {row[f'counted_{tower}']} counted"
                _log.warning("reducer %s: %s", label, counts)

    def add_latencies(self, seconds: Mapping[Case, list[float]]) -> None:
        """Add the seconds of cases that took turns."""
        self.seconds.update(seconds)

    def add_peak(self, stage: str, case: Case, peak: int) -> None:
        """Add the bytes at the peak of `inference` or `training`."""
        self.peaks.setdefault(case, {})[stage] = peak

    def trains(self, label: str) -> bool:
        """Whether a reducer has parameters to train under the profile's tuning."""
        return self.costs[label]["trained_parameters"] > 0

    def reducers(self) -> list[Row]:
        """What each reducer costs on paper."""
        base = self.costs.get(BASELINE)
        return [
            {"reducer": label} | row | {"gmac_ratio": _ratio(base, row, "video_gmacs")}
            for label, row in self.costs.items()
        ]

    def measurements(self) -> list[Row]:
        """What was measured of each case."""
        ratios = {row["reducer"]: row["gmac_ratio"] for row in self.reducers()}
        return [self._measurement(case, ratios[case.reducer]) for case in self.seconds]

    def write(self) -> list[Path]:
        """Write what there is; returns the files."""
        content = {**self.facts, "reducers": self.reducers(), "measurements": self.measurements()}
        data, tokens, speed = (self.folder / name for name in ("profile.json", "tokens.png", "speed_up.png"))
        write_json(data, content)
        draw_tokens_per_block(content["reducers"]).savefig(tokens, dpi=150)
        compared = [row for row in content["measurements"] if row["speed_up"]]
        if not compared:
            return [data, tokens]
        draw_speed_up(compared).savefig(speed, dpi=150)
        return [data, tokens, speed]

    def _measurement(self, case: Case, gmac_ratio: float | None) -> Row:
        seconds = self.seconds[case]
        baseline = Case(BASELINE, case.batch_size, case.precision, case.compiled)
        reference = self.seconds.get(baseline)
        ratios = [slow / fast for slow, fast in zip(reference, seconds, strict=True)] if reference else None
        row = {**asdict(case), **_spread("seconds", seconds), "videos_per_second": case.batch_size / median(seconds)}
        row |= _spread("speed_up", ratios) | {"gmac_ratio": gmac_ratio}
        row["speed_up_over_gmac_ratio"] = row["speed_up"] / gmac_ratio if ratios and gmac_ratio else None
        for stage in ("inference", "training"):
            peak, base = (self.peaks.get(each, {}).get(stage) for each in (case, baseline))
            row[f"{stage}_mib"] = peak / 2**20 if peak else None
            row[f"{stage}_memory_ratio"] = peak / base if peak and base else None
        return row


def _spread(name: str, values: Sequence[float] | None) -> Row:
    """The median over rounds and the quartiles around it; None of all where there are no values."""
    low, middle, high = quantiles(values, n=4, method="inclusive") if values else (None, None, None)
    return {name: middle, f"{name}_lower_quartile": low, f"{name}_upper_quartile": high}


def _ratio(base: Row | None, row: Row, column: str) -> float | None:
    return base[column] / row[column] if base else None
