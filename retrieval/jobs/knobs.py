"""Knobs that nothing takes, known from the signatures of what a config names before anything is built.

A recipe sets knobs of the reducer, head or sampler that it chooses; with another one they would have no meaning.
"""

from collections.abc import Callable
from inspect import Parameter, signature
from pkgutil import resolve_name
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from retrieval.errors import UserError
from retrieval.jobs.keys import dotted

if TYPE_CHECKING:  # commands begin without torch
    from torch import nn


def check_knobs(config: DictConfig) -> None:
    """See that every `_target_` of the config takes the knobs beside it.

    Raises:
        UserError: naming the first that does not, its knobs and those that it takes.
    """
    for place, node in dotted(OmegaConf.to_container(config, resolve=False)).items():
        taken = _parameters(node["_target_"]) if isinstance(node, dict) and "_target_" in node else None
        unknown = [knob for knob in node if not knob.startswith("_") and knob not in taken] if taken is not None else []
        if unknown:
            raise UserError(
                f"{place}: {node['_target_'].rpartition('.')[2]} has no {', '.join(unknown)}, but "
                f"{', '.join(taken or ()) or 'no knobs'}; a recipe may have set them for another choice of {place}"
            )


def _parameters(target: str) -> list[str] | None:
    """The knobs that a target takes; None where it takes any, or where only building it will tell."""
    from torch import nn

    try:
        found = resolve_name(target)
        calls = _constructors(found) if isinstance(found, type) and issubclass(found, nn.Module) else [found]
        parameters = [parameter for call in calls for parameter in signature(call).parameters.values()]
    except Exception:
        return None  # what cannot be imported or has no signature is told when it is built
    if calls == [found] and any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters):
        return None
    named = (parameter.name for parameter in parameters if parameter.kind is not Parameter.VAR_KEYWORD)
    return [name for name in named if name != "self"]


def _constructors(module: "type[nn.Module]") -> list[Callable[..., None]]:
    """A module's constructor, and as long as one hands on all knobs that it does not know, the one above it."""
    from torch import nn

    found: list[Callable[..., None]] = []
    for owner in module.__mro__[: module.__mro__.index(nn.Module)]:
        if "__init__" in vars(owner):
            found.append(vars(owner)["__init__"])
            if all(each.kind is not Parameter.VAR_KEYWORD for each in signature(found[-1]).parameters.values()):
                break
    return found
