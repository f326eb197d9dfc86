"""Recipes hold the settings of the papers and of their authors' code, on every set that they are for, and train."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf, open_dict

from retrieval.jobs import CONF
from retrieval.jobs.resolvers import register_resolvers
from retrieval.training.building import build_datamodule, build_module, build_trainer
from tests.miniatures import MINIATURES
from tests.recipes import ROWS, composed, computed, line, shown

register_resolvers()

TRAINING = {
    "data.batch_size": 128,
    "optimizer.weight_decay": 0.2,
    "optimizer.warmup": 0.1,
    "optimizer.eps": 1e-6,
    "trainer.max_epochs": 5,
    "callbacks.best.monitor": "val/t2v/r_at_1",
    "data.validate_on_test": False,
    "protocol": "honest",
}
"""What the papers share."""
CLIP4CLIP = TRAINING | {
    "backbone": "vit_b32",
    "reducer": "none",
    "tuning": "full",
    "optimizer.lr": 1e-7,
    "optimizer.betas": [0.9, 0.98],
    "trainer.precision": "32-true",
    "data/sampler": "even",
    "data.sampler.rate": 1.0,
    "data/augmentation": "none",
}
LORA = TRAINING | {
    "backbone": "vit_b32",
    "reducer": "none",
    "tuning": "lora",
    "tuning.rank": 8,
    "optimizer.new_lr": 6e-4,
    "optimizer.betas": [0.9, 0.999],
    "trainer.precision": "32-true",
    "seed": 42,
    "data/sampler": "even",
    "data.sampler.rate": 1.0,
    "data/augmentation": "randaugment",
    "data.augmentation.spec": "rand-m7-n4-mstd0.5-inc1",
}
TEMPME = LORA | {
    "reducer": "tempme",
    "reducer.join_blocks": [8, 9, 10],
    "reducer.join_clips": [2, 2, 3],
    "reducer.image_merge": 2,
    "reducer.merge_ratio": 0.3,
    "reducer.intra_merge_ratio": 0.1,
    "reducer.positions": True,
}
VIT_B16 = {"backbone": "vit_b16"}
TEMPME_B16 = VIT_B16 | {"reducer.image_merge": 10, "reducer.merge_ratio": 0.4, "reducer.intra_merge_ratio": 0.2}
BASELINE = TRAINING | {
    "backbone": "vit_b32",
    "reducer": "none",
    "tuning": "full",
    "optimizer.lr": 5e-6,
    "optimizer.new_lr": 5e-3,
    "optimizer.betas": [0.9, 0.98],
    "trainer.precision": "16-mixed",
    "seed": 42,
    "data/sampler": "segments",
    "data.sampler.rate": 3.0,
    "data/augmentation": "none",
}
KMEDOIDS = BASELINE | {
    "reducer": "kmedoids",
    "reducer.block": 6,
    "reducer.num_segments": 4,
    "reducer.num_clusters": 49,
    "reducer.distance": "euclidean",
    "reducer.p": 2.0,
    "reducer.cluster_embedding": False,
}
SPECTRAL = KMEDOIDS | {"reducer": "spectral", "reducer.sigma": 2.0, "reducer.graph": "nearest_neighbours"}
SHIFT = BASELINE | {"reducer": "token_shift", "reducer.block": list(range(12))}
PAPERS: dict[str, dict[str, Any]] = {
    "clip4clip": CLIP4CLIP,
    "clip4clip_seqtransf": CLIP4CLIP | {"head": "sequence_transformer", "optimizer.new_lr": 1e-4},
    "lora": LORA,
    "tempme": TEMPME,
    "tempme_vit_b16": TEMPME | TEMPME_B16,
    "tempme_full": {key: value for key, value in TEMPME.items() if not key.startswith("tuning.")}
    | TEMPME_B16
    | {"tuning": "full", "optimizer.lr": 1e-7, "optimizer.new_lr": 1e-4},
    "centerclip_baseline": BASELINE,
    "centerclip": KMEDOIDS,
    "centerclip_vit_b16": KMEDOIDS | VIT_B16 | {"reducer.num_clusters": 160},
    "centerclip_spectral": SPECTRAL,
    "centerclip_token_shift": SHIFT,
}
"""The settings of each recipe, on a set with 12 frames."""
LONG_SETS = ("didemo", "activitynet")
FRAMES = {"msrvtt": (12, 32), "msvd": (12, 32), "lsmdc": (12, 32), "didemo": (64, 64), "activitynet": (64, 64)}
PAIRS = {"msrvtt": "caption", "msvd": "caption", "lsmdc": "video", "didemo": "video", "activitynet": "video"}
SETS = {recipe: {row.of: None for row in ROWS if f"experiment={recipe} " in f"{row.asks} "} for recipe in PAPERS}
SETS["centerclip_token_shift"] = {"activitynet": None}
"""The sets for which a paper has results; token shift's script is that of ActivityNet."""
LONG: dict[str, dict[str, Any]] = {
    "tempme": {"reducer.join_clips": [4, 4, 4]},
    "centerclip": {
        "data.frames": 60,
        "words": 77,
        "optimizer.lr": 1e-5,
        "optimizer.new_lr": 1e-2,
        "trainer.max_epochs": 8,
    },
}
"""What a paper has for sets of long videos."""


