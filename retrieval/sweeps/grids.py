"""Which jobs a sweep has: several grids, each a product of its knobs' values, and what each job is called."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from retrieval.errors import UserError


@dataclass(frozen=True)
class Knob:
    """A knob and the values that it takes one after the other, each in Hydra's notation; `swept` where it varies."""

    key: str
    values: tuple[str, ...]
    swept: bool


@dataclass(frozen=True)
class Point:
    """A job to be: its name, which is its folder's, and all its overrides."""

    name: str
    overrides: tuple[str, ...]


Parse = Callable[[Iterable[str]], list[Knob]]
"""From overrides, `key=1,2`, to knobs."""


def points(
    grids: Sequence[Mapping[str, Any]], params: Mapping[str, Any], arguments: Sequence[str], parse: Parse
) -> list[Point]:
    """The jobs of all grids, each once, in order.

    A job is called by the knobs that vary somewhere in the sweep, `reducer-kmedoids__num_segments-4__seed-0`.

    Args:
        grids: from a knob to its values in Hydra's notation, `2,4,6` or `range(2,8,2)`; none is one grid of no knobs.
        params: knobs of every grid, which a grid's own go before.
        arguments: overrides of the command line, which go before both; a knob that only some grids sweep is
            set in those alone.
        parse: Hydra's reading of overrides.

    Raises:
        UserError: two jobs of one name.
    """
    given = parse(arguments)
    swept = {*params, *(key for grid in grids for key in grid), *(knob.key for knob in given if knob.swept)}
    of_some = {key for grid in grids for key in grid} - params.keys()
    found: dict[tuple[str, ...], None] = {}
    for grid in grids or [{}]:
        values = {**grid, **params, **grid}  # a grid's own knobs stand first in a job's name
        own = {knob.key: knob for knob in parse(f"{key}={value}" for key, value in values.items())}
        own |= {knob.key: knob for knob in given if knob.key in grid or knob.key not in of_some}
        found |= dict.fromkeys(product(*([f"{knob.key}={value}" for value in knob.values] for knob in own.values())))
    names = [_name(overrides, swept) for overrides in found]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise UserError(f"sweep: several jobs would share the folder {', '.join(sorted(twice))}: tell them apart")
    return [Point(name, overrides) for name, overrides in zip(names, found, strict=True)]


def folder_name(text: str) -> str:
    """Knobs and their values, `a=1,b=2`, in characters that neither a shell nor Hydra takes for its own: `a-1__b-2`."""
    return "__".join(re.sub(r"[^\w.-]+", "-", part).strip("-") for part in text.split(","))


def _name(overrides: Iterable[str], swept: set[str]) -> str:
    pairs = [override.partition("=")[::2] for override in overrides]
    parts = [f"{key.rpartition('.')[2]}={value}" for key, value in pairs if key in swept]
    return folder_name(",".join(parts)) or "job"
