"""Cost in closed form against PyTorch's counter on the model as it runs, and against published numbers."""

import pytest
import torch

from retrieval import load_model
from retrieval.efficiency import counted_macs
from retrieval.efficiency.cost import cost
from retrieval.reducers import Reducer, TempMe, ToMe
from tests.conftest import TINY_CLIP

REDUCERS = {"none": Reducer, "tome": ToMe, "tempme": TempMe, "unmerged": lambda: TempMe(merge_ratio=0.0, image_merge=0)}


@pytest.mark.parametrize("lora_rank", [None, 4])
@pytest.mark.parametrize("reducer", REDUCERS.values(), ids=REDUCERS.keys())
@torch.no_grad()
def test_the_closed_form_is_what_pytorch_counts(reducer, lora_rank):
    model = load_model(TINY_CLIP, reducer(), lora_rank)
    frames, words = torch.randn(1, 12, 3, 56, 56), torch.ones(1, 32, dtype=torch.long)
    costs = cost(model, frames=12, words=32)
    assert round(counted_macs(lambda: model.encode_video(frames)) / 1e9, 4) == costs["video_gmacs"]
    assert round(counted_macs(lambda: model.encode_text(words)) / 1e9, 4) == costs["text_gmacs"]


@pytest.mark.parametrize(
    ("backbone", "reducer", "gmacs"),
    [
        ("ViT-B-32-quickgelu", None, 52.91),
        ("ViT-B-32-quickgelu", TempMe(), 34.84),
        ("ViT-B-16-quickgelu", None, 210.76),
        ("ViT-B-16-quickgelu", TempMe(image_merge=10), 128.04),
    ],
)
def test_the_published_gmacs(backbone, reducer, gmacs):
    """TempMe's authors count the adapters of rank 8 and the similarities of the matchings."""
    model = load_model(backbone, reducer, lora_rank=None if reducer is None else 8)
    assert cost(model, frames=12, words=32)["video_gmacs"] == pytest.approx(gmacs, abs=0.005)