def test_recipes_have_the_published_settings():
    assert {path.stem for path in (CONF / "experiment").glob("*.yaml")} == PAPERS.keys() | {"small", "smoke"}
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for recipe, sets in SETS.items():
            for name in dict.fromkeys([next(iter(sets)), *(each for each in LONG_SETS if each in sets)]):
                config = compose("train", [f"experiment={recipe}", f"data={name}"], return_hydra_config=True)
                check_settings(config, recipe, name)


def check_settings(config: DictConfig, recipe: str, name: str) -> None:
    frames, words = FRAMES[name]
    wanted = PAPERS[recipe] | {"data.frames": frames, "words": words, "data.pairs": PAIRS[name]}
    if name in LONG_SETS:
        wanted |= LONG.get(recipe.partition("_")[0], {})
        if wanted["reducer"] in ("kmedoids", "spectral"):
            wanted["reducer.num_segments"] = 15
    assert {knob: value(config, knob) for knob in wanted} == wanted, (recipe, name)


def value(config: DictConfig, knob: str) -> Any:
    """A knob's value; of a group, the option that was chosen."""
    choices = config.hydra.runtime.choices
    found = choices[knob] if knob in choices else OmegaConf.select(config, knob)
    return list(found) if OmegaConf.is_list(found) else found


def test_the_published_protocol_chooses_on_test():
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for overrides in (["data=lsmdc"], ["data=msvd", "experiment=centerclip"]):
            config = compose("train", [*overrides, "protocol=published"])
            assert (config.data.validate_on_test, config.callbacks.best.monitor) == (True, "val/t2v/r_at_1")


def test_what_a_paper_has_for_a_set_goes_by_its_class():
    register_resolvers()
    config = OmegaConf.create({"frames": "${of_corpus: {ActivityNet: [6, 0]}, 12}"})
    assert config.frames == 12
    config.data = {"corpus": {"_target_": "my_parts.ActivityNet"}}
    assert config.frames == [6, 0]


ONE_STEP = {"accelerator": "cpu", "max_steps": 1, "limit_val_batches": 0, "enable_checkpointing": False}
SCALED: dict[str, dict[str, Any]] = {
    "clip4clip_seqtransf": {"head.layers": 1},
    "tempme_vit_b16": {"reducer.image_merge": 1},
    "tempme_full": {"reducer.image_merge": 1},
    "centerclip_vit_b16": {"reducer.num_clusters": 60},
}
"""What the tiny model, which has 25 patches, cannot serve."""
QUICK = {("clip4clip", "lsmdc"), ("tempme", "lsmdc"), ("centerclip", "lsmdc")}
BASES = ("clip4clip", "tempme", "centerclip")
WALK = [(recipe, name) for recipe, sets in SETS.items() for name in (sets if recipe in BASES else [*sets][:1])]


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Callable[[str], Path]:
    """A function from a set's name to its miniature, written once."""
    folder = tmp_path_factory.mktemp("sets")

    def write(name: str) -> Path:
        if not (folder / name).is_dir():
            (folder / name).mkdir()
            MINIATURES[name](folder / name)
        return folder / name

    return write


