"""What trains, and that merging and saving adapters changes nothing."""

import peft
import pytest
import torch
from torch import nn

from retrieval import load_model
from retrieval.efficiency.cost import trained_parameters
from retrieval.heads import SequenceTransformer
from retrieval.model.tuning import frozen, full, lora, merge_lora, new_weights, save_adapter
from retrieval.reducers import TempMe
from retrieval.training.optimization import adamw, parameter_groups, warmup_cosine
from tests.conftest import TINY_CLIP


def perturbed_lora(rank=4):
    model = load_model(TINY_CLIP, TempMe(), lora_rank=rank)
    with torch.no_grad():
        for value in new_weights(model).values():
            value.normal_(std=0.05)
    return model


def test_tempme_on_vit_b32_trains_exactly_the_published_number_of_parameters():
    assert trained_parameters(load_model("ViT-B-32-quickgelu", TempMe(), lora_rank=8)) == 507_648


def test_full_trains_all_and_frozen_only_the_reducer():
    model = load_model(TINY_CLIP, TempMe())
    full(model)
    assert trained_parameters(model) == sum(parameter.numel() for parameter in model.parameters())
    frozen(model)
    assert trained_parameters(model) == (12 + 6 + 3) * 128


def test_nothing_to_train_is_refused():
    model = load_model(TINY_CLIP)
    frozen(model)
    with pytest.raises(ValueError, match="nothing to train"):
        adamw(model, nn.Module(), 10, lr=1.0, new_lr=1.0, weight_decay=0.0, warmup=0.0)


def test_fresh_adapters_change_nothing_and_merged_ones_no_feature():
    frames, words = torch.randn(2, 12, 3, 56, 56), torch.randint(0, 512, (2, 32))
    with torch.no_grad():
        plain = load_model(TINY_CLIP, TempMe())
        fresh = load_model(TINY_CLIP, TempMe(), lora_rank=8)
        torch.testing.assert_close(fresh.encode_video(frames), plain.encode_video(frames), atol=1e-6, rtol=0)
        model = perturbed_lora()
        video, text = model.encode_video(frames), model.encode_text(words)
        assert (video - plain.encode_video(frames)).abs().max() > 1e-3
        merge_lora(model)
        assert not [name for name in model.state_dict() if "lora" in name]
        torch.testing.assert_close(model.encode_video(frames), video, atol=1e-5, rtol=0)
        torch.testing.assert_close(model.encode_text(words), text, atol=1e-5, rtol=1e-5)


def test_saved_adapters_load_with_peft(tmp_path):
    model = perturbed_lora()
    save_adapter(model, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} >= {"adapter_model.safetensors", "reducer.safetensors"}
    words = torch.randint(0, 512, (2, 32))
    theirs = peft.PeftModel.from_pretrained(load_model(TINY_CLIP, TempMe()), tmp_path).base_model.model
    torch.testing.assert_close(theirs.encode_text(words), model.encode_text(words))


@pytest.mark.parametrize("rank", [0, -1])
def test_impossible_ranks_are_refused(rank):
    with pytest.raises(ValueError, match=f"rank={rank}: at least 1"):
        lora(load_model(TINY_CLIP), rank)


def test_rates_and_decay_by_kind_of_parameter():
    model = load_model(TINY_CLIP, TempMe(), lora_rank=8)
    full(model)
    groups = {
        (group["lr"], group["weight_decay"]): group["params"]
        for group in parameter_groups(model, nn.Module(), 0.1, 0.2, 0.3)
    }
    assert groups.keys() == {(0.1, 0.3), (0.1, 0.0), (0.2, 0.3)}
    assert {parameter.ndim for parameter in groups[0.1, 0.0]} == {0, 1}
    assert len(groups[0.2, 0.3]) == 2 * (12 + 4) + 3


def test_the_rate_warms_up_and_falls_to_zero():
    rates = [warmup_cosine(step, 100, 0.1) for step in range(101)]
    assert rates[:11] == sorted(rates[:11])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert (max(rates), rates[-1]) == (1.0, 0.0)


@pytest.mark.parametrize("tune", [lora, frozen])
def test_a_heads_parameters_train_because_the_head_owns_them(tune):
    model = load_model("ViT-tiny-8", head=SequenceTransformer(2))
    tune(model)
    assert all(parameter.requires_grad for parameter in model.head.parameters())
    assert not any(".lora_" in name for name, _ in model.head.named_parameters())
    assert not model.text.positional_embedding.requires_grad
    groups = {group["name"]: group["params"] for group in parameter_groups(model, nn.Linear(2, 1), 0.1, 0.2, 0.3)}
    assert groups.keys() == {"new matrices", "new vectors"}
    trained = {id(parameter) for parameters in groups.values() for parameter in parameters}
    assert trained >= {id(parameter) for parameter in model.head.parameters()}
    assert len(groups["new vectors"]) == len([p for p in model.head.parameters() if p.squeeze().ndim < 2]) + 2
