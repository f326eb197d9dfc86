"""Transforms of a video: bytes in, bytes out, every frame alike, and no trace left in the global generators."""

import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import functional as pil

from retrieval.data.transforms import (
    crop_and_flip,
    randaugment,
    resize_and_crop,
    transform_frames,
)

TRANSFORMS = {
    "none": resize_and_crop(40),
    "crop_and_flip": crop_and_flip(40, min_scale=0.3, flip=0.5),
    "randaugment": randaugment(40, "rand-m7-n4-mstd0.5-inc1"),
}


def generator(seed):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def still():
    """Five equal frames."""
    return torch.randint(256, (1, 3, 60, 90), dtype=torch.uint8, generator=generator(0)).expand(5, -1, -1, -1)


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
def test_all_frames_of_a_clip_get_the_same_draw(still, transform):
    for seed in range(5):
        frames = transform_frames(still, transform, generator(seed))
        assert frames.shape == (5, 3, 40, 40)
        assert frames.dtype == torch.uint8
        assert (frames == frames[:1]).all()


@pytest.mark.parametrize("name", ["crop_and_flip", "randaugment"])
def test_draws_come_from_the_given_generator_alone(still, name):
    before = torch.get_rng_state()
    random.seed(1)
    np.random.seed(1)
    others = random.getstate(), np.random.get_state()[1].tobytes()
    results = [transform_frames(still, TRANSFORMS[name], generator(seed)) for seed in range(8)]
    assert (random.getstate(), np.random.get_state()[1].tobytes()) == others
    torch.rand(3), random.random(), np.random.rand()
    torch.set_rng_state(before)
    again = [transform_frames(still, TRANSFORMS[name], generator(seed)) for seed in range(8)]
    assert torch.get_rng_state().equal(before)
    assert all(one.equal(two) for one, two in zip(results, again, strict=True))
    assert len({frames.numpy().tobytes() for frames in results}) > 4


def test_randaugment_is_timms_on_whole_frames():
    """The operations, magnitudes and noise of `rand-m7-n4-mstd0.5-inc1`, and bicubic interpolation."""
    (augmentation, *_) = TRANSFORMS["randaugment"].transforms
    assert augmentation.augment.num_layers == 4
    ops = {op.name: op for op in augmentation.augment.ops}
    assert {"PosterizeIncreasing", "SolarizeIncreasing", "ColorIncreasing", "TranslateXRel"} < set(ops)
    assert {(op.magnitude, op.magnitude_std, op.prob) for op in ops.values()} == {(7, 0.5, 0.5)}
    assert {op.kwargs["resample"] for op in ops.values()} == {Image.Resampling.BICUBIC}
    frames = torch.randint(256, (2, 3, 60, 90), dtype=torch.uint8, generator=generator(3))
    assert augmentation(frames).shape == frames.shape


@given(st.integers(8, 100), st.integers(8, 100), st.integers(8, 48))
def test_any_frame_size_becomes_a_square(height, width, size):
    frames = torch.zeros(2, 3, height, width, dtype=torch.uint8)
    assert transform_frames(frames, resize_and_crop(size), None).shape == (2, 3, size, size)


def test_the_evaluation_transform_is_pillows():
    image = torch.randint(256, (3, 12, 16), dtype=torch.uint8, generator=generator(1))
    image = torch.nn.functional.interpolate(image[None].float(), scale_factor=10, mode="bilinear").byte()
    pillow = Image.fromarray(image[0].permute(1, 2, 0).numpy())
    pillow = pil.center_crop(pillow.resize((74, 56), Image.Resampling.BICUBIC), [56, 56])
    ours = transform_frames(image, resize_and_crop(56), None)[0]
    assert (ours.int() - pil.pil_to_tensor(pillow).int()).abs().max() <= 2


def test_impossible_settings_are_named():
    with pytest.raises(ValueError, match=r"min_scale=0.0 must be in \(0, 1\]"):
        crop_and_flip(40, min_scale=0.0, flip=0.5)
    for spec in ("rand", "augmix-m3", "rand-n0", "rand-m7-x3", "rand-m", "rand-mstd0.5-w0"):
        with pytest.raises(ValueError, match=rf"data\.augmentation\.spec={spec}: timm's notation"):
            randaugment(40, spec)
