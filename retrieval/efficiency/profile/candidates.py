"""The reducers that a profile compares, each composed from its file in `conf/reducer`."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from itertools import chain
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, open_dict

from retrieval.errors import UserError
from retrieval.model import CLIP
from retrieval.model.loading import WEIGHT_FILES


def reducer_configs(entries: Sequence[str | Mapping[str, Any]], config: DictConfig) -> dict[str, dict[str, Any]]:
    """The resolved config of each reducer, by its label: `tempme`, `tempme image_merge=10`.

    Args:
        entries: names of files in `conf/reducer`, alone or with knobs, as `{name: tempme, image_merge: 10}`.
        config: the job's, which the reducers' files refer to.

    Raises:
        UserError: an unknown name, no name, a knob that the reducer does not have, or the same reducer twice.
    """
    configs: dict[str, dict[str, Any]] = {}
    for entry in entries:
        knobs = {"name": entry} if isinstance(entry, str) else dict(entry)
        name = knobs.pop("name", None)
        label = " ".join([str(name), *(f"{knob}={value}" for knob, value in knobs.items())])
        if label in configs:
            raise UserError(f"profile.reducers: {label} is named twice")
        configs[label] = _reducer_config(name, knobs, config)
    return configs


def base_source(backbone: str, ckpt_path: str | None, pretrained: bool) -> str:
    """What the model is loaded from: a file where one is given, else open_clip's name, without its weights' unless
    `pretrained`.
    """
    source = ckpt_path or backbone
    is_file = source.endswith(WEIGHT_FILES) or Path(source).is_file()
    return source if pretrained or is_file else source.partition("/")[0]


def with_reducer(model: CLIP, reducer: Mapping[str, Any]) -> CLIP:
    """A model with another reducer on the very same weights, not a copy of them.

    Raises:
        UserError: settings that do not fit the tower.
    """
    weights = {id(weight): weight for weight in chain(model.parameters(), model.buffers())}
    other = deepcopy(model, weights)
    visual = other.visual
    visual.reducer = instantiate(reducer, _convert_="all")
    visual.reducer.build(visual.shape, visual.positional_embedding[1:])
    visual.reducer.to(visual.positional_embedding)
    return other


def _reducer_config(name: str | None, knobs: Mapping[str, Any], config: DictConfig) -> dict[str, Any]:
    options = GlobalHydra.instance().config_loader().get_group_options("reducer")
    if name not in options:
        raise UserError(f"profile.reducers: unknown reducer {name!r}; conf/reducer has {', '.join(options)}")
    reducer = compose(f"reducer/{name}").reducer
    unknown = [knob for knob in knobs if knob not in reducer]
    if unknown:
        theirs = ", ".join(str(knob) for knob in reducer if knob != "_target_")
        raise UserError(f"profile.reducers: {name} has no {', '.join(unknown)}, but {theirs or 'no knobs'}")
    whole = config.copy()
    with open_dict(whole):
        whole.reducer = OmegaConf.merge(reducer, dict(knobs))
    return OmegaConf.to_container(whole.reducer, resolve=True)  # type: ignore[return-value]
