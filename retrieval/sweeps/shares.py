"""What a job's reducer costs at any setting, as a share of the unreduced GMACs."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

from omegaconf import DictConfig, OmegaConf

from retrieval.efficiency.cost import cost
from retrieval.errors import UserError
from retrieval.jobs.errors import REFUSALS, is_mistake, one_line
from retrieval.model import CLIP
from retrieval.reducers import Reducer
from retrieval.sweeps.budgets import Setting
from retrieval.sweeps.outline import backbone_of
from retrieval.training.building import built, plain


class Shares:
    """Prices settings on the backbone and the frames of a job; backbones are built once, with random weights.

    Args:
        configured: from a job's overrides to its config, not yet resolved, so that what follows from a knob follows.
    """

    def __init__(self, configured: Callable[[Any], DictConfig]) -> None:
        self.configured = configured
        self.backbones: dict[Any, CLIP] = {}

    def __call__(self, overrides: Any) -> Callable[[Setting], float]:
        """What settings of the job's reducer cost."""
        config = self.configured(overrides)
        model = self._backbone(config)
        whole = _gmacs(model.with_reducer(Reducer()), config)

        def share(setting: Setting) -> float:
            return _gmacs(_with(model, config, setting), config) / whole

        return share

    def _backbone(self, config: DictConfig) -> CLIP:
        key = (config.backbone.source, str(plain(config.head)))
        if key not in self.backbones:
            part = lambda name: built(plain(config.get(name))) if name == "head" else None  # noqa: E731
            self.backbones[key] = backbone_of(config.backbone.source, "cpu", part)
        return self.backbones[key]


def _with(model: CLIP, config: DictConfig, setting: Setting) -> CLIP:
    """The model with the job's reducer at a setting.

    Raises:
        UserError: a setting that does not fit the tower or the frames.
    """
    job = deepcopy(config)
    for knob, value in setting.items():
        OmegaConf.update(job, f"reducer.{knob}", value)
    try:
        return model.with_reducer(built(plain(job.reducer)))
    except REFUSALS as error:
        if not is_mistake(error):
            raise
        raise UserError(f"hydra.sweeper.stops at {setting}: {one_line(error)}") from error


def _gmacs(model: CLIP, config: DictConfig) -> float:
    return cost(model, config.data.frames, config.words)["video_gmacs"]
