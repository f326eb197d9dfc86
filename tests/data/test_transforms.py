"""Transforms of a video: bytes in, bytes out, every frame alike, and no trace left in the global generators."""

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
    "randaugment": randaugment(40, operations=2, magnitude=20),
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
    results = [transform_frames(still, TRANSFORMS[name], generator(seed)) for seed in range(8)]
    torch.rand(3)
    torch.set_rng_state(before)
    again = [transform_frames(still, TRANSFORMS[name], generator(seed)) for seed in range(8)]
    assert torch.get_rng_state().equal(before)
    assert all(one.equal(two) for one, two in zip(results, again, strict=True))
    assert len({frames.numpy().tobytes() for frames in results}) > 4


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
    with pytest.raises(ValueError, match="operations=0 must be 1 or more"):
        randaugment(40, operations=0, magnitude=9)
