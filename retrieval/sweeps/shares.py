"""What a job's reducer costs at any setting, as a share of the unreduced GMACs."""

from collections.abc import Callable, Sequence
from copy import deepcopy

from omegaconf import DictConfig, OmegaConf

from retrieval.efficiency.cost import cost, tower_macs
from retrieval.errors import UserError
from retrieval.jobs.errors import REFUSALS, is_mistake, one_line
from retrieval.model import CLIP
from retrieval.reducers import Reducer
from retrieval.sweeps.budgets import Price, Setting, Share
from retrieval.sweeps.outline import backbone_of
from retrieval.training.building import built, plain


class Shares:
    """Prices settings on the backbone and the frames of a job; backbones are built once, with random weights.

    Args:
        configured: from a job's overrides to its config, not yet resolved, so that what follows from a knob follows.
    """

    def __init__(self, configured: Callable[[Sequence[str]], DictConfig]) -> None:
        self.configured = configured
        self.backbones: dict[tuple[str, str], CLIP] = {}

    def __call__(self, overrides: Sequence[str]) -> Price:
        """What settings of the job's reducer cost; all of them name the same knobs."""
        config = deepcopy(self.configured(overrides))
        model = self._backbone(config)

        def share_by(macs: Callable[[CLIP, DictConfig], float]) -> Share:
            model.visual.set_reducer(Reducer())
            whole = macs(model, config)

            def share(setting: Setting) -> float:
                _set_reducer(model, config, setting)
                return macs(model, config) / whole

            return share

        return Price(share_by(_tower), share_by(_whole))

    def _backbone(self, config: DictConfig) -> CLIP:
        source, head = config.backbone.source, plain(config.head)
        if (source, str(head)) not in self.backbones:
            self.backbones[source, str(head)] = backbone_of(
                source, "cpu", lambda part: built(head) if part == "head" else None
            )
        return self.backbones[source, str(head)]


def _set_reducer(model: CLIP, config: DictConfig, setting: Setting) -> None:
    """Give the model the job's reducer at a setting.

    Raises:
        UserError: a setting that does not fit the tower or the frames.
    """
    for knob, value in setting.items():
        OmegaConf.update(config, f"reducer.{knob}", value)
    try:
        model.visual.set_reducer(built(plain(config.reducer)))
    except REFUSALS as error:
        if not is_mistake(error):
            raise
        raise UserError(f"hydra.sweeper.stops at {setting}: {one_line(error)}") from error


def _tower(model: CLIP, config: DictConfig) -> float:
    return tower_macs(model, config.data.frames)


def _whole(model: CLIP, config: DictConfig) -> float:
    return cost(model, config.data.frames, config.words)["video_gmacs"]
