"""DiffRate's schedules: given, even, and learned for a budget; training by masks is evaluation by cutting."""

from itertools import pairwise

import pytest
import torch

from retrieval import load_model
from retrieval.efficiency.cost import cost
from retrieval.errors import UserError
from retrieval.model import CLIP
from retrieval.reducers import Chain, DiffRate, RandomPatches, Reducer, TempMe, TowerShape, plan
from retrieval.reducers.learned_schedule import even_schedule, macs
from retrieval.training.optimization import parameter_groups

TOWER = TowerShape(blocks=12, width=64, patches=25)
FRAMES = torch.randn(2, 3, 3, 40, 40, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def learner() -> CLIP:
    """A tiny model that prunes and merges in nearly every block."""
    model = load_model("ViT-tiny-8", DiffRate(learn=True, budget=0.5))
    rows = model.visual.reducer.learned.logits
    kept = torch.linspace(24, 3, len(rows)).round()
    for row, count in zip(rows, kept, strict=True):
        row.data = -0.02 * (torch.arange(1, 26) - count) ** 2 + 0.01 * torch.randn(25)
    return model


def share(reducer: DiffRate, tower: TowerShape = TOWER) -> float:
    left = [after.tokens for _, after in plan(reducer, tower, frames=1)]
    return macs(left, tower) / macs([1 + tower.patches] * tower.blocks, tower)


@pytest.mark.parametrize("budget", [0.3, 0.45, 0.6, 0.75, 0.99])
@pytest.mark.parametrize("tower", [TOWER, TowerShape(12, 768, 196), TowerShape(24, 1024, 256, mlp_ratio=3.5)])
def test_an_even_schedule_meets_its_budget_from_below(budget, tower):
    reducer = DiffRate(budget=budget)
    reducer.build(tower, torch.zeros(tower.patches, tower.width))
    assert budget - 0.03 < share(reducer, tower) <= budget
    kept = [count for pair in reducer.schedule for count in pair]
    assert kept == sorted(kept, reverse=True)


def test_the_share_of_the_budget_is_that_of_the_counted_macs():
    model, whole = load_model("ViT-tiny-8", DiffRate(budget=0.5)), load_model("ViT-tiny-8")
    ratio = cost(model, 8, 8)["tower_gmacs"] / cost(whole, 8, 8)["tower_gmacs"]
    assert ratio == pytest.approx(share(model.visual.reducer), abs=0.03)  # the patch convolution stays


@torch.no_grad()
def test_masks_in_training_are_cuts_in_evaluation(learner):
    masked = learner.train().visual(FRAMES)
    cut = learner.eval().visual(FRAMES)
    pruned = [first for first, _ in learner.visual.reducer.schedule]
    merged = [second for _, second in learner.visual.reducer.schedule]
    assert pruned[0] == merged[0] == 26
    assert merged[-1] < 6
    assert any(one > two for one, two in zip(pruned, merged, strict=True))
    assert any(one > two for one, two in zip(merged[:-1], pruned[1:], strict=True))
    torch.testing.assert_close(masked, cut, atol=2e-4, rtol=0)
    plain = load_model("ViT-tiny-8").visual(FRAMES)
    assert (plain - cut).abs().max() > 1e-2


@torch.no_grad()
def test_sources_are_the_same_in_training_but_for_the_place(learner):
    masked, cut = learner.train().visual.walk(FRAMES), learner.eval().visual.walk(FRAMES)
    for soft, hard in zip(masked, cut, strict=True):
        in_clip = [torch.where(tokens.source < 0, -1, tokens.source % tokens.layout.tokens) for tokens in (soft, hard)]
        assert torch.equal(*in_clip)
        torch.testing.assert_close(soft.size[:, : hard.size.shape[1]], hard.size, atol=1e-3, rtol=0)
        assert (soft.size[:, hard.size.shape[1] :] < 1e-3).all()


def test_gradients_reach_every_count_from_the_features_and_from_the_budget(learner):
    logits = list(learner.visual.reducer.learned.logits)
    loss = learner.train().visual(FRAMES).square().sum()
    of_features = torch.autograd.grad(loss, logits)
    of_budget = torch.autograd.grad(learner.visual.reducer.penalty(), logits)
    learner.eval()
    kept = [26, *(count for pair in learner.visual.reducer.schedule[1:] for count in pair)]
    cuts = [later < earlier for earlier, later in pairwise(kept)]
    assert sum(cuts) > 12
    assert all(gradient.isfinite().all() for gradient in (*of_features, *of_budget))
    reached = [bool(gradient.abs().sum() > 0) for gradient in of_features]
    assert reached[:-2] == cuts[:-2]  # no attention follows the last block's
    # more kept is dearer: a step against the gradient lowers the expectation where the schedule is above the budget
    counts = torch.arange(1.0, 26.0)
    above = learner.visual.reducer.learned.share_of_macs() > 0.5
    assert all(((gradient * counts).sum() > 0) == above for gradient in of_budget)


def test_a_step_lowers_the_loss_of_a_mask_as_its_gradient_says(learner):
    """The gradient of a mask at 0 is what a token would add if it had a little weight: finite differences agree."""
    reducer, block = learner.train().visual.reducer, learner.visual.blocks[3]
    x, size = torch.randn(1, 6, 64), torch.ones(1, 6, 1)
    size[0, 4] = 1e-6
    size.requires_grad_(True)
    value = block.attend(x, size.log())[0][0, 0].sum()
    (gradient,) = torch.autograd.grad(value, size)
    more = size.detach().clone()
    more[0, 4] = 1e-2
    with torch.no_grad():
        difference = (block.attend(x, more.log())[0][0, 0].sum() - value) / 1e-2
    assert gradient[0, 4, 0] == pytest.approx(difference.item(), rel=0.05)
    assert reducer.training


def test_training_for_the_budget_alone_meets_it_and_evaluation_cuts_by_what_was_found():
    model = load_model("ViT-tiny-8", DiffRate(learn=True, budget=0.7)).train()
    reducer = model.visual.reducer
    assert reducer.schedule[1:] == [(14, 14)] * 11  # 1 to 25 patches are as likely: 13 on average, and the class token
    optimizer = torch.optim.Adam(reducer.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        reducer.penalty().backward()
        optimizer.step()
    before = cost(model, 3, 8)
    assert reducer.training
    found = reducer.found()
    given = DiffRate(**found)
    reused = load_model("ViT-tiny-8", given)
    assert share(given) == pytest.approx(0.7, abs=0.03)
    assert cost(reused, 3, 8)["video_gmacs"] == before["video_gmacs"]
    loaded = load_model("ViT-tiny-8", DiffRate(learn=True, budget=0.7))
    loaded.load_state_dict(model.state_dict())
    reused.load_state_dict({name: value for name, value in model.state_dict().items() if "reducer" not in name})
    with torch.no_grad():
        assert torch.equal(loaded.encode_video(FRAMES), reused.encode_video(FRAMES))
        assert torch.equal(model.eval().encode_video(FRAMES), reused.encode_video(FRAMES))


def test_the_counts_are_new_parameters_without_decay_and_count_in_a_chain():
    learning = DiffRate(learn=True, budget=0.5)
    model = load_model("ViT-tiny-8", Chain([RandomPatches(0.9, [0]), learning]))
    groups = {group["name"]: group for group in parameter_groups(model, torch.nn.Module(), 1e-5, 1e-3, 0.2)}
    assert (len(groups["new vectors"]["params"]), groups["new vectors"]["lr"]) == (22, 1e-3)
    assert model.visual.reducer.penalty() == learning.penalty() > 0
    assert set(model.visual.reducer.found()) == {
        f"reducers[1].{knob}" for knob in ("prune_kept", "merge_kept", "learn")
    }
    assert (Reducer().penalty(), Reducer().found()) == (0.0, {})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DiffRate([26, 26]), r"reducer.prune_kept=\[26, 26\] and reducer.merge_kept=None: give both"),
        (lambda: DiffRate([26], [27]), r"reducer.prune_kept=26 and reducer.merge_kept=27 in block 0"),
        (lambda: DiffRate([26], [1]), r"reducer.merge_kept=1 in block 0: a class token and a patch stay"),
        (lambda: DiffRate([26], [26], learn=True), r"reducer.learn=true finds prune_kept and merge_kept"),
        (lambda: DiffRate(budget=0.0), r"reducer.budget=0.0"),
        (lambda: DiffRate(strictness=-1.0), r"reducer.strictness=-1.0"),
        (lambda: load_model("ViT-tiny-8", DiffRate([26], [26])), r"have 1 entries, but the video tower has 12 blocks"),
        (lambda: even_schedule(TOWER, 0.05), r"reducer.budget=0.05: below what a single patch"),
        (
            lambda: load_model("ViT-tiny-8", Chain([TempMe(6, [0], [6], 0, 0.0, 0.0), DiffRate(learn=True)])),
            r"DiffRate after those before it: reducer.learn=true learns how many of a frame's 25 patches",
        ),
        (
            lambda: load_model("ViT-tiny-8", Chain([RandomPatches(0.5, [6]), DiffRate(learn=True)])),
            r"RandomPatches reduces at block 6, where in training the tokens that reducer.learn=true would drop",
        ),
    ],
)
def test_impossible_settings_are_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()
