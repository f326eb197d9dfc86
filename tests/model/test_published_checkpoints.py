"""Checkpoints in their published format give the published outputs through `ckpt_path`, and tell what they hold."""

import logging
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from torch import Tensor
from torch.nn import functional as F

from retrieval import load_model
from retrieval.model import CLIP
from retrieval.reducers import KMedoids
from retrieval.training.building import build_evaluation
from tests.conftest import read_reference
from tests.published import published_centerclip, published_tempme

CONF = Path(__file__).parents[2] / "conf"


def evaluated(path: Path, *overrides: str) -> CLIP:
    """The model that `python -m retrieval.evaluate ckpt_path=…` builds."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("evaluate", [f"ckpt_path={path}", *overrides])
    return build_evaluation(config).model


def assert_close(ours: Tensor, theirs: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=0)


@torch.no_grad()
def test_tempmes_checkpoint_gives_the_reference_outputs(tmp_path):
    reference = read_reference("tempme_default")
    model = evaluated(published_tempme(reference, tmp_path), "reducer=tempme", "data.frames=12")
    video, text = model.encode_video(reference.frames), model.encode_text(reference.tensors["input.token_ids"])
    assert_close(video, reference.tensors["output.video_features"], 1e-4)
    assert_close(text, reference.tensors["output.text_features"], 1e-4)
    assert_close(model.similarity(text, video), reference.tensors["output.logits"], 2e-3)


@torch.no_grad()
def test_centerclips_checkpoint_gives_the_reference_outputs(tmp_path):
    reference = read_reference("kmedoids_two_stages")
    knobs = ("reducer=kmedoids", "reducer.block=[4,8]", "reducer.num_segments=[4,1]", "reducer.num_clusters=[49,49]")
    model = evaluated(published_centerclip(tmp_path), "data.frames=12", *knobs)
    assert_close(model.visual(reference.frames), reference.tensors["output.segment_features"], 2e-3)
    video = F.normalize(model.encode_video(reference.frames), dim=-1)
    assert_close(video, reference.tensors["output.video_features"], 2e-3)


def test_what_matches_is_told(tmp_path, caplog):
    caplog.set_level(logging.INFO, "retrieval.model")
    load_model(published_centerclip(tmp_path))
    (record,) = caplog.records
    assert record.levelname == "INFO"
    assert "ckpt.best.pth.tar: 206 match (" in record.getMessage()
    assert record.getMessage().endswith("; 0 missing, left as they start; 0 surplus, left out")


def test_what_is_missing_or_surplus_is_warned_of_by_name(tmp_path, caplog):
    beside = {"module.transformerClip.resblocks.0.ln_1.bias": torch.zeros(4)}
    reducer = KMedoids(frames=12, block=6, num_segments=4, num_clusters=49, cluster_embedding=True)
    model = load_model(published_centerclip(tmp_path, **beside), reducer)
    new = [name for name in model.state_dict() if name.startswith("visual.reducer.")]
    assert new
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert f"{len(new)} missing, left as they start ({new[0]}" in record.getMessage()
    assert "1 surplus, left out (transformerClip.resblocks.0.ln_1.bias)" in record.getMessage()


def test_weights_of_clip_itself_may_not_be_missing(tmp_path):
    path = published_centerclip(tmp_path)
    content = torch.load(path, weights_only=True)
    del content["state_dict"]["module.clip.ln_final.bias"]
    content["state_dict"]["module.clip.visual.extra"] = torch.zeros(2)
    torch.save(content, path)
    with pytest.raises(ValueError, match=r"1 missing \(ln_final\.bias\); 1 surplus \(visual\.extra\)"):
        load_model(path)
