"""The data module: batches, their reproducibility across workers and restarts, and broken videos."""

import warnings
from functools import partial
from pathlib import Path

import hydra
import lightning as L
import pytest
import torch
from hydra import compose, initialize_config_dir
from torch import nn

from retrieval.data import Preprocess, RetrievalDataModule
from retrieval.data.corpora import Folder, MovingShapes
from retrieval.data.corpora.moving_shapes import encode
from retrieval.data.dataset import draw_generator
from retrieval.data.decoding import VideoError
from retrieval.data.sampling import even_frames, segment_frames
from retrieval.data.store import FrameStore
from retrieval.data.transforms import crop_and_flip, resize_and_crop

ROOT = Path(__file__).parents[2]
PREPROCESS = Preprocess(32, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
KNOBS = {
    "preprocess": PREPROCESS,
    "frames": 4,
    "sampler": segment_frames,
    "augmentation": resize_and_crop,
    "batch_size": 4,
    "eval_batch_size": 4,
    "num_workers": 0,
    "pairs": "video",
    "val_split": "val",
    "test_split": "test",
    "held_out": 0.25,
    "held_out_seed": 0,
    "validate_on_test": False,
    "bank_size": None,
    "bank_seed": 0,
    "on_error": "raise",
    "short_side": None,
    "frames_from": "video",
    "store": FrameStore("nowhere", "nowhere", short_side=None, quality=95, rate=None),
    "seed": 5,
}


def tokenizer(texts):
    """A stand-in: the first 64 bytes."""
    return torch.tensor([list(text.encode().ljust(64, b" ")[:64]) for text in texts])


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("root")


@pytest.fixture
def shapes(root):
    """A function from changed knobs to a data module of 14, 4 and 6 moving shapes."""
    corpus = partial(
        MovingShapes, seed=0, train=14, val=4, test=6, size=32, fps=8, seconds=1.0, twin_share=0.0, captions=3
    )

    def build(**knobs):
        module = RetrievalDataModule(corpus=corpus, tokenizer=tokenizer, root=root, **(KNOBS | knobs))
        module.prepare_data()
        module.setup("fit")
        return module

    return build


@pytest.fixture
def broken(tmp_path):
    """A function from changed knobs to a data module of 8 videos a split, the first and the sixth of them broken."""
    rows = []
    for number in range(8):
        path = tmp_path / f"{number}.mp4"
        frames = torch.full((8, 32, 32, 3), 20 * number, dtype=torch.uint8)
        encode(path, frames.numpy(), fps=8)
        if number in (0, 5):
            path.write_bytes(path.read_bytes()[:200])
        rows += [
            f"{path.name},video {number} in words {words},{split}" for split in ("train", "test") for words in "ab"
        ]
    (tmp_path / "captions.csv").write_text("video,caption,split\n" + "\n".join(rows) + "\n")

    def build(**knobs):
        knobs = {"on_error": "skip", "val_split": "test"} | knobs
        return RetrievalDataModule(
            corpus=Folder, tokenizer=tokenizer, root=tmp_path, captions="captions.csv", **(KNOBS | knobs)
        )

    return build


class Recorder(L.LightningModule):
    """A model that notes the batches that it is given."""

    def __init__(self, fail_at=None):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.fail_at = fail_at
        self.seen = []
        self.evaluated = []

    def training_step(self, batch, batch_idx):
        if self.fail_at == len(self.seen):
            raise KeyboardInterrupt
        self.seen.append((batch["frames"].clone(), batch["token_ids"]))
        return self.weight * batch["frames"].mean()

    def validation_step(self, batch, batch_idx, dataloader_idx):
        self.evaluated.append(batch)

    test_step = validation_step

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer(folder, **knobs):
    defaults = {"max_epochs": 3, "enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    return L.Trainer(default_root_dir=folder, accelerator="cpu", devices=1, num_sanity_val_steps=0, **defaults | knobs)


def fit(datamodule, folder, **knobs):
    model = Recorder()
    trainer(folder, enable_checkpointing=False, limit_val_batches=0, **knobs).fit(model, datamodule)
    return model.seen


def assert_same(one, two):
    assert len(one) == len(two)
    for (frames, words), (other_frames, other_words) in zip(one, two, strict=True):
        assert frames.equal(other_frames)
        assert words.equal(other_words)


RANDOM = {"augmentation": partial(crop_and_flip, min_scale=0.5, flip=0.5)}


def test_training_batches_are_whole_and_normalised(shapes, tmp_path):
    seen = fit(shapes(), tmp_path, max_epochs=1)
    assert len(seen) == 3  # 14 videos make three batches of 4
    frames, words = seen[0]
    assert frames.shape == (4, 4, 3, 32, 32)
    assert words.shape == (4, 64)
    assert frames.dtype == torch.float32
    assert -2 <= frames.min() < 0 < frames.max() <= 2


def test_caption_pairs_give_each_caption_once(shapes):
    loader = shapes(pairs="caption", batch_size=42).train_dataloader()
    (batch,) = list(loader)
    assert len(batch["token_ids"].unique(dim=0)) == 42  # 14 videos with 3 captions


def test_evaluation_gives_each_video_and_each_caption_once(shapes):
    videos, captions = shapes().val_dataloader()
    assert [index for batch in videos for index in batch["video"].tolist()] == [0, 1, 2, 3]
    batches = list(captions)
    assert [index for batch in batches for index in batch["caption"].tolist()] == list(range(12))
    assert [index for batch in batches for index in batch["video"].tolist()] == [v for v in range(4) for _ in range(3)]
    assert batches[0]["token_ids"].shape == (4, 64)


def bank_texts(datamodule):
    *_, bank = datamodule.test_dataloader()
    batches = list(bank)
    assert [index for batch in batches for index in batch["bank"].tolist()] == list(range(len(datamodule.bank)))
    return [bytes(row.tolist()).decode().strip() for batch in batches for row in batch["token_ids"]]


def test_a_query_bank_holds_training_captions_alone(shapes):
    datamodule = shapes()
    assert len(datamodule.test_dataloader()) == 2
    datamodule.setup_bank()
    texts = [text[:64].strip() for record in datamodule.corpus.records("train") for text in record.captions]
    assert bank_texts(datamodule) == texts
    chosen = []
    for seed in (0, 0, 1):
        some = shapes(bank_size=7, bank_seed=seed)
        some.setup_bank()
        chosen.append(bank_texts(some))
        assert len(chosen[-1]) == 7
        assert set(chosen[-1]) <= set(texts)
    assert chosen[0] == chosen[1] != chosen[2]


def test_a_query_bank_leaves_out_what_is_held_out(broken):
    datamodule = broken(val_split="val")
    datamodule.setup("fit")
    datamodule.setup_bank()
    held_out = {text for record in datamodule.records["val"] for text in record.captions}
    assert len(held_out) == 4
    assert len(datamodule.bank) == 12
    assert held_out.isdisjoint(datamodule.bank.captions)


def test_a_query_bank_that_cannot_be_is_told(shapes, broken, tmp_path):
    with pytest.raises(ValueError, match="cannot be its queries too: evaluate another split"):
        shapes(test_split="train").setup_bank()
    datamodule = broken()
    table = tmp_path / "captions.csv"
    table.write_text(table.read_text().replace(",train", ",test"))
    with pytest.raises(
        ValueError, match=r"needs a query bank of training captions: \S+captions\.csv has no rows for the split 'train'"
    ):
        datamodule.setup_bank()


def test_samples_are_a_function_of_seed_epoch_and_index(shapes, tmp_path):
    alone = fit(shapes(**RANDOM), tmp_path)
    torch.rand(7)
    assert_same(alone, fit(shapes(**RANDOM, num_workers=2), tmp_path))
    other = fit(shapes(**RANDOM, seed=6), tmp_path)
    assert not any(one[0].equal(two[0]) for one, two in zip(alone, other, strict=True))
    assert not alone[0][0].equal(alone[3][0])  # the next epoch
    draws = {
        tuple(torch.rand(2, generator=draw_generator(s, e, i)).tolist()) for s in (0, 1) for e in (0, 1) for i in (0, 1)
    }
    assert len(draws) == 8


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


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_broken_video_is_raised_by_name(broken, tmp_path, num_workers):
    with pytest.raises(VideoError, match=r"0\.mp4: not a readable video(.|\n)*data\.on_error=skip"):
        trainer(tmp_path).test(Recorder(), broken(on_error="raise", num_workers=num_workers))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_broken_videos_are_replaced_and_listed_once(broken, tmp_path, num_workers):
    datamodule, model = broken(num_workers=num_workers), Recorder()
    runner = trainer(tmp_path, max_epochs=2, enable_checkpointing=False, limit_val_batches=0)
    with pytest.warns(UserWarning, match="2 videos could not be read"):
        runner.fit(model, datamodule)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*could not be read")
        trainer(tmp_path).test(model, datamodule)
    assert len(datamodule.skipped) == 2
    assert {Path(message.split(": ")[0]).name for message in datamodule.skipped} == {"0.mp4", "5.mp4"}
    assert len(model.seen) == 4  # two epochs of two whole batches
    videos = torch.cat([batch["video"] for batch in model.evaluated if "frames" in batch])
    assert videos.tolist() == [1, 1, 2, 3, 4, 6, 6, 7]
    for frames, words in model.seen:
        numbers = [int(bytes(row.tolist()).split()[1]) for row in words]
        brightness = (frames.mean(dim=(1, 2, 3, 4)) * 0.25 + 0.5) * 255
        torch.testing.assert_close(brightness, 20.0 * torch.tensor(numbers), atol=4, rtol=0)


def test_a_split_with_no_readable_video_ends(broken, tmp_path):
    datamodule = broken()
    for path in tmp_path.glob("*.mp4"):
        path.write_bytes(b"")
    datamodule.setup("test")
    with pytest.raises(VideoError, match=r"none of the 8 samples can be read, the first: .*0\.mp4"):
        next(iter(datamodule.test_dataloader()[0]))


def test_missing_files_are_named_before_the_first_batch(broken, tmp_path):
    (tmp_path / "3.mp4").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 video files of the split 'test' are missing, the first: .*3\.mp4"):
        broken(on_error="raise").setup("test")
    broken().setup("test")


def test_too_few_videos_for_a_batch_are_said(shapes):
    with pytest.raises(ValueError, match=r"data.batch_size=16 on 1 device\(s\) needs 16 .* has 14"):
        shapes(batch_size=16).train_dataloader()


@pytest.mark.parametrize(
    ("knob", "value"),
    [
        ("pairs", "both"),
        ("on_error", "ignore"),
        ("frames", 0),
        ("batch_size", 0),
        ("num_workers", -1),
        ("short_side", 0),
        ("bank_size", 0),
    ],
)
def test_impossible_settings_are_named(shapes, knob, value):
    with pytest.raises(ValueError, match=f"data.{knob}="):
        shapes(**{knob: value})


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan")])
@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_an_impossible_rate_is_no_broken_video(shapes, rate, on_error):
    with pytest.raises(ValueError, match=rf"^data\.sampler\.rate={rate} frames a second, must be positive$"):
        shapes(sampler=partial(even_frames, rate=rate), on_error=on_error)


def configured(folder, *overrides):
    searchpath = f"hydra:\n  searchpath: [file://{ROOT / 'conf'}]\n"
    (folder / "main.yaml").write_text(searchpath + "defaults:\n  - data: moving_shapes\n  - _self_\nseed: 5\n")
    with initialize_config_dir(str(folder), version_base=None):
        config = compose("main", overrides=list(overrides))
    return hydra.utils.instantiate(config.data, preprocess=PREPROCESS, tokenizer=tokenizer)


def test_the_default_configuration_is_200_videos_with_600_captions(tmp_path):
    datamodule = configured(tmp_path, f"data.root={tmp_path}", "data/sampler=segments", "data/augmentation=randaugment")
    assert datamodule.preprocess.image_size == 32
    assert datamodule.corpus.videos == {"train": 1600, "val": 100, "test": 200}
    assert datamodule.corpus.root == tmp_path


@pytest.mark.parametrize("augmentation", ["none", "crop_and_flip", "randaugment"])
def test_the_folder_configuration_reads_any_folder(broken, tmp_path, augmentation):
    broken()
    knobs = ["data=folder", f"data.root={tmp_path}", f"data/augmentation={augmentation}", "data.num_workers=0"]
    datamodule = configured(tmp_path, *knobs, "data.on_error=skip", "data.batch_size=7")
    datamodule.setup("test")
    videos, captions = datamodule.test_dataloader()
    assert next(iter(videos))["frames"].shape == (8, 12, 3, 32, 32)
    assert next(iter(captions))["token_ids"].shape == (16, 64)
    assert next(iter(datamodule.train_dataloader()))["frames"].shape == (7, 12, 3, 32, 32)


def test_a_folder_without_a_validation_split_holds_out_training_videos(broken):
    datamodule = broken(val_split="val")
    datamodule.setup("fit")
    train, val = ({record.video_id for record in datamodule.records[split]} for split in ("train", "val"))
    assert (len(train), len(val)) == (6, 2)
    assert train | val == {f"{number}.mp4" for number in range(8)}
    assert datamodule.selected_on == "2 of 8 training videos, held out with seed 0"


def test_a_missing_folder_names_its_knob(tmp_path):
    datamodule = configured(tmp_path, "data=folder", f"data.root={tmp_path}/nowhere")
    with pytest.raises(FileNotFoundError, match=r"^data\.root=.*nowhere: no such folder"):
        datamodule.setup("test")
