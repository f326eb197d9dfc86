"""What a CLIP is built from, as plain values: known by open_clip's name, or read off the shapes of weights."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import open_clip
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from torch import Tensor

from retrieval.errors import UserError

open_clip.add_model_config(Path(__file__).parent)  # our tiny model stands among open_clip's names


@dataclass(frozen=True)
class Architecture:
    """Sizes and preprocessing of a CLIP; saved in every checkpoint, so that it can be rebuilt from there.

    Attributes:
        clip: keyword arguments of `open_clip.CLIP`.
        image_mean: mean of the pixels' red, green and blue that the weights were trained with, in [0, 1].
        image_std: their standard deviation.
    """

    clip: dict[str, Any]
    image_mean: tuple[float, ...] = OPENAI_DATASET_MEAN
    image_std: tuple[float, ...] = OPENAI_DATASET_STD

    def __post_init__(self) -> None:
        """Refuse towers that the reducers' hooks cannot serve, before anything is downloaded."""
        foreign = [
            *(key for key in ("custom_text", "multimodal_cfg") if key in self.clip),
            *(key for key in ("timm_model_name", "attentional_pool") if key in self.clip["vision_cfg"]),
            *(key for key in ("hf_model_name",) if key in self.clip["text_cfg"]),
        ]
        if foreign or not isinstance(self.clip["vision_cfg"]["layers"], int):
            raise UserError(
                f"backbone with {', '.join(foreign) or 'a convolutional video tower'}: only OpenAI-like CLIPs work, "
                "with a vision transformer that ends in a class token and a text transformer (ViT-B-32, ViT-L-14 …)"
            )

    def build(self) -> open_clip.CLIP:
        """A model of this architecture with random weights."""
        return open_clip.CLIP(**self.clip)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return asdict(self)

    READ_OFF: ClassVar = (
        "visual.conv1.weight",
        "visual.positional_embedding",
        "visual.proj",
        "token_embedding.weight",
        "positional_embedding",
        "text_projection",
    )
    """OpenAI's names of the weights that tell an architecture."""

    @classmethod
    def from_openai_weights(cls, weights: dict[str, Tensor]) -> "Architecture":
        """Read the architecture off OpenAI's names; heads of 64 channels and QuickGELU, as all of OpenAI's have."""
        vision_width, _, _, patch_size = weights["visual.conv1.weight"].shape
        grid = round((len(weights["visual.positional_embedding"]) - 1) ** 0.5)
        vocabulary, text_width = weights["token_embedding.weight"].shape
        return cls(
            {
                "embed_dim": weights["text_projection"].shape[1],
                "quick_gelu": True,
                "vision_cfg": {
                    "image_size": grid * patch_size,
                    "layers": _blocks(weights, "visual.transformer"),
                    "width": vision_width,
                    "patch_size": patch_size,
                },
                "text_cfg": {
                    "context_length": len(weights["positional_embedding"]),
                    "vocab_size": vocabulary,
                    "width": text_width,
                    "heads": max(1, text_width // 64),
                    "layers": _blocks(weights, "transformer"),
                },
            }
        )


def _blocks(weights: dict[str, Tensor], transformer: str) -> int:
    return sum(
        name.startswith(f"{transformer}.resblocks.") and name.endswith(".attn.in_proj_weight") for name in weights
    )
