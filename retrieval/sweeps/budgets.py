"""Settings that bring a reducer to a share of the unreduced GMACs, found from its cost rather than by hand.

A sweep declares for each reducer its *stops*: settings in an order in which the reducer sheds more and more. What lies
between two stops is interpolated, so that one number from stop to stop turns all of its knobs together; that number is
bisected until the cost is the budget's.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import floor
from typing import Any

from retrieval.errors import UserError
from retrieval.sweeps.grids import Point

BUDGET = "budget"
"""The knob of a job: the share of the unreduced GMACs that its reducer may use; null: any."""
UNREDUCED = "none"
"""The option of `reducer` that reduces nothing."""
HALVINGS, CLOSE = 10, 0.002
"""How often the room between two stops is halved at the most; and how near to its budget a share is near enough."""
DIGITS = 3
"""Decimal places of an interpolated knob."""

Setting = dict[str, Any]
"""Knobs of a reducer, by dotted name, and their values."""
Share = Callable[[Setting], float]
"""What a setting costs, as a share of the unreduced GMACs."""


@dataclass(frozen=True)
class Price:
    """What the settings of a job's reducer cost: of the tower alone, at once, and with what the reducer computes."""

    tower: Share
    whole: Share


@dataclass(frozen=True)
class Found:
    """A setting, and the share of the unreduced GMACs that it uses."""

    setting: Setting
    share: float


def search(stops: Sequence[Mapping[str, Any]], budget: float, share: Share) -> Found:
    """The setting between the stops whose share is nearest to the budget, as far as halving tells.

    Args:
        stops: of one reducer.
        budget: a share of the unreduced GMACs.
        share: what a setting costs; between two neighbouring stops it rises or falls throughout.
    """
    found = [Found(setting := between(stop, stop, 0.0), share(setting)) for stop in stops]
    for (here, left), (there, right) in pairwise(zip(stops, found[: len(stops)], strict=True)):
        if min(left.share, right.share) <= budget <= max(left.share, right.share):
            found += _bisected(here, there, budget, share, falls=left.share > right.share)
    return min(found, key=lambda each: abs(each.share - budget))


def _bisected(
    here: Mapping[str, Any], there: Mapping[str, Any], budget: float, share: Share, falls: bool
) -> list[Found]:
    """All that was tried between two stops."""
    low, high = 0.0, 1.0
    tried: list[Found] = []
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        setting = between(here, there, middle)
        known = next((each for each in tried if each.setting == setting), None)
        tried.append(known or Found(setting, share(setting)))
        if abs(tried[-1].share - budget) <= CLOSE:
            break
        low, high = (middle, high) if (tried[-1].share > budget) == falls else (low, middle)
    return tried


def between(here: Any, there: Any, part: float) -> Any:
    """What lies between two values: numbers are interpolated, whole ones rounded; all else has to be equal.

    Raises:
        UserError: values that nothing lies between.
    """
    if isinstance(here, Mapping) and isinstance(there, Mapping) and here.keys() == there.keys():
        return {knob: between(value, there[knob], part) for knob, value in here.items()}
    if isinstance(here, list) and isinstance(there, list) and len(here) == len(there):
        return [between(*pair, part) for pair in zip(here, there, strict=True)]
    if here == there:
        return here
    if not {type(here), type(there)} <= {int, float}:
        raise UserError(f"hydra.sweeper.stops: nothing lies between {here!r} and {there!r}")
    value = here + (there - here) * part
    return floor(value + 0.5) if type(here) is type(there) is int else round(float(value), DIGITS)


def settled(
    points: Sequence[Point],
    stops: Mapping[str, Sequence[Mapping[str, Any]]],
    tolerance: float,
    price_of: Callable[[Sequence[str]], Price],
) -> list[Point]:
    """The jobs with the settings that meet their budgets; those whose reducer cannot are left out, and said so.

    Args:
        points: jobs; those without a budget or a reducer need none.
        stops: of each reducer, by the name of its option.
        tolerance: how far from its budget a share may be.
        price_of: from a job's overrides to what its reducer's settings cost.

    Raises:
        UserError: a budget that is no share, a reducer without stops, or stops that do not fit the job.
    """
    known: dict[tuple[str, ...], Found] = {}
    jobs: dict[Point, None] = {}
    for point in points:
        knobs = dict(override.partition("=")[::2] for override in point.overrides)
        reducer = knobs.get("reducer", UNREDUCED)
        if knobs.get(BUDGET, "null") == "null" or reducer == UNREDUCED:
            jobs[_without_budget(point)] = None
            continue
        alike = tuple(override for override in point.overrides if not override.startswith("seed="))
        budget = _share(knobs[BUDGET])
        if alike not in known:
            price = price_of(alike)
            setting = search(_stops(stops, reducer), budget, price.tower).setting
            known[alike] = Found(setting, price.whole(setting))
            print(_line(reducer, budget, known[alike], tolerance))
        if abs(known[alike].share - budget) <= tolerance:
            jobs[Point(point.name, (*point.overrides, *_overrides(known[alike].setting)))] = None
    return list(jobs)


def _without_budget(point: Point) -> Point:
    """The same job for any budget: what reduces nothing runs once a seed."""
    name = "__".join(part for part in point.name.split("__") if not part.startswith(f"{BUDGET}-"))
    return Point(name or "job", tuple(each for each in point.overrides if not each.startswith(f"{BUDGET}=")))


def _share(text: str) -> float:
    try:
        budget = float(text)
    except ValueError:
        budget = -1.0
    if not 0 < budget <= 1:
        raise UserError(f"{BUDGET}={text}: a share of the unreduced GMACs, above 0 and up to 1")
    return budget


def _stops(stops: Mapping[str, Sequence[Mapping[str, Any]]], reducer: str) -> Sequence[Mapping[str, Any]]:
    if not stops.get(reducer):
        raise UserError(
            f"reducer={reducer}: hydra.sweeper.stops does not say which of its knobs shed GMACs; it has "
            f"{', '.join(stops)}"
        )
    return stops[reducer]


def _line(reducer: str, budget: float, found: Found, tolerance: float) -> str:
    settings = ", ".join(_overrides(found.setting)).replace("reducer.", "")
    reached = f"{found.share:.1%} of the unreduced GMACs ({settings})"
    if abs(found.share - budget) <= tolerance:
        return f"{reducer} for a budget of {budget:.0%}: {reached}"
    return f"{reducer} cannot reach a budget of {budget:.0%}, so it is left out there; the nearest is {reached}"


def _overrides(setting: Setting) -> tuple[str, ...]:
    return tuple(f"reducer.{knob}={_notation(value)}" for knob, value in setting.items())


def _notation(value: Any) -> str:
    """A value in Hydra's notation."""
    if value is None:
        return "null"
    if isinstance(value, str | int | float):
        return str(value)
    return f"[{','.join(map(_notation, value))}]"
