"""Where autocast must not lower the precision: distances, similarities, what tokens are sorted and matched by."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def without_autocast(x: Tensor) -> AbstractContextManager[object]:
    """Operations on tensors like `x` keep their own precision; tensors without data have none to lose."""
    return nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False)
