"""What a checkpoint names is built from known classes and plain values, and nothing else in it is run."""

import sys

import pytest
import torch

from retrieval import load_model
from retrieval.errors import UserError
from retrieval.heads import Head, TokenWise
from retrieval.model.saved import build_saved, known_class
from retrieval.plain import shortened, targets
from retrieval.reducers import Chain, KMedoids, Pooling, Reducer, TempMe
from retrieval.training.module import RetrievalModule

KMEDOIDS = {"_target_": "retrieval.reducers.KMedoids", "frames": 4, "num_segments": 2}


def test_our_own_parts_are_built_nested_ones_too():
    reducer = build_saved({"_target_": "retrieval.reducers.Chain", "reducers": [KMEDOIDS]}, Reducer, "a.ckpt")
    assert isinstance(reducer, Chain)
    assert isinstance(reducer.reducers[0], KMedoids)
    head = build_saved({"_target_": "retrieval.heads.token_wise.TokenWise", "weight_layers": 1}, Head, "a.ckpt")
    assert isinstance(head, TokenWise)
    assert head.weight_layers == 1


EVIL = (
    "os.system",
    "builtins.exec",
    "subprocess.Popen",
    "retrieval.reducers.tempme.torch.hub.load",
    "retrieval.model.load_model",
    "hydra.utils.instantiate",
    "torch.nn.Module",
    "Reducer",
    "",
)


@pytest.mark.parametrize("target", EVIL)
def test_other_targets_are_refused(target):
    evil = {"_target_": target, "command": "true"}
    for config in (evil, KMEDOIDS | {"reducers": [evil]}, KMEDOIDS | {"block": evil}):
        with pytest.raises(ValueError, match=r"a\.ckpt: made with .*, which is no reducer that is known here"):
            build_saved(config, Reducer, "a.ckpt")


@pytest.mark.parametrize(
    "knob",
    [
        ({"_target_": "os.system"},),
        (1, 2),
        {1: 2},
        {"_args_": [1]},
        {"_partial_": True},
        "${oc.env:HOME}",
        "${oc.create:{_target_: os.system}}",
        {1, 2},
        b"bytes",
        torch.zeros(1),
    ],
    ids=str,
)
def test_anything_but_plain_values_is_refused(knob):
    for config in (KMEDOIDS | {"block": knob}, KMEDOIDS | {"block": [knob]}):
        with pytest.raises(ValueError, match=r"a\.ckpt: refused, for it holds"):
            build_saved(config, Reducer, "a.ckpt")


def bomb() -> list:
    """Lists of lists, each twice in the next: few objects, and more values than a machine can visit."""
    config: list = [1]
    for _ in range(15):
        config = [config] * 10
    return config


def endless() -> list:
    config: list = []
    config.append(config)
    return config


def deep() -> list:
    config: list = []
    for _ in range(5_000):
        config = [config]
    return config


@pytest.mark.parametrize("nested", [bomb, endless, deep])
def test_nesting_without_an_end_is_refused_in_one_line(nested):
    for config in (nested(), KMEDOIDS | {"block": nested()}):
        with pytest.raises(UserError, match=r"a\.ckpt: refused, for it holds more than 10,000 values, or some nested"):
            build_saved(config, Reducer, "a.ckpt")
        assert len(targets(config)) <= 1


@pytest.mark.parametrize(
    "knob", [{"frames": "many"}, {"frames": -1}, {"num_segments": 10**30}, {"no_such": 1}], ids=str
)
def test_knobs_that_a_class_cannot_take_are_told_in_one_line(knob):
    with pytest.raises(UserError, match=r"a\.ckpt: "):
        build_saved(KMEDOIDS | knob, Reducer, "a.ckpt")


def test_a_message_shows_a_files_text_in_one_line_of_bounded_width():
    assert len(shortened(10**6 * "x")) < 300
    assert shortened("a\x1b[31m\nb") == r"'a\x1b[31m\nb'"


@pytest.mark.parametrize("config", [None, [], "retrieval.reducers.TempMe", {"frames": 4}])
def test_a_file_that_does_not_tell_is_refused(config):
    with pytest.raises(ValueError, match=r"a\.ckpt: the checkpoint does not tell its reducer"):
        build_saved(config, Reducer, "a.ckpt")


def test_a_class_of_others_is_known_once_its_module_is_imported(tmp_path, monkeypatch):
    (tmp_path / "their_reducers.py").write_text(
        "from retrieval.reducers import Reducer\n\n\nclass Theirs(Reducer):\n    def __init__(self, knob):\n"
        "        super().__init__()\n        self.knob = knob\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    config = {"_target_": "their_reducers.Theirs", "knob": 3}
    with pytest.raises(ValueError, match=r"their_reducers\.Theirs, which is no reducer that is known here"):
        build_saved(config, Reducer, "a.ckpt")
    assert "their_reducers" not in sys.modules
    __import__("their_reducers")
    assert build_saved(config, Reducer, "a.ckpt").knob == 3
    assert known_class("their_reducers.Theirs", Head) is None


def checkpoint(tmp_path, **changes):
    """A checkpoint of ours as Lightning writes it, without a training."""
    module = RetrievalModule(load_model("ViT-tiny-8", Pooling(12, 6, 6)), parts={"reducer": None, "head": None})
    content = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(content)
    path = tmp_path / "model.ckpt"
    torch.save(content | {"reducer": {"_target_": "retrieval.reducers.Pooling"}} | changes, path)
    return path


def tiny() -> dict:
    """The architecture of the checkpoint above."""
    return load_model("ViT-tiny-8").architecture.to_dict()


def test_a_checkpoint_from_before_heads_were_a_choice_has_the_mean(tmp_path):
    path = checkpoint(tmp_path)
    content = torch.load(path, weights_only=True)
    del content["head"]
    torch.save(content, path)
    assert load_model(path).visual.reducer.num_segments == {6: 6}


def test_parts_that_do_not_fit_are_told_by_what_it_was_trained_with(tmp_path):
    path = checkpoint(tmp_path, head={"_target_": "retrieval.heads.Mean"})
    with pytest.raises(ValueError, match="was trained with Pooling and the head Mean: leave reducer= and head= out"):
        load_model(path, TempMe())
    with pytest.raises(ValueError, match="was trained with Pooling"):
        load_model(path, head=TokenWise())


@pytest.mark.parametrize(
    "changes",
    [
        {"state_dict": [1]},
        {"state_dict": {1: torch.zeros(1)}},
        {"lora_rank": "two"},
        {"architecture": 3},
        {"architecture": tiny() | {"image_mean": "red"}},
        {"architecture": tiny() | {"image_std": [0.1, 0.2]}},
        {"architecture": {"clip": {"vision_cfg": {"layers": 1}, "text_cfg": {}}}},
        {"architecture": {"clip": {"embed_dim": "x", "vision_cfg": {"layers": 1}, "text_cfg": {"no_such": 1}}}},
        {"architecture": {"clip": {"vision_cfg": {"layers": 1}, "text_cfg": {"hf_model_name": "theirs"}}}},
    ],
    ids=str,
)
def test_what_no_model_can_be_built_from_is_told_in_one_line(changes, tmp_path):
    with pytest.raises(UserError, match=r"model\.ckpt|backbone with hf_model_name"):
        load_model(checkpoint(tmp_path, **changes))
