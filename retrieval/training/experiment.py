"""What a checkpoint tells of its training beside its weights, and an evaluation that takes it from there.

The file tells names of options and plain values, which are looked up in the user's own conf: it chooses among what is
there, and nothing in it is interpolated or run.
"""

import logging
import re
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from retrieval.data import RetrievalDataModule
from retrieval.errors import UserError

CHOICES = ("data", "data/sampler")
PLACE = ("data.root", "data.videos", "data.captions", "data.corpus", "data.held_out", "data.validate_on_test")
"""Knobs that say which videos those were: they go with the choice of data."""
READING = ("words", "data.frames", "data.sampler")
"""Knobs that say how the model reads them: they go with the model."""
NAME = r"(?!_)\w+([./](?!_)\w+)*"
"""Dotted names whose parts begin with no underscore: `_target_` is none."""
_log = logging.getLogger(__name__)


def describe(config: DictConfig) -> dict[str, Any]:
    """What a later evaluation takes from a training: its data, frames and words; empty outside a Hydra job."""
    if not HydraConfig.initialized():
        return {"choices": {}, "knobs": {}}
    groups = (*CHOICES, "backbone", "reducer", "head")
    choices = {group: HydraConfig.get().runtime.choices.get(group) for group in groups}
    knobs = _knobs(config)
    if "data.root" in knobs:
        knobs["data.root"] = str(Path(knobs["data.root"]).absolute())
    return {"choices": choices, "knobs": knobs}


def selected_on(content: dict[str, Any]) -> str | None:
    """What a checkpoint of ours was chosen on; None where the file does not tell."""
    return content.get(RetrievalDataModule.__qualname__, {}).get("selected_on")


def recalled(name: str, content: dict[str, Any], source: str) -> DictConfig:
    """The config of a job with the checkpoint's data, frames and words wherever the user names no others.

    Args:
        name: of the job's file in conf/.
        content: of the checkpoint.
        source: the checkpoint's file, for messages.

    Raises:
        UserError: data that no option here is called by, or anything but plain values.
    """
    choices, knobs = _plain(content.get("experiment") or _of_older(content), source)
    overrides = list(HydraConfig.get().overrides.task)
    given = {override.key_or_group for override in OverridesParser.create().parse_overrides(overrides)}
    taken = {group: choice for group, choice in choices.items() if group in CHOICES and group not in given and choice}
    _check_choices(taken, source)
    whole = compose(name, [*(f"{group}={choice}" for group, choice in taken.items()), *overrides])
    for knob, value in knobs.items():
        if _is_taken(knob, given) and OmegaConf.select(whole, knob, throw_on_missing=False) != value:
            try:
                OmegaConf.update(whole, knob, value)
            except OmegaConfBaseException as error:
                raise UserError(
                    f"{source} was trained with {knob}={value}, which does not fit here: {error}"
                ) from error
    _tell(whole, choices, knobs, given)
    return whole


def _is_taken(knob: str, given: set[str]) -> bool:
    """Whether a knob is the checkpoint's to say: neither it nor the choice that it belongs to is given by the user."""
    if knob in given or (knob.startswith("data.sampler") and "data/sampler" in given):
        return False
    return knob.startswith(READING) or (knob.startswith(PLACE) and "data" not in given)


def _tell(config: DictConfig, choices: dict[str, Any], knobs: dict[str, Any], given: set[str]) -> None:
    """Warn of what the user changed against the training."""
    for group in sorted(choices.keys() & given):
        ours = HydraConfig.get().runtime.choices.get(group)
        if ours != choices[group]:
            _log.warning("%s=%s, but the checkpoint was trained with %s", group, ours, choices[group])
    for knob, theirs in knobs.items():
        ours = OmegaConf.select(config, knob, throw_on_missing=False)
        if knob in given and ours != theirs:
            _log.warning("%s=%s, but the checkpoint was trained with %s", knob, ours, theirs)


def _knobs(config: DictConfig) -> dict[str, Any]:
    plain: Any = OmegaConf.to_container(config, resolve=False)
    leaves: dict[str, Any] = {}

    def collect(node: Any, name: str) -> None:
        if isinstance(node, dict):
            for key, value in node.items():
                if not str(key).startswith("_"):
                    collect(value, f"{name}.{key}".lstrip("."))
        elif name.startswith((*PLACE, *READING)):
            value = OmegaConf.select(config, name)
            leaves[name] = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value

    collect({"words": plain["words"], "data": plain["data"]}, "")
    return leaves


def _of_older(content: dict[str, Any]) -> dict[str, Any]:
    """What checkpoints told before they told all: frames and words."""
    sizes = content.get(RetrievalDataModule.__qualname__, {})
    return {"choices": {}, "knobs": {knob: sizes[knob] for knob in ("data.frames", "words") if knob in sizes}}


def _check_choices(choices: dict[str, Any], source: str) -> None:
    for group, choice in choices.items():
        options = GlobalHydra.instance().config_loader().get_group_options(group)
        if choice not in options:
            raise UserError(
                f"{source} was trained with {group}={choice}, which is no option here: add the folder of your own "
                f"configs (--config-dir=…), or name another {group}; there are {', '.join(options)}"
            )


def _plain(experiment: Any, source: str) -> tuple[Any, Any]:
    """Choices and knobs, if they are names and plain values: no knob of a file's may name a class or interpolate.

    Raises:
        UserError: anything else.
    """
    parts = (experiment.get("choices"), experiment.get("knobs")) if isinstance(experiment, dict) else (None, None)
    for part in parts:
        odd = [name for name, value in part.items() if not _is_plain(name, value)] if isinstance(part, dict) else [part]
        if odd:
            raise UserError(f"{source}: refused, for its {odd[0]!r} is no plain value under a plain name")
    return parts


def _is_plain(name: Any, value: Any) -> bool:
    values = value if isinstance(value, list) else [value]
    plain = all(each is None or isinstance(each, str | int | float | bool) for each in values)
    return isinstance(name, str) and re.fullmatch(NAME, name) is not None and plain and "${" not in str(value)
