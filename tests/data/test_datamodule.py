"""The data module: batches, their reproducibility across workers and restarts, and its configuration."""

from functools import partial
from pathlib import Path

import hydra
import lightning as L
import pytest
import torch
from hydra import compose, initialize_config_dir

from retrieval.data.dataset import sample_generator
from retrieval.data.loading import worker_count
from retrieval.data.transforms import crop_and_flip
from retrieval.errors import UserError
from tests.data.conftest import tokenizer
from tests.data.recorder import Recorder, assert_same, fit, trainer

ROOT = Path(__file__).parents[2]
RANDOM = {"augmentation": partial(crop_and_flip, min_scale=0.5, flip=0.5)}


def test_training_batches_are_whole_and_bytes(shapes, tmp_path):
    seen = fit(shapes(), tmp_path, max_epochs=1)
    assert len(seen) == 3  # 14 videos make three batches of 4
    frames, words = seen[0]
    assert frames.shape == (4, 4, 3, 32, 32)
    assert words.shape == (4, 64)
    assert frames.dtype == torch.uint8


def test_caption_pairs_give_each_caption_once(shapes):
    loader = shapes(pairs="caption", batch_size=42).train_dataloader()
    (batch,) = list(loader)
    assert len(batch.token_ids.unique(dim=0)) == 42  # 14 videos with 3 captions


def test_evaluation_gives_each_video_and_each_caption_once(shapes):
    videos, captions = shapes().val_dataloader()
    assert [index for batch in videos for index in batch.video.tolist()] == [0, 1, 2, 3]
    batches = list(captions)
    assert [index for batch in batches for index in batch.caption.tolist()] == list(range(12))
    assert [index for batch in batches for index in batch.video.tolist()] == [v for v in range(4) for _ in range(3)]
    assert batches[0].token_ids.shape == (4, 64)


def test_samples_are_a_function_of_seed_epoch_and_index(shapes, tmp_path):
    alone = fit(shapes(**RANDOM), tmp_path)
    torch.rand(7)
    assert_same(alone, fit(shapes(**RANDOM, num_workers=2), tmp_path))
    other = fit(shapes(**RANDOM, seed=6), tmp_path)
    assert not any(one[0].equal(two[0]) for one, two in zip(alone, other, strict=True))
    assert not alone[0][0].equal(alone[3][0])  # the next epoch
    numbers = {
        tuple(torch.rand(2, generator=sample_generator(s, e, i)).tolist())
        for s in (0, 1)
        for e in (0, 1)
        for i in (0, 1)
    }
    assert len(numbers) == 8


@pytest.mark.parametrize("fail_at", [2, 3, 7])
def test_a_killed_and_resumed_run_sees_the_same_samples(shapes, tmp_path, fail_at):
    whole = fit(shapes(**RANDOM), tmp_path)
    checkpoints = partial(L.pytorch.callbacks.ModelCheckpoint, tmp_path, every_n_train_steps=1, save_last=True)
    killed, resumed = Recorder(fail_at), Recorder()
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        trainer(tmp_path, callbacks=[checkpoints()]).fit(killed, shapes(**RANDOM))
    trainer(tmp_path, callbacks=[checkpoints()]).fit(resumed, shapes(**RANDOM), ckpt_path=tmp_path / "last.ckpt")
    assert_same(whole, killed.seen + resumed.seen)


def test_a_run_that_is_resumed_after_an_epoch_sees_the_same_samples(shapes, tmp_path):
    whole = fit(shapes(**RANDOM, num_workers=2), tmp_path, limit_train_batches=2)
    first, second = Recorder(), Recorder()
    for model, epochs, checkpoint in ((first, 1, None), (second, 3, tmp_path / "last.ckpt")):
        callback = L.pytorch.callbacks.ModelCheckpoint(tmp_path, save_last=True)
        runner = trainer(tmp_path, callbacks=[callback], max_epochs=epochs, limit_train_batches=2)
        runner.fit(model, shapes(**RANDOM, num_workers=2), ckpt_path=checkpoint)
    assert_same(whole, first.seen + second.seen)


