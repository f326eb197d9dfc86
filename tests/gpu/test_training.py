"""Training on the device: every reducer, resumed, in micro-batches, with NaN, and two processes on one device."""

from functools import partial
from pathlib import Path

import lightning as L
import pytest
import torch
import torch.distributed as dist
from torch.multiprocessing import spawn
from torch.utils.data import DataLoader

from retrieval import load_model
from retrieval.data.batches import TrainingBatch
from retrieval.errors import UserError
from retrieval.jobs import CONF
from retrieval.model import CLIP
from retrieval.model.compiling import capture_towers, compile_towers
from retrieval.reducers import KMedoids, Reducer, SparseSampling, TempMe
from retrieval.training.losses import Contrastive
from retrieval.training.micro_batches import encode_in_pieces
from retrieval.training.module import RetrievalModule
from tests.reducers.test_fake_cuda import reducer_of
from tests.training.test_module import batches, sgd

PAIRS = 4


def module(reducer: Reducer, **knobs) -> RetrievalModule:
    torch.manual_seed(0)
    return RetrievalModule(load_model("ViT-tiny-8", reducer).train(), partial(sgd), **knobs)


def trainer(**knobs) -> L.Trainer:
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    return L.Trainer(accelerator="auto", devices=1, num_sanity_val_steps=0, **quiet, **knobs)


def pairs() -> DataLoader:
    return batches(TrainingBatch, 2 * PAIRS, PAIRS)


def loss_of(model: CLIP, device, micro_batch: int | None = None, share: slice = slice(None)) -> torch.Tensor:
    batch = next(iter(batches(TrainingBatch, PAIRS, PAIRS)))
    frames, words = (each[share].to(device) for each in (batch.frames, batch.token_ids))
    video = encode_in_pieces(model.encode_video, frames, micro_batch, model.parameters())
    text = encode_in_pieces(model.encode_text, words, micro_batch, model.parameters())
    return Contrastive()(model.head.similarity, text, video, model.logit_scale.exp())


def weights(module: RetrievalModule) -> dict[str, torch.Tensor]:
    return {name: each.detach().cpu() for name, each in module.model.named_parameters()}


@pytest.mark.parametrize("option", sorted((CONF / "reducer").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_step_of_every_reducer(option: Path, device):
    """In bf16 where the device has it."""
    model = module(reducer_of(option)).model.to(device)
    before = {name: each.detach().clone() for name, each in model.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        loss = loss_of(model, device)
    loss.backward()
    optimizer.step()
    assert all(each.isfinite().all() for each in model.parameters())
    still = {name for name, each in model.named_parameters() if each.equal(before[name])}
    assert "visual.conv1.weight" not in still
    assert "text.token_embedding.weight" not in still


def test_a_resumed_training_ends_as_one_that_was_not_stopped(tmp_path):
    whole, first, second = (module(TempMe()) for _ in range(3))
    trainer(max_epochs=2).fit(whole, pairs())
    stopped = trainer(max_epochs=1)
    stopped.fit(first, pairs())
    stopped.save_checkpoint(tmp_path / "last.ckpt")
    trainer(max_epochs=2).fit(second, pairs(), ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    for name, each in weights(whole).items():
        torch.testing.assert_close(weights(second)[name], each, atol=1e-4, rtol=1e-4)


def test_nan_is_told():
    ours = module(TempMe())
    ours.model.visual.proj.data[0, 0] = torch.nan
    with pytest.raises(UserError, match="the loss is nan at step 0"):
        trainer(max_steps=1).fit(ours, pairs())


@pytest.mark.parametrize("rounds", [0, 5, 100])
def test_tokens_that_are_not_finite_are_told_where_the_device_is_asked_late(device, rounds):
    model = load_model("ViT-tiny-8", KMedoids(max_iterations=rounds)).to(device)
    model.visual.class_embedding.data[0] = torch.inf
    frames = torch.randint(256, (1, 12, 3, 40, 40), dtype=torch.uint8, device=device)
    with pytest.raises(UserError, match="KMedoids at block 6: NaN or infinity"), torch.no_grad():
        model.encode_video(frames)


def gradients(
    reducer: Reducer, device, micro_batch: int | None, share: slice = slice(None), half: bool = False
) -> list[torch.Tensor]:
    """Of the loss of a batch, or of this process's share of it, on the CPU."""
    model = module(reducer).model.to(device)
    with torch.autocast(device.type, torch.bfloat16, enabled=half):
        loss = loss_of(model, device, micro_batch, share)
    loss.backward()
    return gradients_of(model)


def gradients_of(model: CLIP) -> list[torch.Tensor]:
    return [torch.zeros_like(each).cpu() if each.grad is None else each.grad.cpu() for each in model.parameters()]


@pytest.mark.parametrize("reducer", [Reducer, TempMe, KMedoids])
def test_micro_batches_have_the_gradients_of_the_batch(reducer, device):
    for piece, whole in zip(gradients(reducer(), device, 1), gradients(reducer(), device, None), strict=True):
        torch.testing.assert_close(piece, whole, atol=1e-5, rtol=1e-4)


def process(rank: int, folder: Path, device: torch.device) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    half = slice(rank * PAIRS // 2, (rank + 1) * PAIRS // 2)
    torch.save(gradients(TempMe(), device, None, half), folder / f"{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_on_one_device_have_the_gradients_of_one(tmp_path, device):
    spawn(process, (tmp_path, device), nprocs=2)
    shares = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    for whole, *parts in zip(gradients(TempMe(), device, None), *shares, strict=True):
        torch.testing.assert_close(torch.stack(parts).mean(0), whole, atol=1e-4, rtol=1e-3)


def test_random_numbers_and_autocast_are_those_of_the_first_pass(device):
    """What is drawn and cast otherwise in the second pass of a piece would not fit the loss of the first."""
    found = gradients(SparseSampling(num_clusters=10), device, 2, half=True)
    model = module(SparseSampling(num_clusters=10)).model.to(device)
    batch = next(iter(batches(TrainingBatch, PAIRS, PAIRS)))
    with torch.autocast(device.type, torch.bfloat16):
        video = torch.cat([model.encode_video(piece.to(device)) for piece in batch.frames.split(2)])
        text = model.encode_text(batch.token_ids.to(device))
        loss = Contrastive()(model.head.similarity, text, video, model.logit_scale.exp())
    loss.backward()
    for piece, expected in zip(found, gradients_of(model), strict=True):
        torch.testing.assert_close(piece, expected, atol=1e-3, rtol=0.05)


def test_cuda_graphs_change_nothing_and_need_cuda(device):
    model = load_model("ViT-tiny-8", TempMe()).to(device)
    frames = torch.randint(256, (2, 12, 3, 40, 40), dtype=torch.uint8, device=device)
    if device.type == "cpu":
        with pytest.raises(UserError, match="CUDA graphs are not to be had on cpu"):
            compile_towers(model, "reduce-overhead", gmacs=0.0)
        return
    with torch.no_grad():
        eager = model.encode_video(frames)
    loss_of(model, device).backward()
    expected = gradients_of(model)
    capture_towers(model)  # where that fails, so does this
    for _ in range(3):  # warmed up, captured, replayed
        with torch.no_grad():
            torch.testing.assert_close(model.encode_video(frames), eager, atol=1e-4, rtol=0)
        model.zero_grad()
        loss_of(model, device).backward()
        for graph, each in zip(gradients_of(model), expected, strict=True):
            torch.testing.assert_close(graph, each, atol=1e-4, rtol=1e-3)
