"""Reducers and heads that a file names, built from known classes alone: a file never chooses what runs.

The file may be a checkpoint or the `config.yaml` of a sweep's job. Only a user's own conf may name anything else.
"""

import reprlib
from collections.abc import Iterator
from itertools import islice
from typing import Any, TypeVar

from torch import nn

from retrieval.errors import UserError

Part = TypeVar("Part", bound=nn.Module)
PLAIN = (dict, list, str, bool, int, float, type(None))
MOST, DEEPEST = 10_000, 16
"""How many values a saved config holds at most, and how deeply they are nested."""
WIDEST = 200
"""How many letters of a file's own text a message shows."""


def build_saved(config: Any, kind: type[Part], source: str) -> Part:
    """What `config` describes, an instance of `kind`.

    Known are the classes that are defined: those of this package, and those of modules that the user has imported or
    that the user's own config names. Nothing is imported and nothing is interpolated here.

    Args:
        config: plain values, `_target_` naming a class.
        kind: the base class, `Reducer` or `Head`.
        source: the file that it is of, for messages.

    Raises:
        UserError: a class that is not known, one that takes other knobs, or anything but plain values.
    """
    check_plain(config, source)
    built = _build(config, kind, source)
    if not isinstance(built, kind):
        raise UserError(f"{source}: the checkpoint does not tell its {kind.__name__.lower()}: name it")
    return built


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


def known_class(target: str, kind: type[Part]) -> type[Part] | None:
    """The class that `target` names: by the module that defines it, or a package above that which passes it on."""
    for known in _classes(kind):
        package, _, name = target.rpartition(".")
        if known.__qualname__ == name and package and f"{known.__module__}.".startswith(f"{package}."):
            return known
    return None


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


def _build(config: Any, kind: type[nn.Module], source: str) -> Any:
    if isinstance(config, dict):
        return _build_dict(config, kind, source)
    return [_build(value, kind, source) for value in config] if isinstance(config, list) else config


def _build_dict(config: dict[Any, Any], kind: type[nn.Module], source: str) -> Any:
    odd = [key for key in config if not isinstance(key, str) or (key.startswith("_") and key != "_target_")]
    if odd:
        raise UserError(f"{source}: refused, for it holds the key {shortened(odd[0])}; nothing of it was run")
    knobs = {key: _build(value, kind, source) for key, value in config.items() if key != "_target_"}
    return _part(config["_target_"], knobs, kind, source) if "_target_" in config else knobs


def _part(target: Any, knobs: dict[str, Any], kind: type[Part], source: str) -> Part:
    known = known_class(target, kind) if isinstance(target, str) else None
    if known is None:
        what = kind.__name__.lower()
        name = shortened(target) if isinstance(target, str) else type(target).__name__
        raise UserError(
            f"{source}: made with {name}, which is no {what} that is known here: add the folder of your own "
            f"configs that name it (--config-dir=…), import its module, or name the {what}"
        )
    try:
        return known(**knobs)
    except UserError as error:
        raise UserError(f"{source}: {error}") from error
    except Exception as error:  # whatever a class says to knobs that were never meant for it
        cause = shortened(str(error).strip() or type(error).__name__)
        raise UserError(f"{source}: made with another version of {target}, or damaged ({cause})") from error


def _classes(kind: type[Part]) -> list[type[Part]]:
    return [kind, *(known for below in kind.__subclasses__() for known in _classes(below))]
