"""What a checkpoint says of its training beside its weights, and a job that takes it from there.

The file holds names of options and plain values, which are looked up in the user's own conf: it chooses among what is
there, and nothing in it is interpolated or run.
"""

import logging
import re
import reprlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from retrieval.data import RetrievalDataModule
from retrieval.errors import UserError
from retrieval.jobs.keys import dotted, given_keys, options_of, own_folders
from retrieval.plain import shortened

CHOICES = ("data", "data/sampler")
PLACE = (
    "data.root",
    "data.videos",
    "data.captions",
    "data.corpus",
    "data.held_out",
    "data.held_out_seed",
    "data.validate_on_test",
)
"""Knobs that say which videos those were: they go with the choice of data."""
READING = ("words", "data.frames", "data.sampler")
"""Knobs that say how the model reads them: they go with the model."""
NAME = r"(?!_)\w+([./](?!_)\w+)*"
"""Dotted names whose parts begin with no underscore: `_target_` is none."""
OPTION = r"[\w+=-][\w.+=-]*(/[\w+=-][\w.+=-]*)*"
"""What a choice may be called: a run's folder is called by it, so that it leads nowhere else."""
_log = logging.getLogger(__name__)


def describe(config: DictConfig) -> dict[str, Any]:
    """What a later job takes from a training: its data, frames and words; empty outside a Hydra job."""
    if not HydraConfig.initialized():
        return {"choices": {}, "knobs": {}}
    groups = (*CHOICES, "backbone", "reducer", "head")
    choices = {group: HydraConfig.get().runtime.choices.get(group) for group in groups}
    knobs = {name: _value(config, name) for name in _leaves(config) if _is_among(name, (*PLACE, *READING))}
    if "data.root" in knobs:
        knobs["data.root"] = str(Path(knobs["data.root"]).absolute())
    return {"choices": choices, "knobs": knobs}


def selected_on(content: dict[str, Any]) -> str | None:
    """What a checkpoint of ours was chosen on; None where the file does not say."""
    state = content.get(RetrievalDataModule.__qualname__)
    told = state.get("selected_on") if isinstance(state, dict) else None
    return told if isinstance(told, str) else None


def recalled(asked: DictConfig, name: str, content: dict[str, Any], source: str) -> DictConfig:
    """The config of a job with the checkpoint's data, frames and words wherever the user names no others.

    Args:
        asked: the job's config, composed without the checkpoint.
        name: of the job's file in conf/.
        content: of the checkpoint.
        source: the checkpoint's file, for messages.

    Raises:
        UserError: data that no option here is called by, or anything but plain values.
    """
    choices, knobs = _checked(content.get("experiment") or _of_older(content), source)
    given, groups = given_keys(), HydraConfig.get().runtime.choices
    taken = {group: choices[group] for group in CHOICES if choices.get(group) and group in groups.keys() - given}
    _check_choices(taken, source)
    overrides = HydraConfig.get().overrides.task
    whole = compose(name, [*own_folders(), *(f"{group}={choice}" for group, choice in taken.items()), *overrides])
    for knob in knobs if "data" in groups else filter(_is_reading, knobs):
        if _is_taken(knob, given) and _value(whole, knob) != knobs[knob]:
            try:
                OmegaConf.update(whole, knob, knobs[knob])
            except OmegaConfBaseException as error:
                setting = f"{knob}={knobs[knob]}"
                raise UserError(f"{source} was trained with {setting}, which does not fit here: {error}") from error
    _warn_of_changes(whole, choices, knobs, given)
    if not OmegaConf.is_missing(asked, "run_dir"):
        whole.run_dir = asked.run_dir
    return whole


def _is_among(name: str, knobs: Collection[str]) -> bool:
    return any(name == knob or name.startswith(f"{knob}.") for knob in knobs)


def _is_reading(name: str) -> bool:
    return _is_among(name, READING)


def _is_taken(knob: str, given: set[str]) -> bool:
    """Whether a knob is the checkpoint's to say: neither it nor the choice that it belongs to is given by the user."""
    if knob in given or (knob == "words" and "data.words" in given):
        return False
    if _is_among(knob, ["data.sampler"]) and "data/sampler" in given:
        return False
    return _is_reading(knob) or (_is_among(knob, PLACE) and "data" not in given)


def _warn_of_changes(config: DictConfig, choices: dict[str, Any], knobs: dict[str, Any], given: set[str]) -> None:
    """Warn of what the user changed against the training."""
    ours = {group: HydraConfig.get().runtime.choices.get(group) for group in choices.keys() & given}
    ours |= {knob: _value(config, knob) for knob in knobs if not _is_taken(knob, given)}
    for name, value in sorted(ours.items()):
        theirs = (choices | knobs)[name]
        if value is not None and value != theirs:
            _log.warning("%s=%s, but the checkpoint was trained with %s", name, value, theirs)


def _leaves(config: DictConfig) -> list[str]:
    """The dotted names of all values that are no dicts, a list's as one; `_target_` and the like left out."""
    nodes = dotted(OmegaConf.to_container(config, resolve=False))
    plain = [name for name, value in nodes.items() if not isinstance(value, dict) and re.fullmatch(NAME, name)]
    return [name for name in plain if not isinstance(nodes.get(name.rpartition(".")[0]), list)]


def _value(config: DictConfig, name: str) -> Any:
    value = OmegaConf.select(config, name, throw_on_missing=False)
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def _of_older(content: dict[str, Any]) -> dict[str, Any]:
    """What checkpoints said before they said all: frames and words."""
    sizes = content.get(RetrievalDataModule.__qualname__)
    known = sizes if isinstance(sizes, dict) else {}
    return {"choices": {}, "knobs": {knob: known[knob] for knob in ("data.frames", "words") if knob in known}}


def _check_choices(choices: dict[str, Any], source: str) -> None:
    for group, choice in choices.items():
        options = options_of(group)
        if choice not in options:
            raise UserError(
                f"{source} was trained with {group}={choice}, which is no option here: add the folder of your own "
                f"configs (--config-dir=…), or name another {group}; there are {', '.join(options)}"
            )


def _checked(experiment: Any, source: str) -> tuple[Any, Any]:
    """Choices and knobs, if they are names and plain values: no knob of a file's may name a class or interpolate.

    Raises:
        UserError: anything else.
    """
    parts = (experiment.get("choices"), experiment.get("knobs")) if isinstance(experiment, dict) else (None, None)
    for part in parts:
        odd = [name for name, value in part.items() if not _is_plain(name, value)] if isinstance(part, dict) else [part]
        if odd:
            raise UserError(f"{source}: refused, for its {reprlib.repr(odd[0])} is no plain value under a plain name")
    for choice in (parts[0] or {}).values():
        if choice is not None and not re.fullmatch(OPTION, str(choice)):
            raise UserError(f"{source}: refused, for {shortened(choice)} is no name of an option")
    return parts


def _is_plain(name: Any, value: Any) -> bool:
    values = value if isinstance(value, list) else [value]
    plain = all(each is None or isinstance(each, str | int | float | bool) for each in values)
    return isinstance(name, str) and re.fullmatch(NAME, name) is not None and plain and "${" not in str(value)
