"""What a job's reducer costs at any setting, as a share of the unreduced GMACs."""

from collections.abc import Callable, Sequence
from copy import deepcopy

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from retrieval.efficiency.cost import cost, tower_sizes
from retrieval.efficiency.macs import video_macs
from retrieval.efficiency.spent import LiveTokens, Spent
from retrieval.errors import UserError
from retrieval.jobs.errors import REFUSALS, is_mistake, one_line
from retrieval.model import CLIP
from retrieval.reducers import Reducer, plan
from retrieval.sweeps.budgets import Price, Setting, Share
from retrieval.sweeps.outline import backbone_of
from retrieval.training.building import build_datamodule, built, plain

VIDEOS = 48
"""Training videos that a reducer is measured on whose cost depends on the pixels."""


class Shares:
    """Prices settings on the backbone and the frames of a job; backbones are built once, with random weights.

    Args:
        configured: from a job's overrides to its config, not yet resolved, so that what follows from a knob follows.
    """

    def __init__(self, configured: Callable[[Sequence[str]], DictConfig]) -> None:
        self.configured = configured
        self.backbones: dict[tuple[str, str], CLIP] = {}
        self.videos: dict[str, list[Tensor]] = {}

    def __call__(self, overrides: Sequence[str]) -> Price:
        """What settings of the job's reducer cost; all of them name the same knobs."""
        config = deepcopy(self.configured(overrides))
        model = self._backbone(config)
        if built(plain(config.reducer)).ragged:
            return self._measured(model, config)

        def share_by(macs: Callable[[CLIP, DictConfig], float]) -> Share:
            model.visual.set_reducer(Reducer())
            whole = macs(model, config)

            def share(setting: Setting) -> float:
                _set_reducer(model, config, setting)
                return macs(model, config) / whole

            return share

        return Price(share_by(_tower), share_by(_whole))

    def _measured(self, model: CLIP, config: DictConfig) -> Price:
        """What training videos take on average, where that depends on their pixels."""
        read = str([config.backbone.source, config.data.frames, plain(config.data.sampler), plain(config.data.corpus)])
        if read not in self.videos:
            self.videos[read] = _training_videos(model, config)
        model.visual.set_reducer(Reducer())
        whole = _whole(model, config)

        def share(setting: Setting) -> float:
            _set_reducer(model, config, setting)
            costs = cost(model, config.data.frames, config.words)
            beside_tower = costs["video_gmacs"] - costs["tower_gmacs"]
            return (_spent(model, self.videos[read]) + beside_tower) / whole

        return Price(share, share)

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
    visual, frames = model.visual, config.data.frames
    layouts = plan(visual.reducer, visual.shape, frames)
    return video_macs(layouts, frames=frames, output_dim=model.embed_dim, **tower_sizes(visual)) / 1e9


def _whole(model: CLIP, config: DictConfig) -> float:
    return cost(model, config.data.frames, config.words)["video_gmacs"]


@torch.inference_mode()
def _spent(model: CLIP, frames: Sequence[Tensor]) -> float:
    """What the tower takes for these videos on average."""
    spent = Spent(model)
    for video in frames:
        model.encode_video(video[None], live := LiveTokens())
        spent.update(live, 1, len(video))
    return float(spent.compute()["mean_tower_gmacs"])


def _training_videos(model: CLIP, config: DictConfig) -> list[Tensor]:
    """The frames of some training videos, as an evaluation reads them."""
    data = build_datamodule(config, model)
    data.prepare_data()
    records = data.corpus.records("train")
    return [data.evaluation_reader(record) for record in records[:: max(1, len(records) // VIDEOS)][:VIDEOS]]
