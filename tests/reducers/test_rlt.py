"""RLT against its authors' masks and lengths, and what it promises: still patches once, moving ones as without it."""

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from retrieval import load_model
from retrieval.data.batches import VideoBatch
from retrieval.efficiency import counted_macs
from retrieval.efficiency.cost import cost
from retrieval.reducers import RLT, Chain, Pooling, TempMe, ToMe, plan
from retrieval.reducers.rlt import run_lengths
from retrieval.training.module import RetrievalModule
from tests.conftest import NUMBERS, TINY_CLIP

FRAMES = torch.randint(256, (1, 12, 3, 56, 56), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
"""Every patch of every frame is a new one."""


def still(moving_from: int, seed: int = 1) -> torch.Tensor:
    """A video whose first frames, up to the one given, are the same."""
    frames = torch.randint(256, (1, 12, 3, 56, 56), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    return frames.clone().index_copy_(1, torch.arange(moving_from), frames[:, :1].expand(-1, moving_from, -1, -1, -1))


@pytest.fixture(scope="module")
def clip():
    return load_model(TINY_CLIP)


def joined_only(**knobs) -> TempMe:
    """Joins all frames before the first block and merges nothing."""
    return TempMe(12, [0], [12], 0, 0.0, 0.0, positions=False, **knobs)


def encode(model, frames):
    with torch.no_grad():
        return model.visual(model.pixels(frames))


def test_masks_and_lengths_are_those_of_the_published_functions(clip):
    theirs = load_file(NUMBERS / "run_length.safetensors")
    of_bytes, _ = run_lengths(theirs["frames"].float(), 49, threshold=4.0)
    normalised, standing = run_lengths(clip.pixels(theirs["frames"]), 49, 4.0, clip.visual.shape.byte_steps)
    for length in (of_bytes, normalised):
        assert torch.equal(length, theirs["length"].flatten(2))
        assert torch.equal(length > 0, theirs["keep"].flatten(2))
    kept = (normalised > 0).nonzero()
    for video, frame, patch in kept[:: len(kept) // 50].tolist():
        run = normalised[video, frame, patch]
        assert (standing[video, frame : frame + run, patch] == frame).all()


@pytest.mark.parametrize("proportional", [True, False])
def test_without_still_patches_features_are_those_without_rlt(clip, proportional):
    apart = clip.with_reducer(RLT(joined=False, proportional_attention=proportional))
    assert torch.equal(encode(apart, FRAMES), encode(clip, FRAMES))
    joined = clip.with_reducer(RLT(proportional_attention=proportional))
    expected = clip.with_reducer(joined_only(proportional_attention=proportional))
    assert torch.equal(encode(joined, FRAMES), encode(expected, FRAMES))


@pytest.mark.parametrize("joined", [True, False])
def test_a_threshold_below_all_differences_drops_nothing(clip, joined):
    idle = clip.with_reducer(RLT(threshold=-1.0, joined=joined))
    expected = clip.with_reducer(joined_only()) if joined else clip
    assert torch.equal(encode(idle, still(12)), encode(expected, still(12)))


@torch.no_grad()
def test_a_still_video_keeps_the_patches_of_one_frame_and_loses_nothing(clip):
    model = clip.with_reducer(RLT())
    last = model.visual.walk(model.pixels(still(12)))[-1]
    assert (last.clips, last.class_tokens, last.layout.patches) == (1, 12, 49)
    assert (last.size[:, 12:] == 12).all()
    whole = encode(clip.with_reducer(joined_only()), still(12))
    torch.testing.assert_close(encode(model, still(12)), whole, atol=2e-5, rtol=0)


def test_the_cost_falls_with_stillness_to_what_the_mean_says(clip):
    model = clip.with_reducer(RLT())
    module, counted = RetrievalModule(model).eval(), []
    for moving_from in (1, 4, 8, 12):
        frames = still(moving_from)
        counted.append(counted_macs(lambda frames=frames: encode(model, frames)) / 1e9)
        module.spent.reset()
        module.validation_step(VideoBatch(frames, torch.tensor([0]), []), 0)
        spent = module.spent.compute()
        assert spent["mean_output_tokens"] == 12 + 49 * (13 - moving_from)
        assert spent["mean_tower_gmacs"].item() == pytest.approx(counted[-1], rel=1e-5)
    assert counted == sorted(counted, reverse=True)
    assert counted[0] == pytest.approx(cost(model, 12, 32)["tower_gmacs"], abs=1e-4)
    assert counted[-1] < counted[0] / 7


def test_the_mean_is_over_videos_as_if_each_were_encoded_alone(clip):
    model = clip.with_reducer(Chain([RLT(joined=False), TempMe(positions=False)]))
    module = RetrievalModule(model).eval()
    alone = []
    for frames in (still(6), still(11, seed=2)):
        module.spent.reset()
        module.validation_step(VideoBatch(frames, torch.tensor([0]), []), 0)
        alone.append(module.spent.compute()["mean_tower_gmacs"].item())
    module.spent.reset()
    module.validation_step(VideoBatch(torch.cat([still(6), still(11, seed=2)]), torch.arange(2), []), 0)
    assert module.spent.compute()["mean_tower_gmacs"].item() == pytest.approx(sum(alone) / 2, rel=1e-6)


CHAINS = {
    "joined": lambda: RLT(),
    "apart": lambda: RLT(joined=False),
    "joined, plain attention": lambda: RLT(proportional_attention=False),
    "joined, merged": lambda: Chain([RLT(), ToMe(image_merge=[20, -1])]),
    "apart, merged": lambda: Chain([RLT(joined=False), TempMe(positions=False)]),
}


@pytest.mark.parametrize("reducer", CHAINS.values(), ids=CHAINS.keys())
@torch.no_grad()
def test_padding_to_the_longest_of_a_batch_is_invisible(clip, reducer):
    """Class tokens in double precision; in float32 the feature, to the rounding of another batch's matrix products."""
    videos = torch.cat([still(12), still(5, seed=2)])
    single = clip.with_reducer(reducer())
    double = load_model(TINY_CLIP, reducer()).double()
    for encoded, tolerance in ((single.encode_video, 2e-6), (lambda frames: encode(double, frames), 1e-12)):
        together, alone = (F.normalize(encoded(frames), dim=-1) for frames in (videos, videos[:1]))
        torch.testing.assert_close(together[:1], alone, atol=tolerance, rtol=0)


@pytest.mark.parametrize("reducer", CHAINS.values(), ids=CHAINS.keys())
@torch.no_grad()
def test_layouts_are_upper_bounds_and_every_patch_finds_its_token(clip, reducer):
    model = clip.with_reducer(reducer())
    planned = plan(model.visual.reducer, model.visual.shape, 12)
    moving = model.visual.walk(model.pixels(FRAMES))
    assert [tokens.layout for tokens in moving] == [after for _, after in planned]
    walked = model.visual.walk(model.pixels(torch.cat([still(12), still(5, seed=2)])))
    for tokens, (_, most) in zip(walked, planned, strict=True):
        assert tokens.clips == most.clips
        assert tokens.layout.patches <= most.patches
        counted = F.one_hot(tokens.source, tokens.clips * tokens.layout.tokens).sum(1).view(-1, tokens.layout.tokens)
        assert torch.equal(counted[:, tokens.class_tokens :].float(), tokens.size[:, tokens.class_tokens :, 0])


def test_positions_and_lengths_are_learned_from_zero_on(clip):
    model = load_model(TINY_CLIP, RLT(length_embedding=True))
    frames = model.pixels(torch.cat([still(12), still(4)]))
    with torch.no_grad():
        torch.testing.assert_close(model.visual(frames), clip.with_reducer(RLT()).visual(frames), atol=1e-5, rtol=0)
    model.visual(frames).square().sum().backward()
    learned = dict(model.visual.reducer.named_parameters())
    assert learned.keys() == {"positions", "length_embedding"}
    assert all(weight.grad.isfinite().all() for weight in model.visual.parameters())
    assert (learned["positions"].grad != 0).all(-1).all()
    lengths = (learned["length_embedding"].grad != 0).any(-1).nonzero().flatten() + 1
    assert lengths.tolist() == [1, 4, 12]


@torch.no_grad()
def test_in_bf16_padding_stays_within_its_rounding(clip):
    model = load_model(TINY_CLIP, RLT()).bfloat16()
    videos = torch.cat([still(12), still(9, seed=2)])
    together, alone = (F.normalize(encode(model, each).float(), dim=-1)[0] for each in (videos, videos[:1]))
    torch.testing.assert_close(together, alone, atol=0.02, rtol=0)


@pytest.mark.parametrize("threshold", [-2.0, 256.0])
def test_thresholds_beyond_bytes_are_refused(threshold):
    with pytest.raises(ValueError, match=rf"reducer.threshold={threshold}: a difference of pixels from 0 to 255"):
        RLT(threshold=threshold)


def test_reducers_that_cannot_act_on_padding_are_refused_beside_it():
    with pytest.raises(ValueError, match="RLT leaves clips of different lengths, padded, which Pooling cannot act on"):
        Chain([RLT(joined=False), Pooling()])
