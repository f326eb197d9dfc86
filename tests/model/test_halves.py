"""How a block's halves run changes nothing of what they compute: checkpointed, compiled, in fewer passes."""

import subprocess
import sys

import open_clip
import pytest
import torch
from peft.tuners.lora import Linear
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from retrieval import load_model
from retrieval.model.activations import QuickGELU
from retrieval.model.halves import checkpoint_blocks
from retrieval.model.tuning import lora, new_weights
from retrieval.reducers import Reducer, SparseSampling, TempMe

FRAMES, WORDS = torch.randn(2, 12, 3, 40, 40), torch.randint(1, 400, (2, 32))
REDUCERS = {"none": Reducer, "tempme": TempMe, "random": lambda: SparseSampling(num_clusters=10)}


def model_with(reducer: str, rank: int | None):
    model = load_model("ViT-tiny-8", REDUCERS[reducer]()).train()
    if rank:
        lora(model, rank)
        with torch.no_grad():
            for value in new_weights(model).values():
                value.normal_(std=0.05)
    return model


def gradients(model):
    torch.manual_seed(1)
    model.zero_grad()
    logits = model.similarity(model.encode_text(WORDS), model.encode_video(FRAMES))
    F.cross_entropy(logits, torch.arange(2)).backward()
    after = torch.rand(1)
    return {name: each.grad for name, each in model.named_parameters() if each.grad is not None} | {"random": after}


@pytest.mark.parametrize(("reducer", "rank"), [("none", None), ("tempme", 4), ("random", None)])
def test_checkpoints_leave_every_gradient_and_every_random_number(reducer, rank):
    model = model_with(reducer, rank)
    expected = gradients(model)
    for every, checkpointed in ((True, 12), (5, 3)):
        checkpoint_blocks(model, every)
        assert sum(block.checkpointed for block in model.visual.blocks) == checkpointed
        found = gradients(model)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], value) for name, value in expected.items())


def kept_bytes(model, monkeypatch) -> int:
    """Of all that is kept of two videos until gradients go back, what checkpoints are given included."""
    kept: dict[int, int] = {}

    def pack(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    def watched(half, *arguments, **knobs):
        for each in arguments:
            if isinstance(each, torch.Tensor):
                pack(each)
        return checkpoint(half, *arguments, **knobs)

    monkeypatch.setattr("retrieval.model.halves.checkpoint", watched)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        features = model.encode_video(FRAMES)  # alive, so that no storage is used twice
    assert features.requires_grad
    return sum(kept.values())


def test_checkpoints_keep_a_third_in_training_and_are_not_there_in_evaluation(monkeypatch):
    model = model_with("tempme", 4)
    weights = sum(value.nbytes for value in model.visual.state_dict().values())
    before = kept_bytes(model, monkeypatch) - weights
    checkpoint_blocks(model, True)
    assert kept_bytes(model, monkeypatch) - weights < before / 3
    monkeypatch.setattr("retrieval.model.halves.checkpoint", None)  # is not called
    model.eval().encode_video(FRAMES)


@pytest.mark.parametrize("every", [0, -2, 1.5, "some"])
def test_impossible_checkpoints_are_refused(every):
    with pytest.raises(ValueError, match=f"backbone.checkpointing={every}"):
        checkpoint_blocks(load_model("ViT-tiny-8"), every)


def test_quick_gelu_and_its_gradient_are_open_clips():
    x = (4 * torch.randn(64, 100)).requires_grad_()
    weights = torch.randn(64, 100)
    ours, theirs = (activation(x) for activation in (QuickGELU(), open_clip.transformer.QuickGELU()))
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)
    found, expected = (torch.autograd.grad(each, x, weights)[0] for each in (ours, theirs))
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)


def test_an_adapted_projection_and_its_gradients_are_pefts():
    layer = model_with("none", 4).visual.blocks[0].attn.qkv
    x = torch.randn(3, 5, 64, requires_grad=True)
    inputs = [x, layer.lora_A.default.weight, layer.lora_B.default.weight]
    ours, theirs = layer(x), Linear.forward(layer, x)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)
    gradients_of = [torch.autograd.grad(each.square().sum(), inputs) for each in (ours, theirs)]
    for found, expected in zip(*gradients_of, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


COMPILED = """
import torch
from functools import partial
torch.compile = partial(torch.compile, backend="aot_eager")
from retrieval.model.halves import checkpoint_blocks, compile_blocks
from tests.model.test_halves import gradients, model_with
model = model_with("tempme", 4)
expected = gradients(model)
compile_blocks(model)
for every in (False, True):
    checkpoint_blocks(model, every)
    found = gradients(model)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=1e-4, rtol=1e-3)
graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
assert graphs == 2, graphs
"""


@pytest.mark.slow
def test_blocks_compile_once_for_all_of_a_tower_with_the_same_gradients():
    """As many tokens as frames, 24, make no other. A process of its own: shape checks would be compiled too."""
    done = subprocess.run([sys.executable, "-c", COMPILED], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
