"""The towers' yardstick computes what ours compute."""

import torch

from retrieval.efficiency.benchmark.materialised import materialise
from tests.model.test_tuning import perturbed_lora


@torch.no_grad()
def test_blocks_step_by_step_give_the_same_features():
    model = perturbed_lora()
    frames, words = torch.randn(1, 12, 3, 56, 56), torch.randint(0, 512, (2, 32))
    expected = model.encode_video(frames), model.encode_text(words)
    materialise(model)
    torch.testing.assert_close(model.encode_video(frames), expected[0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(model.encode_text(words), expected[1], atol=1e-5, rtol=1e-4)
