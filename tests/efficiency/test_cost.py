"""Cost in closed form against PyTorch's counter on the model as it runs, and against published numbers."""

import pytest
import torch

from retrieval import load_model
from retrieval.efficiency import counted_macs
from retrieval.efficiency.cost import cost, reducer_macs
from retrieval.heads import Mean, SequenceTransformer, TokenWise
from retrieval.reducers import RLT, FrameMerge, KMedoids, Reducer, Spectral, TempMe, ToMe, TowerShape
from tests.conftest import TINY_CLIP

REDUCERS = {
    "none": Reducer,
    "tome": ToMe,
    "tempme": TempMe,
    "unmerged": lambda: TempMe(merge_ratio=0.0, image_merge=0),
    "rlt": RLT,  # of noise, in which no patch is still, so that its upper bound is reached
    "frame_merge": FrameMerge,
}


@pytest.mark.parametrize("lora_rank", [None, 4])
@pytest.mark.parametrize("reducer", REDUCERS.values(), ids=REDUCERS.keys())
@torch.no_grad()
def test_the_closed_form_is_what_pytorch_counts(reducer, lora_rank):
    model = load_model(TINY_CLIP, reducer(), lora_rank)
    frames, words = torch.randn(1, 12, 3, 56, 56), torch.ones(1, 32, dtype=torch.long)
    costs = cost(model, frames=12, words=32)
    assert round(counted_macs(lambda: model.encode_video(frames)) / 1e9, 4) == costs["video_gmacs"]
    assert round(counted_macs(lambda: model.encode_text(words)) / 1e9, 4) == costs["text_gmacs"]


TOWER = TowerShape(blocks=8, width=16, patches=10, head_width=8)


@pytest.mark.parametrize(
    ("reducer", "products"),
    [
        (KMedoids(4, 6, 2, 7), 2 * 20**2 * 16),
        (KMedoids(4, 6, 2, 7, aggregate="mean"), 2 * (20**2 * 16 + 7 * 20 * 16)),
        (KMedoids(4, 6, 2, 7, distance="cosine"), 2 * 20**2 * 17),
        (KMedoids(4, 6, 2, 7, distance="minkowski", p=1.0), 0),
        (Spectral(frames=4, block=6, num_segments=2, num_clusters=7), 2 * 20**2 * (16 + 7)),
        (FrameMerge(4, 6, 3, 0), 2 * 2 * 10 * 16),
        (ToMe(1), 4 * sum((n // 2) * (n - n // 2) * 8 for n in range(10, 2, -1))),
    ],
)
def test_a_reducers_own_products_are_counted(reducer, products):
    reducer.build(TOWER, torch.randn(10, 16))
    state = torch.get_rng_state()
    assert reducer_macs(reducer, TOWER, 4, torch.zeros(1)) == products
    assert torch.equal(torch.get_rng_state(), state)


class Forgetful(Reducer):
    """Drops a token and does not say so."""

    def before_attention(self, tokens, block):
        return tokens.select(range(tokens.x.shape[1] - 1)) if block == 2 else tokens


def test_layouts_that_are_not_what_a_reducer_leaves_are_told():
    with pytest.raises(ValueError, match=r"Forgetful: at block 2 it leaves .*patches=24.*layout_before_attention says"):
        cost(load_model("ViT-tiny-8", Forgetful()), frames=2, words=8)


@pytest.mark.parametrize("head", [Mean(), TokenWise(2), SequenceTransformer(2)], ids=lambda head: type(head).__name__)
@torch.no_grad()
def test_a_heads_products_are_part_of_the_cost_in_any_precision(head):
    model = load_model("ViT-tiny-8", TempMe(6, [3], [6]), head=head)
    assert cost(model.bfloat16(), frames=6, words=12) == cost(model.float(), frames=6, words=12)
    frames, words = torch.zeros(1, 6, 3, 40, 40, dtype=torch.uint8), torch.ones(1, 12, dtype=torch.long)
    costs = cost(model, frames=6, words=12)
    assert round(counted_macs(lambda: model.encode_video(frames)) / 1e9, 4) == costs["video_gmacs"]
    assert round(counted_macs(lambda: model.encode_text(words)) / 1e9, 4) == costs["text_gmacs"]
