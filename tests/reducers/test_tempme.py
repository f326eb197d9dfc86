"""TempMe against the published system's own numbers, and its settings' limits."""

import pytest
import torch
from torch.nn import functional as F

from retrieval import load_model
from retrieval.reducers import TempMe, ToMe, TowerShape, plan
from tests.conftest import TINY_CLIP, Reference, read_reference
from tests.published import published_tempme, tempme_of

REFERENCES = ["tempme_default", "tempme_8_frames", "tempme_no_position"]


@pytest.fixture(params=REFERENCES)
def reference(request) -> Reference:
    return read_reference(request.param)


@pytest.fixture
def model(reference, tmp_path):
    return load_model(published_tempme(reference, tmp_path), tempme_of(reference.config), reference.config["lora"])


@torch.no_grad()
def test_features_and_logits_are_those_of_the_published_system(model, reference):
    video, text = model.encode_video(reference.frames), model.encode_text(reference.tensors["input.token_ids"])
    frames = F.normalize(model.visual(reference.frames), dim=-1)
    for name, value in {"frame_features": frames, "video_features": video, "text_features": text}.items():
        torch.testing.assert_close(value, reference.tensors[f"output.{name}"], atol=1e-4, rtol=0)
    logits = model.similarity(text, video)
    torch.testing.assert_close(logits, reference.tensors["output.logits"], atol=2e-3, rtol=0)


@torch.no_grad()
def test_tokens_per_block_are_the_published_ones_predicted_and_run(model, reference):
    walked = [
        [block, tokens.clips, tokens.x.shape[1]] for block, tokens in enumerate(model.visual.walk(reference.frames))
    ]
    planned = plan(model.visual.reducer, model.visual.shape, reference.config["frames"])
    predicted = [[block, after.clips, after.tokens] for block, (_, after) in enumerate(planned)]
    published = [[block, *counts] for block, counts in enumerate(reference.tokens_per_block)]
    assert walked == predicted == published


@torch.no_grad()
def test_every_input_patch_is_found_in_the_token_that_it_went_into(model, reference):
    for tokens in model.visual.walk(reference.frames):
        layout = tokens.layout
        counted = F.one_hot(tokens.source, layout.clips * layout.tokens).sum(dim=1).reshape(-1, layout.tokens)
        patches = tokens.size[:, layout.class_tokens :, 0]
        assert (counted[:, layout.class_tokens :] == patches).all()
        assert (counted[:, : layout.class_tokens] == 0).all()


def test_vit_b16_ends_with_the_published_127_tokens():
    """By the only shares in steps of 5 % that also give the published cost (see `tests/efficiency/test_cost.py`)."""
    reducer = TempMe(image_merge=10, merge_ratio=0.4, intra_merge_ratio=0.2)
    attention, after = plan(reducer, TowerShape(blocks=12, width=768, patches=196), frames=12)[-1]
    assert after.tokens == 127
    assert attention.clips == 1


def test_temporal_positions_learn():
    model = load_model(TINY_CLIP, TempMe())
    model.encode_video(torch.randn(2, 12, 3, 56, 56)).sum().backward()
    positions = model.visual.reducer.positions
    assert {block: tuple(position.shape) for block, position in positions.items()} == {
        "8": (1, 12, 1, 128),
        "9": (1, 6, 1, 128),
        "10": (1, 3, 1, 128),
    }
    assert all((position.grad != 0).any() for position in positions.values())


def test_clips_that_join_without_merges_keep_every_token_and_know_their_positions():
    model = load_model(TINY_CLIP, TempMe(image_merge=0, merge_ratio=0.0, intra_merge_ratio=0.0))
    layouts = [after for _, after in plan(model.visual.reducer, model.visual.shape, frames=12)][7:]
    assert [layout.clips for layout in layouts] == [12, 6, 3, 1, 1]
    assert [layout.tokens for layout in layouts] == [50, 100, 200, 600, 600]
    model.encode_video(torch.randn(2, 12, 3, 56, 56)).sum().backward()
    positions = model.visual.reducer.positions
    assert set(positions) == {"8", "9", "10"}
    assert all((position.grad != 0).any() for position in positions.values())


@torch.no_grad()
def test_without_joins_frames_merge_apart_in_every_block_as_by_tome():
    frames = torch.randn(1, 12, 3, 56, 56)
    apart = TempMe(join_blocks=[], join_clips=[], image_merge=2)
    merged, tome = (load_model(TINY_CLIP, reducer).visual.walk(frames)[-1] for reducer in (apart, ToMe(image_merge=2)))
    assert (merged.clips, merged.x.shape[1]) == (12, 50 - 2 * 12)
    assert torch.equal(merged.x, tome.x)
    assert not dict(apart.named_parameters())


@pytest.mark.parametrize(
    ("frames", "blocks", "clips", "tokens"),
    [(8, [8, 9, 10], [2, 2, 2], 65), (18, [8, 9, 10], [2, 3, 3], 144), (12, [1, 2, 3], [2, 2, 3], 66)],
)
def test_other_frames_and_earlier_joins_end_in_one_clip(frames, blocks, clips, tokens):
    model = load_model(TINY_CLIP, TempMe(frames, blocks, clips, positions=False))
    last = plan(model.visual.reducer, model.visual.shape, frames)[-1][1]
    assert (last.clips, last.tokens, last.class_tokens) == (1, tokens, frames)
    assert model.encode_video(torch.randn(1, frames, 3, 56, 56)).isfinite().all()
    assert not dict(model.visual.reducer.named_parameters())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"frames": 10}, r"join_clips=\[2, 2, 3\] join 12 frames .* does not divide frames=10"),
        ({"join_blocks": [8, 9]}, "one number of clips for each joining block"),
        ({"join_blocks": [9, 8, 10]}, "must ascend"),
        ({"image_merge": -1}, "image_merge=-1"),
        ({"merge_ratio": 1.5}, "merge_ratio=1.5"),
        ({"intra_merge_ratio": -0.1}, "intra_merge_ratio=-0.1"),
    ],
)
def test_contradictory_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        TempMe(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"join_blocks": [8, 9, 12]}, "the video tower has blocks 0 to 11"),
    ],
)
def test_settings_that_the_tower_cannot_serve_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        load_model(TINY_CLIP, TempMe(**settings))


def test_another_number_of_frames_is_refused():
    with pytest.raises(ValueError, match=r"8 frames per video, but the reducer is made for frames=12"):
        load_model(TINY_CLIP, TempMe()).encode_video(torch.randn(1, 8, 3, 56, 56))
