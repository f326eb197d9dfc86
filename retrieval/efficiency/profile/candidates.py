"""The reducers that a profile compares and how they train, each composed from its file in `conf`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra import compose
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, open_dict

from retrieval.efficiency.profile.settings import Settings
from retrieval.errors import UserError
from retrieval.jobs.keys import options_of, own_folders
from retrieval.model import CLIP, load_model
from retrieval.model.weights import is_weights_file


@dataclass(frozen=True)
class Build:
    """What a model is built from, as plain values that another process can be sent.

    Attributes:
        source: for `load_model`.
        reducer: its config, `_target_` and knobs; so `head`, `tuning` and `optimizer`.
        frames: frames per video.
        words: token ids per caption.
        device: `cpu` or `cuda`.
    """

    source: str
    reducer: dict[str, Any]
    head: dict[str, Any] | None
    tuning: dict[str, Any]
    optimizer: dict[str, Any]
    frames: int
    words: int
    device: str

    def base(self) -> CLIP:
        """The model without the reducer, on which those that are compared stand."""
        return load_model(self.source, head=instantiate(self.head, _convert_="all"))

    def on(self, model: CLIP) -> CLIP:
        """A model with the reducer on the weights of another.

        Raises:
            UserError: settings that do not fit the tower.
        """
        return model.with_reducer(instantiate(self.reducer, _convert_="all"))


def builds(config: DictConfig, settings: Settings) -> dict[str, Build]:
    """What each reducer's model is built from, by its label: `tempme`, `tempme image_merge=10`.

    Raises:
        UserError: an unknown name, no name, a knob that the reducer does not have, or the same reducer twice.
    """
    source = base_source(config.backbone.source, config.ckpt_path, settings.pretrained)
    head, tuning, optimizer = (_plain(config.get(part)) for part in ("head", "tuning", "optimizer"))
    sizes = (config.data.frames, config.words, settings.place)
    reducers = option_configs("reducer", settings.reducers, config)
    return {label: Build(source, reducer, head, tuning, optimizer, *sizes) for label, reducer in reducers.items()}


def tunings(config: DictConfig, settings: Settings) -> dict[str, dict[str, Any]]:
    """The config of each tuning under which a training step is measured, by its label: `full`, `lora rank=4`.

    Raises:
        UserError: as `builds`.
    """
    if settings.tunings is None:
        chosen = _plain(config.tuning)
        return {chosen["_target_"].rpartition(".")[2]: chosen}
    return option_configs("tuning", settings.tunings, config)


def option_configs(
    group: str, entries: Sequence[str | Mapping[str, Any]], config: DictConfig
) -> dict[str, dict[str, Any]]:
    """The resolved configs of a group's options, by their labels.

    Args:
        group: a folder of `conf`: `reducer` or `tuning`.
        entries: names of its files, alone or with knobs, as `{name: tempme, image_merge: 10}`.
        config: the job's, which the files refer to.

    Raises:
        UserError: as `builds`.
    """
    configs: dict[str, dict[str, Any]] = {}
    for entry in entries:
        knobs = {"name": entry} if isinstance(entry, str) else dict(entry)
        name = knobs.pop("name", None)
        label = " ".join([str(name), *(f"{knob}={value}" for knob, value in knobs.items())])
        if label in configs:
            raise UserError(f"profile.{group}s: {label} is named twice")
        configs[label] = _option_config(group, name, knobs, config)
    return configs


def base_source(backbone: str, ckpt_path: str | None, pretrained: bool) -> str:
    """What the model is loaded from: a file where one is given, else open_clip's name, without its weights' unless
    `pretrained`.
    """
    source = ckpt_path or backbone
    return source if pretrained or is_weights_file(source) else source.partition("/")[0]


def _option_config(group: str, name: str | None, knobs: Mapping[str, Any], config: DictConfig) -> dict[str, Any]:
    options = options_of(group)
    if name not in options:
        raise UserError(f"profile.{group}s: unknown {group} {name!r}; conf/{group} has {', '.join(options)}")
    option = compose(overrides=[*own_folders(), f"+{group}={name}"])[group]
    unknown = [knob for knob in knobs if knob not in option]
    if unknown:
        theirs = ", ".join(str(knob) for knob in option if knob not in ("_target_", "_partial_"))
        raise UserError(f"profile.{group}s: {name} has no {', '.join(unknown)}, but {theirs or 'no knobs'}")
    whole = config.copy()
    with open_dict(whole):
        whole[group] = OmegaConf.merge(option, dict(knobs))
    return OmegaConf.to_container(whole[group], resolve=True)  # type: ignore[return-value]


def _plain(config: DictConfig | None) -> Any:
    return None if config is None else OmegaConf.to_container(config, resolve=True)