@pytest.mark.parametrize(
    ("recipe", "name"),
    [pytest.param(*each, marks=[] if each in QUICK else [pytest.mark.slow], id="-".join(each)) for each in WALK],
)
def test_a_recipe_has_the_settings_of_its_set_and_trains_one_step(recipe, name, root, tmp_path):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        overrides = [f"experiment={recipe}", f"data={name}", f"data.root={root(name)}", f"run_dir={tmp_path}"]
        config = compose("train", overrides, return_hydra_config=True)
    check_settings(config, recipe, name)
    shrink(config, recipe)
    module = build_module(config)
    before = deepcopy(module.state_dict())
    build_trainer(config).fit(module, build_datamodule(config, module.model))
    changed = [name for name, value in module.state_dict().items() if not value.equal(before[name])]
    assert changed
    if config.tuning["_target_"].endswith("lora"):
        assert all("lora" in name or "positions" in name for name in changed)


def shrink(config: DictConfig, recipe: str) -> None:
    """One step of a tiny model on two videos, with the recipe's own reducer, head, sampler, precision and rates."""
    with open_dict(config):
        config.name, config.words = "walk", 16
        config.backbone.source = "ViT-tiny-8"
        config.data.update({"batch_size": 2, "num_workers": 0})
        config.trainer.update(ONE_STEP)
        config.callbacks, config.logger = {}, None
        for knob, scaled in SCALED.get(recipe, {}).items():
            OmegaConf.update(config, knob, scaled)


@pytest.mark.slow
def test_every_row_of_the_papers_has_a_command_that_composes():
    assert [row.name for row in ROWS if row.asks is None] == ["token reduction only", "VoP on ViT-B/16"]
    for row in {row.asks: row for row in ROWS if row.asks is not None}.values():
        assert composed(row).hydra.runtime.choices.data == row.of
    asked = {row.asks.split()[0].partition("=")[2] for row in ROWS if "experiment=" in (row.asks or "")}
    assert asked == PAPERS.keys() - {"centerclip_token_shift"}  # which has no row in tables 1 to 4


def test_the_page_shows_the_rows():
    """All but what is computed, which a slow test looks at."""
    lines = [
        row for row in shown().splitlines() if row.startswith("| ") and not row.startswith(("| ---", "| published"))
    ]
    assert len(lines) == len(ROWS)
    for written, row in zip(lines, ROWS, strict=True):
        theirs = [row.name, row.command, row.t2v, row.v2t, row.r_sum, row.memory, row.time, row.gflops, row.tokens]
        assert written.strip("| ").split(" | ")[: len(theirs)] == theirs


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "gmacs", "tokens"),
    [
        ("LoRA, nothing merged", 53.09, 600),
        ("temporal modelling only", 54.28, 600),
        ("TempMe", 34.84, 97),
        ("LoRA on ViT-B/16, nothing merged", 211.46, 12 * 197),
        ("TempMe on ViT-B/16", 121.71, 127),
    ],
)
def test_costs_are_the_published_ones_and_the_pages(name, gmacs, tokens):
    """The papers' 53.0, 54.3, 34.8, 211.3 and 121.4; see conf/experiment/README.md for the last."""
    (row,) = (row for row in ROWS if row.name == name and row.of == "msrvtt")
    of_it = computed(row)
    assert (of_it["gmacs"], of_it["tokens"]) == (pytest.approx(gmacs, abs=0.01), tokens)
    assert line(row) in shown().splitlines()
