"""Inner products of all points of a set, as accurate as in float64 where a device has hardly any float64.

Consumer cards multiply float64 32 to 64 times slower than float32. There every coordinate is written as four signed
digits of eight bits, after Ozaki, Ogita, Oishi and Rump ("Error-free transformations of matrix multiplication by using
fast routines of matrix multiplication", Numerical Algorithms 59, 2012). Products of digits are whole numbers that add
up in float32 without rounding, in TF32 and bfloat16 too, and only ten matrices of them are added in float64.
"""

import torch
from jaxtyping import Float, Float32, Float64
from torch import Tensor

from retrieval.full_precision import without_autocast

DIGITS, BITS = 4, 8

# A digit is 2^7 at the most, and float32 has every whole number up to 2^24.
_EXACT_CHANNELS = 2**24 // 2 ** (2 * (BITS - 1))

# Compute capabilities of NVIDIA's cards with float64 at half the speed of float32: P100, V100, A100, H100, B200.
_FULL_FLOAT64 = {(6, 0), (7, 0), (8, 0), (9, 0), (10, 0)}


def has_little_float64(device: torch.device) -> bool:
    """Whether a device is one of NVIDIA's without the units for float64."""
    if device.type != "cuda" or torch.version.hip is not None:
        return False
    return torch.cuda.get_device_capability(device) not in _FULL_FLOAT64


def inner_products(points: Float[Tensor, "batch point dim"]) -> Float64[Tensor, "batch point point"]:
    """All inner products of each set, exactly symmetric, and exactly equal between equal points.

    Coordinates are rounded to 2^-31 of the largest one of their set, products to float64.

    Args:
        points: float32 or float64; what is not finite makes NaN of its whole set.
    """
    largest = points.abs().amax((1, 2), keepdim=True)
    unit = torch.where(largest == 0, 1, largest / (2 * largest.frexp().mantissa))  # a power of 2, above half of it
    digits = _digits(points / unit)
    products = torch.zeros(*points.shape[:2], points.shape[1], dtype=torch.float64, device=points.device)
    with without_autocast(points):
        for channels in digits.split(_EXACT_CHANNELS, dim=3):
            _add_products(products, channels)
    return products.mul_((unit.double() / 2 ** (BITS - 2)) ** 2)


def _digits(scaled: Float[Tensor, "batch point dim"]) -> Float32[Tensor, "batch digit point dim"]:
    """The digits of numbers between -2 and 2, largest first: whole numbers from -2^7 to 2^7."""
    rest, digits = scaled * 2 ** (BITS - 2), []
    for _ in range(DIGITS):
        digits.append(rest.round())
        rest = (rest - digits[-1]) * 2**BITS
    return torch.stack(digits, dim=1).float()


def _add_products(
    products: Float64[Tensor, "batch point point"], digits: Float[Tensor, "batch digit point dim"]
) -> None:
    """Add the products of these channels, the digits' weights counted from the first digit's."""
    points = digits.shape[2]
    for first in reversed(range(DIGITS)):
        others = digits[:, first:].flatten(1, 2)
        each = torch.bmm(digits[:, first], others.mT).unflatten(2, (-1, points))
        for second in reversed(range(first, DIGITS)):
            product = each[:, :, second - first].double()
            whole = product if second == first else product + product.mT
            products.add_(whole, alpha=2.0 ** (-BITS * (first + second)))
