"""The data of an experiment: a corpus, read by a sampler, in batches on the device."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor
from torch.utils.data import DataLoader

from retrieval.data.corpora.base import Corpus, Record, check_files
from retrieval.data.dataset import ClipReader, EvaluationCaptions, EvaluationVideos, Read, TrainingPairs
from retrieval.data.decoding import decode
from retrieval.data.loading import Batch, EpochSampler, Tokenizer, TrainingLoader, collate, gathered
from retrieval.data.protocol import hold_out
from retrieval.data.querybank import BankCaptions
from retrieval.data.sampling import Sampler
from retrieval.data.store import FrameStore
from retrieval.data.transforms import Preprocess, normalize, resize_and_crop
from retrieval.errors import UserError


class RetrievalDataModule(L.LightningDataModule):
    """Training pairs, and for evaluation two loaders: the videos, then the captions, each once; a third for a bank.

    Batches on the device:
        training: `frames` [video, frame, 3, size, size], `token_ids` [video, word], `skipped`.
        videos: `frames`, `video` [video] the videos' indices, `skipped`.
        captions: `token_ids` [caption, word], `caption` [caption] their indices, `video` [caption] their videos'.
        query bank, after `setup_bank`: `token_ids` [caption, word], `bank` [caption] their indices.
    `skipped` lists the videos that could not be read, a message each.

    Args:
        corpus: from `paths` to the captioned videos.
        preprocess: what the model expects of its frames.
        tokenizer: texts to token ids [text, word].
        frames: per clip.
        sampler: which frames of a video those are.
        augmentation: from the image size to the training transform of a clip.
        batch_size: training videos per batch and device.
        eval_batch_size: videos, and captions, per batch and device in evaluation.
        num_workers: processes that read videos, each with one decoding thread; 0: the main process.
        pairs: "video": each video once an epoch with a random caption; "caption": each of its captions once.
        val_split, test_split: the splits that validation and test read.
        held_out: share of the training videos that stand in for a validation split that the corpus does not have.
        held_out_seed: of their choice; apart from `seed`, so that runs are judged by the same videos.
        validate_on_test: choose checkpoints on the test split, as papers do, and say so in the results.
        bank_size: captions in a query bank, chosen among the training captions; None: all of these.
        bank_seed: of their choice.
        on_error: what a broken video does: "raise", or "skip": another one takes its place and it is listed at the end.
        short_side: shrink frames to this shorter side while decoding; None: only in the transform.
        frames_from: "video": decode the files; "store": read the stored frames.
        store: the stored frames.
        seed: of every random choice.
        paths: where the corpus is: `root`, and what else it asks for.

    Attributes:
        skipped: the messages of all videos skipped so far, in order, each once.

    Raises:
        UserError: a setting out of its range.
    """

    def __init__(
        self,
        *,
        corpus: Callable[..., Corpus],
        preprocess: Preprocess,
        tokenizer: Tokenizer,
        frames: int,
        sampler: Sampler,
        augmentation: Callable[[int], Callable[[Tensor], Tensor]],
        batch_size: int,
        eval_batch_size: int,
        num_workers: int,
        pairs: str,
        val_split: str,
        test_split: str,
        held_out: float,
        held_out_seed: int,
        validate_on_test: bool,
        bank_size: int | None,
        bank_seed: int,
        on_error: str,
        short_side: int | None,
        frames_from: str,
        store: FrameStore,
        seed: int,
        **paths: str | Path,
    ) -> None:
        super().__init__()
        _check_choice("pairs", pairs, ("video", "caption"))
        _check_choice("on_error", on_error, ("raise", "skip"))
        _check_choice("frames_from", frames_from, ("video", "store"))
        minima = {"frames": 1, "batch_size": 1, "eval_batch_size": 1, "num_workers": 0, "short_side": 1, "bank_size": 1}
        values = (frames, batch_size, eval_batch_size, num_workers, short_side, bank_size)
        for (knob, minimum), value in zip(minima.items(), values, strict=True):
            if value is not None and value < minimum:
                raise UserError(f"data.{knob}={value}, must be at least {minimum}")
        sampler(total=frames, fps=1.0, count=frames)  # an impossible setting is told before any video is read
        self.corpus, self.preprocess, self.tokenizer = corpus(**paths), preprocess, tokenizer
        self.pairs, self.on_error, self.seed = pairs, on_error, seed
        self.batch_size, self.eval_batch_size, self.num_workers = batch_size, eval_batch_size, num_workers
        self.splits = {"train": "train", "val": test_split if validate_on_test else val_split, "test": test_split}
        self.held_out, self.held_out_seed = held_out, held_out_seed
        self.bank_size, self.bank_seed = bank_size, bank_seed
        self.bank: BankCaptions | None = None
        size = preprocess.image_size
        self.store, self.frames_from = store, frames_from
        read: Read = partial(decode, short_side=short_side) if frames_from == "video" else store.read
        self.training_reader = ClipReader(frames, sampler, augmentation(size), read)
        self.evaluation_reader = ClipReader(frames, sampler, resize_and_crop(size), read)
        self.records: dict[str, list[Record]] = {}
        self.skipped: list[str] = []
        self._listed: set[str] = set()

    @property
    def selected_on(self) -> str:
        """What checkpoints are chosen by: test, held-out training videos, or the validation split."""
        split = self.splits["val"]
        if split == self.splits["test"]:
            return "test"
        if split in self.corpus.splits:
            return split
        train, val = (len({record.path for record in self._records(loader)}) for loader in ("train", "val"))
        return f"{val} of {train + val} training videos, held out with seed {self.held_out_seed}"

    def state_dict(self) -> dict[str, Any]:
        """Into the checkpoint: a later evaluation tells what it was selected on, and compares the rest."""
        return {"selected_on": self.selected_on, **self._sizes()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Warn where a checkpoint was trained with other frames or words; older and published ones tell neither."""
        for knob, ours in self._sizes().items():
            if (theirs := state_dict.get(knob, ours)) != ours:
                rank_zero_warn(f"{knob}={ours}, but the checkpoint was trained with {knob}={theirs}")

    def _sizes(self) -> dict[str, int]:
        return {"data.frames": self.training_reader.frames, "words": self.tokenizer([""]).shape[1]}

    def prepare_data(self) -> None:
        self.corpus.prepare()

    def setup(self, stage: str) -> None:
        """Read the annotations that `stage` needs, so that what is missing is known before the first batch."""
        stages = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",)}
        for loader in stages.get(stage, ()):
            self._records(loader)

    def setup_bank(self) -> None:
        """Choose the captions of a query bank, which evaluation then gives as a third loader.

        Raises:
            UserError: no training captions, or they are what will be ranked.
        """
        if "train" in (self.splits["val"], self.splits["test"]):
            raise UserError("a query bank's training captions cannot be its queries too: evaluate another split")
        try:
            records = self.records.get("train") or self._read("train")["train"]
        except (ValueError, FileNotFoundError) as error:
            raise UserError(f"metrics.rescoring needs a query bank of training captions: {error}") from error
        self.bank = BankCaptions(records, self.bank_size, self.bank_seed)

    def train_dataloader(self) -> TrainingLoader:
        """Raises UserError where the split does not fill one batch on each device."""
        dataset = TrainingPairs(self._records("train"), self.training_reader, self.pairs, self.seed, self.on_error)
        ranks = self.trainer.world_size if self.trainer else 1
        if len(dataset) < ranks * self.batch_size:
            raise UserError(
                f"data.batch_size={self.batch_size} on {ranks} device(s) needs {ranks * self.batch_size} training "
                f"samples, the split has {len(dataset)}: lower data.batch_size"
            )
        sampler = EpochSampler(dataset, ranks, self.trainer.global_rank if self.trainer else 0, self.seed)
        knobs = self._loader_knobs(self.num_workers)
        return TrainingLoader(dataset, self.batch_size, sampler=sampler, drop_last=True, **knobs)

    def val_dataloader(self) -> list[DataLoader[Batch]]:
        return self._evaluation_loaders("val")

    def test_dataloader(self) -> list[DataLoader[Batch]]:
        return self._evaluation_loaders("test")

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Normalise on the device: the bytes travel, a quarter of the floats; and note what was skipped."""
        self.skipped += [message for message in dict.fromkeys(batch.get("skipped", ())) if message not in self.skipped]
        if "frames" in batch:
            batch["frames"] = normalize(batch["frames"], self.preprocess)
        return batch

    def teardown(self, stage: str) -> None:
        """List what was skipped, once, on all devices together."""
        self.skipped = gathered(self.skipped)
        unlisted = [message for message in self.skipped if message not in self._listed]
        if unlisted:
            rank_zero_warn(f"{len(unlisted)} videos could not be read:\n" + "\n".join(unlisted))
        self._listed.update(unlisted)

    def _records(self, loader: str) -> list[Record]:
        split = self.splits[loader]
        if split not in self.records:
            parts = self._read(split)
            if self.frames_from == "store":
                self.store.verify()
            if self.on_error == "raise":
                for part, records in parts.items():
                    self._check(records, part)
            self.records |= parts
        return self.records[split]

    def _read(self, split: str) -> dict[str, list[Record]]:
        """The records of `split`; of training and what it gives away together."""
        if "val" in self.corpus.splits or "val" not in self.splits.values() or split == "test":
            return {split: self.corpus.records(split)}
        train, val = hold_out(self.corpus.records("train"), self.held_out, self.held_out_seed)
        return {"train": train, "val": val}

    def _check(self, records: Sequence[Record], split: str) -> None:
        if self.frames_from == "video":
            return check_files(records, split)
        if lacking := self.store.lacking([record.path for record in records]):
            raise UserError(
                f"data.store.folder={self.store.folder} lacks {len(lacking)} videos of the split {split!r}, the first: "
                f"{lacking[0]}; run python -m retrieval.prepare, or leave them out with data.on_error=skip"
            )
        return None

    def _evaluation_loaders(self, loader: str) -> list[DataLoader[Batch]]:
        records = self._records(loader)
        videos = EvaluationVideos(records, self.evaluation_reader, self.on_error)
        texts = [EvaluationCaptions(records), *([self.bank] if self.bank else [])]
        return [
            DataLoader(videos, self.eval_batch_size, **self._loader_knobs(self.num_workers)),
            *(DataLoader(captions, self.eval_batch_size, **self._loader_knobs(0)) for captions in texts),
        ]

    def _loader_knobs(self, num_workers: int) -> dict[str, Any]:
        return {
            "num_workers": num_workers,
            "persistent_workers": num_workers > 0,
            "pin_memory": torch.cuda.is_available(),
            "collate_fn": partial(collate, tokenizer=self.tokenizer),
        }


def _check_choice(knob: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise UserError(f"data.{knob}={value!r}: choose one of {', '.join(choices)}")
