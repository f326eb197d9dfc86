"""The page of the GPU's benchmark: device and versions, the targets beside what was measured, and all cases."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version

import torch

from retrieval.efficiency.benchmark.gpu.cases import COMPILED, LONG, STRAIGHTFORWARD, Case
from retrieval.efficiency.benchmark.gpu.measuring import Result

NONE = "\N{EN DASH}"
Row = Sequence[str]


def page(
    results: Sequence[Result],
    rates: Mapping[str, float],
    attention: Mapping[tuple[int, int], tuple[float, float]],
    device: str,
) -> str:
    """All of it, in Markdown.

    Args:
        results: of all cases.
        rates: what `product_rates` found.
        attention: what `biased_attention` found.
        device: `cpu` or `cuda`.
    """
    name = torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine()
    cuda = f", CUDA {torch.version.cuda}" if device == "cuda" else ""
    peaks = ", ".join(f"{2 * rate / 1000:.3g} TFLOP/s in {precision}" for precision, rate in rates.items())
    warning = (
        "" if device == "cuda" else "**CUDA was not measured: no device was found. These are the CPU's figures.**\n\n"
    )
    biased = [
        [f"{clips} x {tokens}", *(f"{1000 * seconds:.2f} ms" for seconds in pair)]
        for (clips, tokens), pair in attention.items()
    ]
    return (
        f"# Speed and memory on {name}\n\n{warning}"
        f"retrieval {version('retrieval')}, PyTorch {torch.__version__}{cuda}, Python {platform.python_version()}. "
        f"A large matrix product reaches {peaks}; shares of the peak are of these. A training step counts as three "
        "forward passes, and trains all parameters.\n\n## Targets\n\n"
        + _table(("target", "measured", "met"), targets(results, device))
        + "\n## Proportional attention in bf16\n\n"
        + _table(("clips x tokens", "by mask", "by channels"), biased)
        + "\n## All cases\n\n"
        + _table(COLUMNS, [_row(result, results, rates) for result in results])
    )


COLUMNS = (
    "backbone",
    "stage",
    "batch",
    "way",
    "reducer",
    "videos/s",
    "over none",
    "GMAC ratio",
    "peak MiB",
    "of the device's peak",
)


def _row(result: Result, results: Sequence[Result], rates: Mapping[str, float]) -> Row:
    case = result.case
    batch = f"{case.batch}" if case.frames == 12 else f"{case.batch} x {case.frames} frames"
    cells = [case.backbone, case.stage, batch, case.way, case.reducer]
    if result.seconds is None:
        return [*cells, result.note, *[NONE] * 4]
    unreduced = _found(results, replace(case, reducer="none"))
    known = unreduced is not None and unreduced.seconds is not None
    return [
        *cells,
        f"{case.batch / result.seconds:.1f}",
        f"{unreduced.seconds / result.seconds:.2f}" if known else NONE,  # type: ignore[union-attr, operator]
        f"{unreduced.gmacs / result.gmacs:.2f}" if known else NONE,  # type: ignore[union-attr]
        NONE if result.peak_bytes is None else f"{result.peak_bytes / 2**20:.0f}",
        f"{result.gmacs / result.seconds / rates[result.precision]:.0%}",
    ]


def targets(results: Sequence[Result], device: str) -> list[Row]:
    """The targets, what was measured and whether they are met; on the CPU nothing tells whether they are."""
    rows: list[Row] = []
    for case in (each.case for each in results):
        if case.reducer == "tempme" and "B-16" in case.backbone and case.stage == "inference":
            rows.append(_speed_up(results, case))
        if case.reducer == "tempme" and case.way == COMPILED and case.stage == "inference":
            rows.append(_over_straightforward(results, case))
        if case.reducer == "kmedoids" and case.frames == LONG:
            rows.append(_long_videos(results, case))
    if device == "cpu":
        return [[target, measured, "not on the CPU"] for target, measured, _ in rows]
    return rows


def _speed_up(results: Sequence[Result], case: Case) -> Row:
    """TempMe is as much faster as it has fewer multiply-accumulates, but for a twentieth."""
    ours, unreduced = _found(results, case), _found(results, replace(case, reducer="none"))
    target = f"TempMe on ViT-B/16, {case.way}, batch {case.batch}: at least 95 % of its GMAC ratio faster than without"
    ratio = _ratio(unreduced, ours)
    if ratio is None or ours is None or unreduced is None:
        return [target, *_missing(ours, unreduced)]
    share = ratio / (unreduced.gmacs / ours.gmacs)
    return [target, f"{ratio:.2f} x, {share:.0%}", _met(share >= 0.95)]


def _over_straightforward(results: Sequence[Result], case: Case) -> Row:
    ours, theirs = _found(results, case), _found(results, replace(case, way=STRAIGHTFORWARD))
    target = f"TempMe on {case.backbone}, {case.way}, batch {case.batch}: at least 2.5 x {STRAIGHTFORWARD}"
    ratio = _ratio(theirs, ours)
    return [target, *_missing(ours, theirs)] if ratio is None else [target, f"{ratio:.2f} x", _met(ratio >= 2.5)]


def _long_videos(results: Sequence[Result], case: Case) -> Row:
    ours, unreduced = _found(results, case), _found(results, replace(case, reducer="none"))
    where = f"k-medoids, 12 segments of {case.frames} frames, {case.stage}"
    if case.stage == "inference":
        ratio = _ratio(unreduced, ours)
        target = f"{where}: no slower than without"
        return [target, *_missing(ours, unreduced)] if ratio is None else [target, f"{ratio:.2f} x", _met(ratio >= 1)]
    target = f"{where}: at most 65 % of the memory without"
    if ours is None or unreduced is None or ours.peak_bytes is None or unreduced.peak_bytes is None:
        return [target, *_missing(ours, unreduced)]
    share = ours.peak_bytes / unreduced.peak_bytes
    return [target, f"{share:.0%}", _met(share <= 0.65)]


def _found(results: Sequence[Result], case: Case) -> Result | None:
    return next((result for result in results if result.case == case), None)


def _ratio(slower: Result | None, faster: Result | None) -> float | None:
    if slower is None or faster is None or slower.seconds is None or faster.seconds is None:
        return None
    return slower.seconds / faster.seconds


def _missing(*results: Result | None) -> Row:
    reasons = {result.note or "no figure here" for result in results if result is not None}
    return [", ".join(sorted(reasons)) or "not among the cases", NONE]


def _met(met: bool) -> str:
    return "yes" if met else "**no**"


def _table(columns: Row, rows: Sequence[Row]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
