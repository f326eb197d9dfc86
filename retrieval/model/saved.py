"""Reducers and heads that a file names, built from known classes alone: a file never chooses what runs.

The file may be a checkpoint or the `config.yaml` of a sweep's job. Only a user's own conf may name anything else.
"""

from typing import Any, TypeVar

from torch import nn

from retrieval.errors import UserError
from retrieval.plain import check_plain, shortened

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
        UserError: a class that is not known, one that takes other knobs, or anything but plain values.
    """
    check_plain(config, source)
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
