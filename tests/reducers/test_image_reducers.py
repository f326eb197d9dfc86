"""Reducers of single frames: numbers from their authors' functions, settings that do nothing, clips of any make."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from retrieval import load_model
from retrieval.errors import UserError
from retrieval.model import CLIP
from retrieval.model.blocks import Attention
from retrieval.model.tuning import merge_lora
from retrieval.model.video import VideoTower
from retrieval.reducers import (
    Chain,
    DiffRate,
    EViT,
    FrameMerge,
    KMedoids,
    PiToMe,
    Pooling,
    RandomPatches,
    Reducer,
    SparseSampling,
    Spectral,
    TempMe,
    ToMe,
    plan,
)
from tests.conftest import TINY_CLIP, read_cases
from tests.reducers.test_tokens import fresh

CASES = [
    *["tome_constant", "tome_decreasing", "pitome", "pitome_bipartite_first"],
    *["evit", "evit_without_fusing", "diffrate"],
]
IDLE = {
    "random": lambda: RandomPatches(1.0, [0, 6]),
    "evit": lambda: EViT(keep_rate=1.0),
    "pitome": lambda: PiToMe(1.0),
    "diffrate": lambda: DiffRate(budget=1.0),
    "tome": lambda: ToMe(image_merge=0),
    "tempme": lambda: TempMe(4, [], [], 0, 0.0, 0.0),
    "frame_merge": lambda: FrameMerge(4, 3, 4, image_merge=0),
    "pooling": lambda: Pooling(4, 3, 4),
    "sparse_sampling": lambda: SparseSampling(4, 3, 4, 49),
    "kmedoids": lambda: KMedoids(frames=4, block=3, num_segments=4, num_clusters=49),
    "spectral": lambda: Spectral(frames=4, block=3, num_segments=4, num_clusters=49),
    "chain": lambda: Chain([RandomPatches(1.0, [1]), Pooling(4, 3, 4)]),
}
FRAMES = torch.randn(2, 4, 3, 56, 56, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def tiny() -> CLIP:
    return load_model(TINY_CLIP)


def tower(model: CLIP, reducer: Reducer) -> VideoTower:
    """The model's tower, in evaluation, with this reducer."""
    model.visual.set_reducer(reducer)
    return model.visual.eval()


def reducer_of(case: dict) -> Reducer:
    match case["method"]:
        case "tome":
            return ToMe(case["r"], case["proportional_attention"])
        case "pitome":
            return PiToMe(case["ratio"], case["metric"], case["bsm_blocks"])
        case "evit":
            return EViT(case["blocks"], case["keep_rate"], case["fuse"])
        case "diffrate":
            return DiffRate(case["prune_kept"], case["merge_kept"])
    raise ValueError(case["method"])


@torch.no_grad()
@pytest.mark.parametrize("case", CASES)
def test_features_and_tokens_are_those_of_the_published_functions(case, tiny):
    tensors, settings = read_cases("image_reducers", case)
    visual = tower(tiny, reducer_of(settings))
    assert visual.reducer.proportional_attention == settings["proportional_attention"]
    frames = tensors["input.frames"].float()
    class_tokens = visual(frames)
    torch.testing.assert_close(class_tokens, tensors["frame_features"], atol=1e-4, rtol=0)
    video = F.normalize(class_tokens, dim=-1).mean(1)
    torch.testing.assert_close(video, tensors["video_features"], atol=1e-4, rtol=0)
    walked = [tokens.x.shape[1] for tokens in visual.walk(frames)]
    planned = [after.tokens for _, after in plan(visual.reducer, visual.shape, frames=6)]
    assert walked == planned == settings["tokens_per_block"]


@torch.no_grad()
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("make", IDLE.values(), ids=IDLE.keys())
def test_settings_that_do_nothing_change_no_bit(make, training, tiny):
    plain = tower(tiny, Reducer())(FRAMES)
    visual = tower(tiny, idle := make())
    assert torch.equal(visual.train(training)(FRAMES), plain)
    assert plan(idle, visual.shape, 4) == plan(Reducer(), visual.shape, 4)


JOINED = {"frames": 4, "join_blocks": [2, 6], "join_clips": [2, 2], "image_merge": 0, "intra_merge_ratio": 0.0}


