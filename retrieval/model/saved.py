"""Reducers and heads that a checkpoint names, built from known classes alone: a file never chooses what runs."""

from typing import Any, TypeVar

from torch import nn

from retrieval.errors import UserError

Part = TypeVar("Part", bound=nn.Module)


def build_saved(config: Any, kind: type[Part], source: str) -> Part:
    """What `config` describes, an instance of `kind`.

    Known are the classes that are defined: those of this package, and those of modules that the user has imported or
    that the user's own config names. Nothing is imported and nothing is interpolated here.

    Args:
        config: plain values, `_target_` naming a class.
        kind: the base class, `Reducer` or `Head`.
        source: the file that it is of, for messages.

    Raises:
        UserError: a class that is not known, or anything but plain values.
    """
    built = _build(config, kind, source)
    if not isinstance(built, kind):
        raise UserError(f"{source}: the checkpoint does not tell its {kind.__name__.lower()}: name it")
    return built


def known_class(target: str, kind: type[Part]) -> type[Part] | None:
    """The class that `target` names: by the module that defines it, or a package above that which passes it on."""
    for known in _classes(kind):
        package, _, name = target.rpartition(".")
        if known.__qualname__ == name and package and f"{known.__module__}.".startswith(f"{package}."):
            return known
    return None


def targets(config: Any) -> list[str]:
    """All that a saved config names to be built."""
    if isinstance(config, dict):
        here = [config["_target_"]] if isinstance(config.get("_target_"), str) else []
        return here + [target for value in config.values() for target in targets(value)]
    return [target for value in config for target in targets(value)] if isinstance(config, list) else []


def _build(config: Any, kind: type[nn.Module], source: str) -> Any:
    match config:
        case dict():
            return _build_dict(config, kind, source)
        case list():
            return [_build(value, kind, source) for value in config]
        case str() if "${" in config:
            raise UserError(f"{source}: refused, for it holds the interpolation {config!r}; nothing of it was run")
        case str() | bool() | int() | float() | None:
            return config
    raise UserError(f"{source}: refused, for it holds a {type(config).__name__} where plain values belong")


def _build_dict(config: dict[Any, Any], kind: type[nn.Module], source: str) -> Any:
    odd = [key for key in config if not isinstance(key, str) or (key.startswith("_") and key != "_target_")]
    if odd:
        raise UserError(f"{source}: refused, for it holds the key {odd[0]!r}; nothing of it was run")
    knobs = {key: _build(value, kind, source) for key, value in config.items() if key != "_target_"}
    if "_target_" not in config:
        return knobs
    target = config["_target_"]
    known = known_class(target, kind) if isinstance(target, str) else None
    if known is None:
        what = kind.__name__.lower()
        raise UserError(
            f"{source}: made with {target}, which is no {what} that is known here: add the folder of your own configs "
            f"that name it (--config-dir=…), import its module, or name the {what}"
        )
    try:
        return known(**knobs)
    except TypeError as error:
        raise UserError(f"{source}: made with another version of {target} ({error})") from error


def _classes(kind: type[Part]) -> list[type[Part]]:
    return [kind, *(known for below in kind.__subclasses__() for known in _classes(below))]
