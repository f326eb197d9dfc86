"""What a profile found: `profile.json`, pictures beside it, and tables for the eye."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from retrieval.efficiency.profile.figures import draw_speed_up, draw_tokens_per_block
from retrieval.efficiency.profile.fits import largest_batches
from retrieval.efficiency.profile.settings import Case
from retrieval.jobs.files import write_json

BASELINE = "none"
"""The label of the reducer that all is relative to."""
_log = logging.getLogger(__name__)
Row = dict[str, Any]


class Profile:
    """The findings so far.

    `profile.json` has the facts, which hold for all, and four lists of flat rows: `reducers`, what each costs on paper
    as it encodes, `trained`, the same as it trains under each tuning, `measurements`, one for each case, and `fits`,
    the largest batches. What is relative is so to `none` in the same setting and round, and missing where `none` was
    not profiled.

    Args:
        folder: where files are written.
        facts: what all the numbers are of: backbone, frames, device …
        cards: GB of memory for which the largest training batch is told.
    """

    def __init__(self, folder: Path, facts: Mapping[str, Any], cards: Sequence[float | int] = ()) -> None:
        self.folder, self.facts, self.cards = folder, facts, cards
        self.costs: dict[str, Row] = {}
        self.costs_in_training: dict[tuple[str, str], Row] = {}
        self.seconds: dict[Case, list[float]] = {}
        self.peaks: dict[Case, int] = {}

    def add_costs(self, label: str, costs: Mapping[str, Any]) -> None:
        """Add to what a reducer costs on paper; warn where PyTorch's counter disagrees with the closed form."""
        row = self.costs.setdefault(label, {})
        row.update(costs)
        for tower in ("video_gmacs", "text_gmacs"):
            if row.get(f"counted_{tower}", row.get(tower)) != row.get(tower):
                counts = f"{row[tower]} {tower} in closed form, {row[f'counted_{tower}']} counted"
                _log.warning("reducer %s: %s", label, counts)

    def add_costs_in_training(self, label: str, tuning: str, costs: Mapping[str, Any]) -> None:
        """Add what a reducer costs on paper as it trains under a tuning."""
        self.costs_in_training[label, tuning] = dict(costs)

    def add_seconds(self, seconds: Mapping[Case, list[float]]) -> None:
        """Add the seconds of cases that took turns."""
        self.seconds.update(seconds)

    def add_peak(self, case: Case, peak: int) -> None:
        """Add the bytes at the peak of a case."""
        self.peaks[case] = peak

    def trainable(self) -> list[tuple[str, str]]:
        """The reducers and tunings under which they have parameters to train."""
        return [case for case, costs in self.costs_in_training.items() if costs["trained_parameters"] > 0]

    def reducers(self) -> list[Row]:
        """What each reducer costs on paper."""
        base = self.costs.get(BASELINE)
        return [{"reducer": label} | row | {"gmac_ratio": _ratio(base, row)} for label, row in self.costs.items()]

    def trained(self) -> list[Row]:
        """What each reducer costs on paper as it trains."""
        return [
            {"reducer": label, "tuning": tuning}
            | row
            | {"gmac_ratio": _ratio(self.costs_in_training.get((BASELINE, tuning)), row)}
            for (label, tuning), row in self.costs_in_training.items()
        ]

    def measurements(self) -> list[Row]:
        """What was measured of each case."""
        ratios = {(row["reducer"], row.get("tuning")): row["gmac_ratio"] for row in self.reducers() + self.trained()}
        cases = dict.fromkeys([*self.seconds, *self.peaks])
        return [self._measurement(case, ratios[case.reducer, case.tuning]) for case in cases]

    def fits(self) -> list[Row]:
        """The largest batch that trains in the memory of each card."""
        return largest_batches(self.peaks, self.cards)

    def write(self) -> list[Path]:
        """Write what there is; returns the files."""
        rows = {"reducers": self.reducers(), "trained": self.trained(), "measurements": self.measurements()}
        rows["fits"] = self.fits()
        data, tokens, speed = (self.folder / name for name in ("profile.json", "tokens.png", "speed_up.png"))
        write_json(data, {**self.facts, **rows})
        draw_tokens_per_block(rows["reducers"]).savefig(tokens, dpi=150)
        compared = [row for row in rows["measurements"] if row["speed_up"]]
        if not compared:
            return [data, tokens]
        draw_speed_up(compared).savefig(speed, dpi=150)
        return [data, tokens, speed]

    def _measurement(self, case: Case, gmac_ratio: float | None) -> Row:
        seconds = self.seconds.get(case)
        baseline = replace(case, reducer=BASELINE)
        reference = self.seconds.get(baseline)
        ratios = [slow / fast for slow, fast in zip(reference, seconds, strict=True)] if reference and seconds else None
        row = {**asdict(case), **_spread("seconds", seconds)}
        row["videos_per_second"] = case.batch_size / median(seconds) if seconds else None
        row |= _spread("speed_up", ratios) | {"gmac_ratio": gmac_ratio}
        row["speed_up_over_gmac_ratio"] = row["speed_up"] / gmac_ratio if ratios and gmac_ratio else None
        peak, base = self.peaks.get(case), self.peaks.get(baseline)
        row["mib"] = peak / 2**20 if peak else None
        row["memory_ratio"] = peak / base if peak and base else None
        return row


def _spread(name: str, values: Sequence[float] | None) -> Row:
    """The median over rounds and the quartiles around it; None of all where there are no values."""
    low, middle, high = quantiles(values, n=4, method="inclusive") if values else (None, None, None)
    return {name: middle, f"{name}_lower_quartile": low, f"{name}_upper_quartile": high}


def _ratio(base: Row | None, row: Row) -> float | None:
    return base["video_gmacs"] / row["video_gmacs"] if base else None
