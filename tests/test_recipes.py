"""Recipes hold the settings of the papers' own scripts, on every set that they are for."""

from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from retrieval.jobs import CONF

METHODS: dict[str, dict[str, Any]] = {
    "clip4clip": {"backbone": "vit_b32", "reducer": "none", "tuning": "full", "optimizer.lr": 1e-7},
    "centerclip": {
        "backbone": "vit_b32",
        "reducer": "kmedoids",
        "tuning": "full",
        "optimizer.lr": 5e-6,
        "data.sampler.rate": 3.0,
        "reducer.block": 6,
        "reducer.num_segments": 4,
        "reducer.num_clusters": 49,
        "reducer.p": 2.0,
    },
    "tempme": {
        "backbone": "vit_b32",
        "reducer": "tempme",
        "tuning": "lora",
        "tuning.rank": 8,
        "optimizer.new_lr": 6e-4,
        "reducer.join_blocks": [8, 9, 10],
        "reducer.join_clips": [2, 2, 3],
        "reducer.image_merge": 2,
        "reducer.merge_ratio": 0.3,
        "reducer.intra_merge_ratio": 0.1,
    },
}
"""What a paper's recipes share."""

EVERYWHERE = {
    "data.batch_size": 128,
    "data.sampler.rate": 1.0,
    "optimizer.weight_decay": 0.2,
    "optimizer.warmup": 0.1,
    "trainer.precision": "bf16-mixed",
}
LONG = {"reducer.num_segments": 15, "optimizer.lr": 1e-5}
TEMPME_LONG = {"reducer.join_clips": [4, 4, 4]}
RATE_1 = {"data.sampler.rate": 1.0}

RECIPES: list[tuple[str, int, int, str, int, dict[str, Any]]] = [
    # what is asked for, frames, words, pairs, epochs, what differs from the other recipes of the paper
    ("clip4clip data=msrvtt", 12, 32, "caption", 5, {"data.corpus.partition": "9k"}),
    ("clip4clip data=msvd", 12, 32, "caption", 5, {}),
    ("clip4clip data=lsmdc", 12, 32, "video", 5, {}),
    ("clip4clip data=didemo", 64, 64, "video", 5, {}),
    ("clip4clip data=activitynet", 64, 64, "video", 5, {}),
    ("clip4clip_seqtransf data=msrvtt", 12, 32, "caption", 5, {"head": "sequence_transformer"}),
    ("centerclip data=msrvtt data.corpus.partition=7k", 12, 32, "caption", 5, {"data.corpus.partition": "7k"}),
    ("centerclip data=msvd", 12, 32, "caption", 5, {}),
    ("centerclip data=lsmdc reducer.num_segments=6", 12, 32, "video", 5, {"reducer.num_segments": 6}),
    ("centerclip_long data=didemo", 60, 77, "video", 8, LONG),
    ("centerclip_long data=activitynet", 60, 77, "video", 8, LONG),
    ("centerclip_vit_b16", 12, 32, "video", 5, {"backbone": "vit_b16", "reducer.num_clusters": 160, **RATE_1}),
    ("centerclip_spectral", 12, 32, "video", 5, {"reducer": "spectral", "reducer.sigma": 2.0, **RATE_1}),
    ("tempme data=msrvtt", 12, 32, "caption", 5, {"data.corpus.partition": "9k"}),
    ("tempme data=msvd", 12, 32, "caption", 5, {}),
    ("tempme data=lsmdc", 12, 32, "video", 5, {}),
    ("tempme_long data=didemo", 64, 64, "video", 5, TEMPME_LONG),
    ("tempme_long data=activitynet", 64, 64, "video", 5, TEMPME_LONG),
]


@pytest.mark.parametrize("method", METHODS)
def test_recipes_have_the_published_settings(method):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for asked, frames, words, pairs, epochs, own in RECIPES:
            if not asked.startswith(method):
                continue
            of_the_set = {"data.frames": frames, "words": words, "data.pairs": pairs, "trainer.max_epochs": epochs}
            wanted = EVERYWHERE | METHODS[method] | of_the_set | own
            config = compose("train", [f"experiment={asked.split()[0]}", *asked.split()[1:]], return_hydra_config=True)
            assert {knob: _value(config, knob) for knob in wanted} == wanted, asked


def _value(config: DictConfig, knob: str) -> Any:
    """A knob's value; of a group, the option that was chosen."""
    choices = config.hydra.runtime.choices
    value = choices[knob] if knob in choices else OmegaConf.select(config, knob)
    return list(value) if OmegaConf.is_list(value) else value
