"""Token shift (Zhang et al., ACM MM 2021, as CenterCLIP, SIGIR 2022, compares with it): no token is dropped."""

import torch
from jaxtyping import Float
from torch import Tensor

from retrieval.reducers.base import Tokens
from retrieval.reducers.temporal_shift import TemporalShift, shift


class TokenShift(TemporalShift):
    """Shift the class tokens alone, before attention and once more before the MLP; settings as `TemporalShift`."""

    takes_padding = True

    def before_attention(self, tokens: Tokens, block: int) -> Tokens:
        return self._shifted(tokens, block)

    def after_attention(self, tokens: Tokens, keys: Float[Tensor, "clip token key"], block: int) -> Tokens:
        return self._shifted(tokens, block)

    def _shifted(self, tokens: Tokens, block: int) -> Tokens:
        if not self.shifts_at(block):
            return tokens
        class_tokens, patches = tokens.x[:, : tokens.class_tokens], tokens.x[:, tokens.class_tokens :]
        return tokens.with_x(torch.cat([shift(class_tokens, tokens.clips), patches], dim=1))
