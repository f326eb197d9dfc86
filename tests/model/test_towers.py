"""Both towers against open_clip's own, and the towers that cannot be served."""

import subprocess
import sys

import open_clip
import pytest
import torch

from retrieval import load_model
from retrieval.heads import Mean
from retrieval.model import CLIP, Architecture
from retrieval.reducers import Reducer

NAMES = ["ViT-tiny-8", "ViT-S-32-alt", "ViT-B-32-quickgelu"]


@pytest.fixture(params=NAMES)
def architecture(request) -> Architecture:
    return Architecture(open_clip.get_model_config(request.param))


@torch.no_grad()
def test_without_reducer_a_video_is_the_mean_of_open_clips_images(architecture):
    theirs = architecture.build().eval()
    size = architecture.clip["vision_cfg"]["image_size"]
    frames = torch.randn(2, 3, 3, size, size)
    images = theirs.encode_image(frames.flatten(0, 1), normalize=True).unflatten(0, (2, 3)).mean(dim=1)
    ours = CLIP(theirs, architecture, Reducer(), Mean())
    torch.testing.assert_close(ours.encode_video(frames), images, atol=1e-5, rtol=0)


@torch.no_grad()
def test_texts_are_open_clips_at_full_length_and_at_32_words(architecture):
    theirs = architecture.build().eval()
    texts = ["a cat", "a red square moves left and then up while a dog looks on"]
    full = open_clip.SimpleTokenizer(context_length=architecture.clip["text_cfg"]["context_length"])(texts)
    expected = theirs.encode_text(full)
    ours = CLIP(theirs, architecture, Reducer(), Mean())
    torch.testing.assert_close(ours.encode_text(full), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(ours.encode_text(ours.tokenizer(32)(texts)), expected, atol=1e-5, rtol=0)


@torch.no_grad()
def test_proportional_attention_equals_attention_to_repeated_tokens():
    """A token of size n must draw as much attention as n copies of it (ToMe, section 3)."""
    block = load_model("ViT-tiny-8").visual.blocks[0]
    x = torch.randn(1, 3, 64)
    merged, *_ = block.attend(x, torch.tensor([1.0, 3.0, 2.0]).reshape(1, 3, 1).log())
    repeated, *_ = block.attend(x[:, [0, 1, 1, 1, 2, 2]])
    torch.testing.assert_close(merged, repeated[:, [0, 1, 4]])


@pytest.mark.parametrize("name", ["RN50", "coca_ViT-B-32", "ViT-B-16-SigLIP", "roberta-ViT-B-32", "convnext_base"])
def test_towers_that_the_hooks_cannot_serve_are_refused(name):
    with pytest.raises(ValueError, match="only OpenAI-like CLIPs work"):
        load_model(name)


def test_average_pooling_is_refused():
    config = open_clip.get_model_config("ViT-tiny-8")
    config["vision_cfg"]["pool_type"] = "avg"
    architecture = Architecture(config)
    with pytest.raises(ValueError, match="only towers that end in a class token"):
        CLIP(architecture.build(), architecture, Reducer(), Mean())


COMPILED = """
import torch
from retrieval import load_model
from retrieval.reducers import Chain, EViT, PiToMe, RandomPatches, TempMe
frames = torch.randn(1, 12, 3, 40, 40)
for reducer in (TempMe(), Chain([RandomPatches(blocks=[1]), EViT()]), PiToMe()):
    model = load_model("ViT-tiny-8", reducer)
    with torch.no_grad():
        eager = model.encode_video(frames)
        model.visual.compile(backend="aot_eager", fullgraph=True)
        torch.testing.assert_close(model.encode_video(frames), eager, atol=1e-5, rtol=0)
"""


@pytest.mark.slow
def test_the_video_tower_compiles_to_one_graph_with_the_same_features():
    """In a process of its own: the tests' shape checks would be compiled too."""
    done = subprocess.run([sys.executable, "-c", COMPILED], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
