"""CLIP for videos: a video tower with a reducer, a text tower, and the scale between their features."""

import open_clip
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from retrieval.errors import UserError
from retrieval.model.families.open_clip import Architecture
from retrieval.model.text import TextTower, Tokenizer
from retrieval.model.video import VideoTower
from retrieval.reducers import Reducer


class CLIP(nn.Module):
    """Two towers into one space.

    Args:
        clip: open_clip's model, whose weights the towers take over.
        architecture: what it was built from.
        reducer: the token reducer of the video tower.

    Raises:
        UserError: a model whose towers cannot be served.
    """

    def __init__(self, clip: nn.Module, architecture: Architecture, reducer: Reducer) -> None:
        super().__init__()
        if not isinstance(clip, open_clip.CLIP):
            raise UserError(f"backbone {type(clip).__name__}: only open_clip's CLIP models (ViT-…) can be served")
        self.architecture = architecture
        self.visual = VideoTower(clip.visual, reducer)
        self.text = TextTower(clip)
        self.logit_scale = clip.logit_scale

    def encode_video(self, frames: Float[Tensor, "video frame 3 height width"]) -> Float[Tensor, "video dim"]:
        """Video features: the mean of normalised clip features, itself not normalised again.

        Args:
            frames: square frames of `image_size` pixels, normalised with the architecture's mean and deviation.
        """
        return self.visual(frames)

    def encode_text(self, token_ids: Int[Tensor, "text word"]) -> Float[Tensor, "text dim"]:
        """Text features, not normalised."""
        return self.text(token_ids)

    def similarity(
        self, text: Float[Tensor, "text dim"], video: Float[Tensor, "video dim"]
    ) -> Float[Tensor, "text video"]:
        """Logits: cosines times the learned scale."""
        return self.logit_scale.exp() * F.normalize(text, dim=-1) @ F.normalize(video, dim=-1).T

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
