"""Crop and augmentation of the frames of a video, all alike; bytes in, bytes out."""

from collections.abc import Callable

import torch
from jaxtyping import UInt8
from torch import Generator, Tensor
from torchvision.transforms import InterpolationMode, v2

from retrieval.errors import UserError


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


def randaugment(size: int, operations: int, magnitude: int) -> v2.Transform:
    """RandAugment (Cubuk et al., 2020) on the centre crop: `operations` in a row, of strength `magnitude` in 0 to 30.

    Raises:
        UserError: impossible numbers.
    """
    if operations < 1 or not 0 <= magnitude <= 30:
        raise UserError(f"data.augmentation: operations={operations} must be 1 or more, magnitude={magnitude} 0 to 30")
    return v2.Compose([*resize_and_crop(size).transforms, v2.RandAugment(operations, magnitude)])


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