def test_overfitting_one_batch_works(shapes, tmp_path):
    seen = fit(shapes(), tmp_path, overfit_batches=1)
    assert_same(seen[:1] * 3, seen)


def configured(folder, *overrides):
    searchpath = f"hydra:\n  searchpath: [file://{ROOT / 'conf'}]\n"
    (folder / "main.yaml").write_text(searchpath + "defaults:\n  - data: moving_shapes\n  - _self_\nseed: 5\n")
    with initialize_config_dir(str(folder), version_base=None):
        config = compose("main", overrides=list(overrides))
    return hydra.utils.instantiate(config.data, image_size=32, tokenizer=tokenizer)


def test_the_default_configuration_is_200_videos_with_600_captions(tmp_path):
    datamodule = configured(tmp_path, f"data.root={tmp_path}", "data/sampler=segments", "data/augmentation=randaugment")
    assert datamodule.words == 32
    assert datamodule.corpus.videos == {"train": 1600, "val": 100, "test": 200}
    assert datamodule.corpus.root == tmp_path


@pytest.mark.parametrize("augmentation", ["none", "crop_and_flip", "randaugment"])
def test_the_folder_configuration_reads_any_folder(broken, tmp_path, augmentation):
    broken()
    knobs = ["data=folder", f"data.root={tmp_path}", f"data/augmentation={augmentation}", "data.num_workers=0"]
    datamodule = configured(tmp_path, *knobs, "data.on_error=skip", "data.batch_size=7")
    datamodule.setup("test")
    videos, captions = datamodule.test_dataloader()
    assert next(iter(videos)).frames.shape == (8, 12, 3, 32, 32)
    assert next(iter(captions)).token_ids.shape == (16, 64)
    assert next(iter(datamodule.train_dataloader())).frames.shape == (7, 12, 3, 32, 32)


@pytest.mark.parametrize(
    ("name", "frames", "words", "pairs"),
    [
        ("msrvtt", 12, 32, "caption"),
        ("msvd", 12, 32, "caption"),
        ("lsmdc", 12, 32, "video"),
        ("didemo", 64, 64, "video"),
        ("activitynet", 64, 64, "video"),
    ],
)
def test_a_set_brings_the_numbers_of_the_papers(tmp_path, name, frames, words, pairs):
    datamodule = configured(tmp_path, f"data={name}", f"data.root={tmp_path}")
    assert (datamodule.training_reader.frames, datamodule.words, datamodule.pairs) == (frames, words, pairs)


def test_sizes_are_videos_and_captions_of_what_is_set_up(shapes):
    assert shapes().sizes() == {"train": (14, 42), "val": (4, 12)}


def test_a_folder_without_a_validation_split_holds_out_training_videos(broken):
    datamodule = broken(val_split="val")
    datamodule.setup("fit")
    train, val = ({record.video_id for record in datamodule.records[split]} for split in ("train", "val"))
    assert (len(train), len(val)) == (6, 2)
    assert train | val == {f"{number}.mp4" for number in range(8)}
    assert datamodule.selected_on == "2 of 8 training videos, held out with seed 0"


def test_a_missing_folder_names_its_knob(tmp_path):
    datamodule = configured(tmp_path, "data=folder", f"data.root={tmp_path}/nowhere")
    with pytest.raises(ValueError, match=r"^data\.root=.*nowhere: no such folder"):
        datamodule.setup("test")


def test_auto_shares_the_cores_of_the_job_among_its_devices(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(12)), raising=False)
    assert [worker_count("auto", devices) for devices in (1, 2, 4, 24)] == [8, 6, 3, 1]
    assert worker_count(3, devices=4) == 3


@pytest.mark.parametrize("asked", [-1, "many"])
def test_what_is_no_number_of_readers_is_refused(shapes, asked):
    with pytest.raises(UserError, match=rf"data.num_workers={asked}: 0 or more processes, or auto"):
        shapes(num_workers=asked)
