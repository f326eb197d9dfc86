"""Knobs that nothing takes, known from the signatures of what a config names before anything is built.

A recipe sets knobs of the reducer, head or sampler that it chooses; with another one they would have no meaning.
"""

from inspect import Parameter, signature

from hydra.errors import HydraException
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from retrieval.errors import UserError
from retrieval.jobs.keys import dotted


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
    try:
        parameters = signature(get_object(target)).parameters
    except (HydraException, ImportError, ValueError, TypeError, AttributeError):
        return None  # what is no target is told when it is built
    if any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return None
    return list(parameters)
