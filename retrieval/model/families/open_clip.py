"""open_clip's models with OpenAI-like towers, which the reducers' hooks can serve.

What such a model is built from is known by open_clip's name or read off the shapes of weights under OpenAI's names.
"""

import socket
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit
from urllib.request import getproxies

import open_clip
from huggingface_hub.constants import ENDPOINT, HF_HUB_CACHE
from huggingface_hub.file_download import repo_folder_name
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch import Tensor, nn

from retrieval.errors import UserError

TIMEOUT = 5.0
"""Seconds to wait for an answer of the server that has the weights."""
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


def pretrained(name: str, tag: str) -> open_clip.CLIP:
    """open_clip's model with the weights that it calls `tag`, downloaded where they are not at hand.

    Raises:
        UserError: they cannot be had; soon, where the hub would be asked again and again.
    """
    config = open_clip.get_pretrained_cfg(name, tag)
    repository = config.get("hf_hub", "").rpartition("/")[0]
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        if repository and not _is_cached(repository) and not getproxies():
            hub = urlsplit(ENDPOINT)
            socket.create_connection((hub.hostname or "", hub.port or (80 if hub.scheme == "http" else 443))).close()
        open_clip.download_pretrained(config)
    except Exception as error:  # each of open_clip's ways to download has errors of its own
        cause = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"backbone.source={name}/{tag}: open_clip cannot get these weights ({cause}); without a network give a "
            "file of weights: backbone=custom backbone.source=<file>"
        ) from error
    finally:
        socket.setdefaulttimeout(before)
    return open_clip.create_model(name, pretrained=tag)


def _is_cached(repository: str) -> bool:
    return Path(HF_HUB_CACHE, repo_folder_name(repo_id=repository, repo_type="model")).is_dir()


def supported(clip: nn.Module) -> Any:
    """The model itself, if the reducers' hooks can serve its towers; its attributes are open_clip's.

    Raises:
        UserError: a model of another kind.
    """
    if not isinstance(clip, open_clip.CLIP):
        raise UserError(f"backbone {type(clip).__name__}: only open_clip's CLIP models (ViT-…) can be served")
    vit, text = clip.visual, clip.transformer
    if not isinstance(vit, VisionTransformer):
        raise UserError(f"video tower {type(vit).__name__}: only CLIP's vision transformers (ViT-…) take a reducer")
    if vit.attn_pool is not None or vit.pool_type != "tok":
        raise UserError("video tower with attention or average pooling: only towers that end in a class token work")
    for tower, transformer in (("video", vit.transformer), ("text", text)):
        kinds = {type(block).__name__ for block in transformer.resblocks if type(block) is not ResidualAttentionBlock}
        if kinds:
            raise UserError(f"{tower} tower with {', '.join(kinds)}: only open_clip's standard blocks can be served")
    return clip


def _blocks(weights: dict[str, Tensor], transformer: str) -> int:
    return sum(
        name.startswith(f"{transformer}.resblocks.") and name.endswith(".attn.in_proj_weight") for name in weights
    )
