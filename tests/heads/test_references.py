"""Heads against what their authors' functions return (`heads.safetensors`), and what must hold of any head."""

import json

import pytest
import torch
from open_clip.transformer import Transformer
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn import functional as F

from retrieval import load_model
from retrieval.heads import Head, Mean, SequenceTransformer, TokenWise, token_wise
from retrieval.model.blocks import Block
from tests.conftest import NUMBERS, TINY_CLIP

DIM = 64


@pytest.fixture(scope="module")
def reference() -> tuple[dict[str, Tensor], dict[str, int]]:
    with safe_open(NUMBERS / "heads.safetensors", "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return tensors, {name: json.loads(value) for name, value in file.metadata().items()}


def similarity(head: Head, tensors: dict[str, Tensor]) -> Tensor:
    words, clips = tensors["text_tokens"].float(), tensors["video_tokens"].float()
    with torch.no_grad():
        return head.similarity(head.text(words, tensors["text_mask"].bool()), head.video(clips))


def assert_close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs.float(), atol=1e-5, rtol=0)


def below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def test_the_mean(reference):
    assert_close(similarity(Mean(), reference[0]), reference[0]["mean.similarity"])


def test_token_wise_interaction_without_weights(reference):
    head = TokenWise(weight_layers=0)
    head.build(DIM, torch.zeros(1, DIM), nn.ModuleList())
    assert not list(head.parameters())
    assert_close(similarity(head, reference[0]), reference[0]["token_wise.similarity"])


@pytest.mark.parametrize("layers", [1, 2])
def test_weighted_token_wise_interaction(reference, layers):
    tensors, _ = reference
    head = TokenWise(layers)
    head.build(DIM, torch.zeros(1, DIM), nn.ModuleList())
    for side, network in (("text", head.of_words), ("video", head.of_clips)):
        linear = [layer for layer in network if isinstance(layer, nn.Linear)]
        assert len(linear) == layers
        for number, layer in enumerate(linear):
            layer.load_state_dict(below(tensors, f"weighted_token_wise_{layers}.{side}.{number}."))
    assert_close(similarity(head, tensors), tensors[f"weighted_token_wise_{layers}.similarity"])


def test_the_sequence_transformer(reference):
    tensors, settings = reference
    theirs = Transformer(DIM, settings["layers"], settings["heads"], act_layer=QuickGELU)
    theirs.load_state_dict(below(tensors, "sequence_transformer.") | {}, strict=False)
    head = SequenceTransformer(settings["layers"])
    head.build(DIM, tensors["sequence_transformer.positions"], nn.ModuleList(map(Block, theirs.resblocks)))
    assert_close(similarity(head, tensors), tensors["sequence_transformer.similarity"])
    clips = tensors["sequence_transformer.video_tokens"]
    assert_close(head.video(tensors["video_tokens"].float()), F.normalize(clips.float(), dim=-1).mean(1))


class QuickGELU(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


def heads() -> list[Head]:
    return [Mean(), TokenWise(0), TokenWise(2), SequenceTransformer(2)]


def name(head: Head) -> str:
    return f"{type(head).__name__}{getattr(head, 'weight_layers', '')}"


@pytest.mark.parametrize("head", heads(), ids=name)
@torch.no_grad()
def test_a_model_compares_the_same_in_any_blocks_and_precision(head, monkeypatch):
    model = load_model("ViT-tiny-8", head=head)
    video = model.encode_video(torch.randint(0, 256, (3, 4, 3, 40, 40), dtype=torch.uint8))
    text = model.encode_text(model.tokenizer(16)([f"a red square moves {way}" for way in ("left", "up", "down, then")]))
    whole = head.similarity(text, video)
    monkeypatch.setattr(token_wise, "BLOCK", 1)
    torch.testing.assert_close(head.similarity(text, video), whole)
    torch.testing.assert_close(head.similarity(text[1:2], video[2:]), whole[1:2, 2:])
    torch.testing.assert_close(head.similarity(text.double(), video.double()).float(), whole, atol=1e-5, rtol=0)
    assert whole.abs().max() <= 1 + 1e-5


@torch.no_grad()
def test_padding_words_do_not_change_the_ends_of_captions():
    model = load_model("ViT-tiny-8")
    captions = ["a cat", "a red square moves left and then up"]
    short, long = (model.encode_text(model.tokenizer(words)(captions)) for words in (12, 32))
    torch.testing.assert_close(short, long, atol=1e-5, rtol=0)


def test_the_sequence_transformer_starts_from_the_text_tower_and_trains_apart_from_it():
    model = load_model("ViT-tiny-8", head=SequenceTransformer(2))
    head = model.head
    assert torch.equal(head.positions, model.text.positional_embedding)
    assert torch.equal(head.blocks[1].mlp.c_fc.weight, model.text.blocks[1].mlp.c_fc.weight)
    shared = {id(p) for p in head.parameters()} & {id(p) for p in model.text.parameters()}
    assert not shared


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TokenWise(-1), "head.weight_layers=-1"),
        (lambda: SequenceTransformer(0), "head.layers=0"),
        (lambda: load_model("ViT-tiny-8", head=SequenceTransformer(5)), "head.layers=5, but the text tower"),
        (lambda: load_model(TINY_CLIP, head=SequenceTransformer(1)), "that is 128 wide and the joint space 64"),
        (
            lambda: load_model("ViT-tiny-8", head=SequenceTransformer(1)).encode_video(torch.zeros(1, 33, 3, 40, 40)),
            "has 32 positions, but 33 clips",
        ),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