@torch.no_grad()
@pytest.mark.parametrize(
    "reducer",
    [
        lambda: PiToMe(0.8),
        lambda: PiToMe(0.5, "tokens", bipartite_blocks=2),
        lambda: Chain([TempMe(**JOINED), EViT([1, 4, 9])]),
        lambda: Chain([TempMe(**JOINED), PiToMe(0.9)]),
        lambda: Chain([RandomPatches(0.5, [1]), Pooling(4, 3, 2), EViT([4], 0.3, fuse=False), EViT([6], 0.5)]),
    ],
)
def test_tokens_sizes_and_sources_agree_in_clips_of_any_make(reducer, tiny):
    visual = tower(tiny, reducer())
    walked = visual.walk(FRAMES)
    planned = plan(visual.reducer, visual.shape, frames=4)
    assert [tokens.layout for tokens in walked] == [after for _, after in planned]
    for tokens in walked:
        places = tokens.clips * tokens.layout.tokens
        counted = F.one_hot(tokens.source + 1, places + 1)[..., 1:].sum(1).reshape(-1, tokens.layout.tokens)
        torch.testing.assert_close(counted[:, tokens.class_tokens :].float(), tokens.size[:, tokens.class_tokens :, 0])


@torch.no_grad()
@pytest.mark.parametrize("keep", [0.3, 0.01])
def test_random_patches_are_drawn_anew_in_training_and_fixed_in_evaluation(keep, tiny):
    visual = tower(tiny, RandomPatches(keep, [0, 5]))
    alone, together = visual.walk(FRAMES[:1]), visual.walk(FRAMES.flip(0))
    torch.testing.assert_close(alone[-1].x, together[-1].x[4:], atol=1e-5, rtol=0)
    assert torch.equal(alone[-1].source, together[-1].source[1:])
    drawn = [visual.train().walk(FRAMES[:1])[0].source for _ in range(2)]
    other = tower(tiny, RandomPatches(keep, [0, 5], seed=1)).walk(FRAMES[:1])
    frames = alone[0].source.reshape(4, 49) >= 0
    assert (frames.sum(1) == max(1, int(49 * keep))).all()
    assert len(frames.unique(dim=0)) == 4
    for one, two in ([other[0].source, alone[0].source], drawn, [drawn[0], alone[0].source]):
        assert not torch.equal(one >= 0, two >= 0)


def test_every_patch_is_as_likely_to_be_kept_by_the_fixed_draws():
    kept = torch.zeros(49)
    for seed in range(50):
        reducer = RandomPatches(0.4, [0], seed).eval()
        kept += (reducer.before_attention(fresh(1, 40, 49), 0).source.reshape(40, 49) >= 0).float().sum(0)
    expected = 2000 * 19 / 49
    chi_squared = ((kept - expected) ** 2 / (expected * (1 - 19 / 49))).sum()
    assert chi_squared < 90  # 48 degrees of freedom: beyond it once in 5,000 times


def test_the_class_tokens_attention_is_that_of_torchs_own_layer():
    theirs, x = nn.MultiheadAttention(64, 4, batch_first=True), torch.randn(3, 7, 64)
    bias = torch.rand(3, 7, 1)
    mask = bias.transpose(1, 2).repeat_interleave(4, 0).expand(-1, 7, -1)
    for class_rows, key_bias, attn_mask in [(1, None, None), (2, bias, mask)]:
        weights = theirs(x, x, x, attn_mask=attn_mask)[1][:, :class_rows].mean(1)
        torch.testing.assert_close(Attention(theirs)(x, key_bias, class_rows=class_rows)[2], weights)
    with torch.autocast("cpu", torch.bfloat16):
        rough = Attention(theirs)(x, bias, class_rows=2)[2]
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, weights, atol=5e-3, rtol=0)


@torch.no_grad()
def test_adapters_take_part_in_what_the_class_token_attends_to():
    model = load_model("ViT-tiny-8", EViT(keep_rate=0.5), lora_rank=4)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.normal_(std=0.2)
    frames = torch.randn(1, 3, 3, 40, 40)
    apart = model.encode_video(frames)
    merge_lora(model)
    torch.testing.assert_close(model.encode_video(frames), apart, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandomPatches(0.0), r"reducer.keep=0.0: the share"),
        (lambda: RandomPatches(blocks=[3, 1]), r"reducer.blocks=\[3, 1\]: blocks are counted from 0"),
        (
            lambda: load_model("ViT-tiny-8", RandomPatches(blocks=[12])),
            r"reducer.blocks=\[12\], but the video tower has",
        ),
        (lambda: EViT(keep_rate=1.2), r"reducer.keep_rate=1.2: the share"),
        (lambda: EViT([]), r"reducer.blocks=\[\]"),
        (lambda: load_model("ViT-tiny-8", EViT([3, 14])), r"reducer.blocks=\[3, 14\], but the video tower has"),
        (lambda: PiToMe(0.4), r"reducer.ratio=0.4: the share .* from 0.5 to 1"),
        (lambda: PiToMe(metric="values"), r"reducer.metric=values: choose keys or tokens"),
        (lambda: PiToMe(bipartite_blocks=-1), r"reducer.bipartite_blocks=-1"),
    ],
)
def test_impossible_settings_are_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()
