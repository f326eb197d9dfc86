"""The contract of a head: from the towers' outputs to what is compared, and the comparison.

What `video` and `text` return is what a training gathers, an evaluation collects and a search keeps: a vector an item,
`[item dim]`, or several, `[item vector dim]`, of as many numbers on both sides. `similarity` is the only comparison
there is: the loss, the ranks, rescoring, examples and latency all call it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

Similarity = Callable[[Tensor, Tensor], Tensor]
"""What a head kept of captions, and of videos, to their similarities [caption, video]."""


def at_least_float32(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Half precision as float32: of similarities it leaves too few digits to tell near ones apart."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


class Head(nn.Module, ABC):
    """A head; its parameters are new ones, trained under every tuning at the rate of new parameters.

    Attributes:
        every_word: whether `text` is given all words of a caption, or only the one that stands for it all, its end.
    """

    every_word: bool = False

    def build(self, dim: int, positions: Float[Tensor, "position width"], blocks: nn.ModuleList) -> None:
        """Make the parameters that need the model's sizes; called once.

        Args:
            dim: of the joint space.
            positions: the text tower's own position embedding, for heads that start from it.
            blocks: the text tower's own blocks, to be copied.

        Raises:
            UserError: settings that the model cannot serve, with the numbers and the knob.
        """

    @abstractmethod
    def video(self, clips: Float[Tensor, "video clip dim"]) -> Float[Tensor, "video ..."]:
        """What is kept of videos, given the projected class tokens that reach the tower's end, not normalised."""

    @abstractmethod
    def text(self, words: Float[Tensor, "text word dim"], mask: Bool[Tensor, "text word"]) -> Float[Tensor, "text ..."]:
        """What is kept of captions, given their projected words, not normalised; `mask` tells the real ones, which
        come first.
        """

    @abstractmethod
    def similarity(
        self, text: Float[Tensor, "text ..."], video: Float[Tensor, "video ..."]
    ) -> Float[Tensor, "text video"]:
        """How similar each caption is to each video, without the logit scale.

        A function of its arguments alone, at their precision but in float32 at least, in memory that is bounded beyond
        them and the result.
        """
