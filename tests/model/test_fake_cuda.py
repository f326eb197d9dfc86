"""Both towers, every head, every loss and the metrics on a CUDA device that has no numbers: nothing waits for it."""

from pathlib import Path

import open_clip
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor, nn

from retrieval.heads import Head, Mean
from retrieval.heads.mean import cosine
from retrieval.jobs import CONF
from retrieval.metrics import RetrievalMetrics
from retrieval.metrics.features import FeatureScores
from retrieval.metrics.ranks import _counts, _Rows
from retrieval.model import CLIP, Architecture
from retrieval.reducers import Reducer, TempMe
from tests.fake_cuda import backward, call, empty, fake_cuda

WORDS, DIM = 8, 64


def small_clip(reducer: Reducer, head: Head) -> CLIP:
    """Of three blocks, which are as many ways through a tower as twelve."""
    config = open_clip.get_model_config("ViT-tiny-8")
    config["vision_cfg"]["layers"] = 3
    architecture = Architecture(config)
    return CLIP(architecture.build(), architecture, reducer, head).train()


class Step(nn.Module):
    """From bytes and words to the loss of two pairs."""

    def __init__(self, model: CLIP, loss: nn.Module) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, frames: Tensor, token_ids: Tensor) -> Tensor:
        video, text = self.model.encode_video(frames), self.model.encode_text(token_ids)
        return self.loss(self.model.head.similarity, text, video, self.model.logit_scale.exp())


def option(path: Path) -> nn.Module:
    return instantiate(OmegaConf.load(path), _convert_="all")


def options(group: str) -> list:
    return [pytest.param(path, id=path.stem) for path in sorted((CONF / group).glob("*.yaml"))]


def inputs(model: CLIP) -> tuple[Tensor, Tensor]:
    frames = empty(2, 4, 3, model.image_size, model.image_size, dtype=torch.uint8)
    return frames, empty(2, WORDS, dtype=torch.long)


@pytest.mark.parametrize("head", [each for each in options("head") if each.id != "mean"])
def test_a_training_step_under_autocast(head):
    """With the bias of proportional attention; the head `mean` has nothing of its own that these have not."""
    model = small_clip(TempMe(4, [1, 2], [2, 2]), option(head))
    with fake_cuda(autocast=True) as watch:
        loss = call(Step(model, option(CONF / "loss" / "contrastive.yaml")), *inputs(model))
        assert (loss.device.type, loss.dtype) == ("cuda", torch.float32)
        gradients = backward(loss)
    assert torch.bfloat16 in watch.products
    trained = sum(each.requires_grad for each in model.parameters())
    assert trained - len(gradients) in (0, 2)  # what weighs words and clips has a bias that a softmax takes away


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_encoding(dtype):
    model = small_clip(TempMe(4, [1, 2], [2, 2]), Mean()).eval()

    class Encode(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, frames, token_ids):
            return model.similarity(model.encode_text(token_ids), model.encode_video(frames))

    with fake_cuda():
        assert call(Encode(), *inputs(model), dtype=dtype).is_cuda


@pytest.mark.parametrize("loss", options("loss"))
@pytest.mark.parametrize("head", options("head"))
def test_losses_of_similarities(head, loss):
    """Under autocast both are computed in float32, from what heads keep in half precision."""
    compared = option(head)
    vectors = (3,) if compared.every_word else ()
    module = option(loss)
    with fake_cuda(autocast=True) as watch:
        pairs = [empty(4, *vectors, DIM + 1, dtype=torch.bfloat16, grad=True) for _ in range(2)]
        result = call(module, compared.similarity, *pairs, empty())
        assert set(backward(result)) >= set(pairs)
    assert watch.products == {torch.float32}
    assert result.dtype == torch.float32


@torch.no_grad()
def test_the_metrics_collect_features_without_a_look():
    metrics = RetrievalMetrics()
    with fake_cuda():
        metrics._device = torch.device("cuda:0")
        metrics.update_videos(empty(4, DIM, dtype=torch.bfloat16), empty(4, dtype=torch.long))
        metrics.update_captions(empty(6, DIM), empty(6, dtype=torch.long), empty(6, dtype=torch.long))
        assert all(each.is_cuda and each.dtype == torch.float32 for each in metrics.features)


@torch.no_grad()
def test_ranks_are_counted_without_a_look_between_blocks():
    with fake_cuda():
        number = empty(6, dtype=torch.long)
        chunk = _Rows(number, number, number[:3], number, [(3, 2)])
        scores = FeatureScores(empty(6, DIM), empty(8, DIM), cosine)
        videos = [empty(4, dtype=torch.long)] * 2
        below, sets_below = _counts(scores, videos, empty(6), empty(8), chunk)
        assert (below.shape, sets_below.shape) == ((6,), (8,))
