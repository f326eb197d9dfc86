"""CLIP for videos: a video tower with a reducer, a text tower, a head that compares what they give, and its scale."""

from copy import deepcopy
from itertools import chain

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from retrieval.heads import Head
from retrieval.model.families.open_clip import Architecture, supported
from retrieval.model.text import TextTower, Tokenizer
from retrieval.model.video import VideoTower, Watch
from retrieval.reducers import Reducer

Frames = UInt8[Tensor, "video frame 3 height width"] | Float[Tensor, "video frame 3 height width"]


class CLIP(nn.Module):
    """Two towers into one space.

    Args:
        clip: open_clip's model, whose weights the towers take over.
        architecture: what it was built from.
        reducer: the token reducer of the video tower.
        head: what is kept of videos and captions, and how similar they are.

    Raises:
        UserError: a model whose towers cannot be served, or a reducer or head that does not fit it.
    """

    image_mean: Tensor
    image_std: Tensor

    def __init__(self, clip: nn.Module, architecture: Architecture, reducer: Reducer, head: Head) -> None:
        super().__init__()
        theirs = supported(clip)
        self.architecture = architecture
        red, green, blue = architecture.image_std
        self.visual = VideoTower(theirs.visual, reducer, (255 * red, 255 * green, 255 * blue))
        self.text = TextTower(theirs)
        head.build(self.embed_dim, self.text.positional_embedding, self.text.blocks)  # type: ignore[arg-type]
        self.head = head
        self.logit_scale = theirs.logit_scale
        for name in ("image_mean", "image_std"):
            value = torch.tensor(getattr(architecture, name)).view(3, 1, 1)
            self.register_buffer(name, value, persistent=False)  # the architecture brings it

    def pixels(self, frames: Frames) -> Float[Tensor, "video frame 3 height width"]:
        """What the video tower takes: bytes become floats with the mean and deviation that the weights know.

        Floating frames are taken as that already.
        """
        if frames.is_floating_point():
            return frames
        return (frames.float() / 255 - self.image_mean.float()) / self.image_std.float()

    def encode_video(self, frames: Frames, watch: Watch | None = None) -> Float[Tensor, "video ..."]:
        """What the head keeps of videos; with `Mean` their feature, not normalised.

        Args:
            frames: bytes of square frames of `image_size` pixels, or such frames after `pixels`.
            watch: see `VideoTower.forward`.
        """
        return self.head.video(self.visual(self.pixels(frames), watch))

    def encode_text(self, token_ids: Int[Tensor, "text word"]) -> Float[Tensor, "text ..."]:
        """What the head keeps of captions; with `Mean` their feature, not normalised."""
        return self.head.text(*self.text(token_ids, self.head.every_word))

    def similarity(
        self, text: Float[Tensor, "text ..."], video: Float[Tensor, "video ..."]
    ) -> Float[Tensor, "text video"]:
        """Logits: the head's similarities times the learned scale."""
        return self.logit_scale.exp() * self.head.similarity(text, video)

    def with_reducer(self, reducer: Reducer) -> "CLIP":
        """Another model with this reducer on the very same weights, not a copy of them.

        Raises:
            UserError: settings that do not fit the tower.
        """
        shared = {id(tensor): tensor for tensor in chain(self.parameters(), self.buffers())}
        other = deepcopy(self, shared)
        other.visual.set_reducer(reducer)
        return other

    @property
    def embed_dim(self) -> int:
        """Dimensions of the space that both towers map into."""
        return self.architecture.clip["embed_dim"]

    @property
    def image_size(self) -> int:
        """Side of a frame in pixels."""
        return self.architecture.clip["vision_cfg"]["image_size"]

    def tokenizer(self, words: int = 32) -> Tokenizer:
        """A tokenizer for texts of `words` token ids.

        Raises:
            UserError: more words than positions, or a vocabulary other than CLIP's.
        """
        return Tokenizer(words, len(self.text.token_embedding.weight), len(self.text.positional_embedding))
