"""Plain values: all that is taken from a file that others may have written. Nothing here builds or imports anything."""

import reprlib
from collections.abc import Iterator
from itertools import islice
from typing import Any

from retrieval.errors import UserError

PLAIN = (dict, list, str, bool, int, float, type(None))
MOST, DEEPEST = 10_000, 16
"""How many values a saved config holds at most, and how deeply they are nested."""
WIDEST = 200
"""How many letters of a file's own text a message shows."""


def check_plain(config: Any, source: str) -> None:
    """Raise UserError unless `config` is plain values without interpolations, no more than a config ever has."""
    for number, (value, depth) in enumerate(_walk(config)):
        if number == MOST or depth > DEEPEST:
            raise UserError(
                f"{source}: refused, for it holds more than {MOST:,} values, or some nested over {DEEPEST} times"
            )
        if type(value) not in PLAIN:
            raise UserError(f"{source}: refused, for it holds a {type(value).__name__} where plain values belong")
        for text in (value,) if isinstance(value, str) else value if isinstance(value, dict) else ():
            if isinstance(text, str) and "${" in text:
                raise UserError(
                    f"{source}: refused, for it holds the interpolation {shortened(text)}; nothing of it was run"
                )


def targets(config: Any) -> list[str]:
    """All that a saved config names to be built; of one that is larger than configs are, the first."""
    named = (value.get("_target_") for value, _ in islice(_walk(config), MOST) if isinstance(value, dict))
    return [target for target in named if isinstance(target, str)]


def shortened(text: Any) -> str:
    """What a file says, fit for a message of one line."""
    shown = text if isinstance(text, str) and text.isprintable() else reprlib.repr(text)
    return shown if len(shown) <= WIDEST else f"{shown[:WIDEST]}…"


def _walk(config: Any) -> Iterator[tuple[Any, int]]:
    """All values of a config with their depth, a dict before what is in it; a file may nest them without an end."""
    left = [(config, 0)]
    while left:
        value, depth = left.pop()
        yield value, depth
        inner = list(value.values() if isinstance(value, dict) else value if isinstance(value, list) else ())
        left += [(each, depth + 1) for each in reversed(inner)]
