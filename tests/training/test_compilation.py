"""When a training compiles its towers, and for how much work."""

import pytest

from retrieval.errors import UserError
from retrieval.training import compilation
from retrieval.training.compilation import Compilation
from tests.training.test_module import PAIRS, Data, module, quiet_trainer

COSTS = {"video_gmacs": 5.0, "text_gmacs": 1.0}


def test_the_work_of_a_training_is_that_of_its_pairs_forward_and_twice_as_much_back(monkeypatch):
    asked = []
    monkeypatch.setattr(compilation, "compile_towers", lambda model, choice, gmacs: asked.append((choice, gmacs)))
    quiet_trainer(callbacks=[Compilation("auto", COSTS)], accumulate_grad_batches=2).fit(module(), Data(PAIRS // 2))
    assert asked == [("auto", PAIRS * (5.0 + 1.0) * 3)]


@pytest.mark.parametrize(("micro_batch", "accumulate"), [(2, 1), (None, 2)])
def test_cuda_graphs_with_several_passes_a_step_are_refused(micro_batch, accumulate):
    trainer = quiet_trainer(callbacks=[Compilation("reduce-overhead", COSTS)], accumulate_grad_batches=accumulate)
    with pytest.raises(UserError, match="compile=reduce-overhead: CUDA graphs take one pass a step"):
        trainer.fit(module(micro_batch=micro_batch), Data(PAIRS // 2))
