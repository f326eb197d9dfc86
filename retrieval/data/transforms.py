"""Crop and augmentation of the frames of a video, all alike; bytes in, bytes out."""

import random
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from timm.data.auto_augment import rand_augment_transform
from torch import Generator, Tensor, nn
from torchvision.transforms import InterpolationMode, v2

from retrieval.errors import UserError

SPEC = r"rand(-(m\d+|n[1-9]\d*|mstd\d+(\.\d+)?|mmax\d+|p[01](\.\d+)?|inc[01]|t(weights|3aw?)))+"
"""What timm reads as a RandAugment; what it would pass over or not understand is left out."""


def resize_and_crop(size: int) -> v2.Transform:
    """CLIP's own: the shorter side to `size` by antialiased bicubic interpolation, then the centre crop."""
    return v2.Compose([v2.Resize(size, InterpolationMode.BICUBIC, antialias=True), v2.CenterCrop(size)])


def crop_and_flip(size: int, min_scale: float, flip: float) -> v2.Transform:
    """A random crop of `min_scale` to all of the area, resized to `size`, flipped left to right with chance `flip`.

    Raises:
        UserError: numbers outside of (0, 1] and [0, 1].
    """
    if not (0 < min_scale <= 1 and 0 <= flip <= 1):
        raise UserError(f"data.augmentation: min_scale={min_scale} must be in (0, 1] and flip={flip} in [0, 1]")
    crop = v2.RandomResizedCrop(size, (min_scale, 1.0), interpolation=InterpolationMode.BICUBIC, antialias=True)
    return v2.Compose([crop, v2.RandomHorizontalFlip(flip)])


def randaugment(size: int, spec: str) -> v2.Transform:
    """RandAugment (Cubuk et al., 2020) by timm on whole frames, then the centre crop.

    Args:
        size: side of the square frames, in pixels.
        spec: in timm's notation: `rand-m7-n4-mstd0.5-inc1` is 4 operations of magnitude 7 of 10, with Gaussian noise of
            deviation 0.5, of the kind that alters more as the magnitude increases; each is applied with chance 0.5.

    Raises:
        UserError: another notation.
    """
    return v2.Compose([_RandAugment(spec), *resize_and_crop(size).transforms])


class _RandAugment(nn.Module):
    """timm's operations with the same draw for every frame, which torch's generator decides."""

    def __init__(self, spec: str) -> None:
        super().__init__()
        if not re.fullmatch(SPEC, spec):
            raise UserError(
                f"data.augmentation.spec={spec}: timm's notation, such as rand-m7-n4-mstd0.5-inc1, of m (magnitude), "
                "n (operations), mstd (its deviation), mmax (its bound), p (chance of an operation), inc and t"
            )
        self.augment = rand_augment_transform(spec, {"interpolation": Image.Resampling.BICUBIC})

    def forward(self, frames: UInt8[Tensor, "frame 3 height width"]) -> UInt8[Tensor, "frame 3 height width"]:
        seed = int(torch.randint(2**32, ()))
        with _python_state_kept():
            return torch.stack([self._augmented(frame, seed) for frame in frames])

    def _augmented(self, frame: UInt8[Tensor, "3 height width"], seed: int) -> UInt8[Tensor, "3 height width"]:
        random.seed(seed)
        np.random.seed(seed)
        image = self.augment(Image.fromarray(frame.permute(1, 2, 0).numpy()))
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)


@contextmanager
def _python_state_kept() -> Iterator[None]:
    """Put Python's and numpy's global generators back as they were."""
    ours, numpys = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(ours)
        np.random.set_state(numpys)


def transform_frames(
    frames: UInt8[Tensor, "frame 3 height width"],
    transform: Callable[[Tensor], Tensor],
    generator: Generator | None,
) -> UInt8[Tensor, "frame 3 size size"]:
    """`transform` of all frames of a video at once; its random numbers come from `generator` alone.

    torchvision takes its own from torch's global generator: it is seeded for the call and put back afterwards.
    """
    if generator is None:
        return transform(frames)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(torch.randint(2**62, (), generator=generator)))
        return transform(frames)
