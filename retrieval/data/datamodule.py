"""The data of an experiment: a corpus, read by a sampler, in batches of bytes on the device."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from retrieval.data.batches import (
    Batch,
    Tokenizer,
    TrainingBatch,
    VideoBatch,
    collate_bank,
    collate_captions,
    collate_training,
    collate_videos,
)
from retrieval.data.corpora.base import Corpus, Record, check_choice, check_files
from retrieval.data.dataset import EvaluationCaptions, EvaluationVideos, FrameReader, TrainingPairs
from retrieval.data.decoder import CHECKS, Decoder, video_opener
from retrieval.data.loading import (
    EpochSampler,
    Loader,
    TrainingLoader,
    check_workers,
    gathered,
    possible_batch_size,
    start_worker,
    worker_count,
)
from retrieval.data.notes import Remembering
from retrieval.data.protocol import read_split
from retrieval.data.querybank import BankCaptions
from retrieval.data.sampling import Sampler
from retrieval.data.store import FrameStore
from retrieval.data.transforms import resize_and_crop
from retrieval.errors import UserError


class RetrievalDataModule(L.LightningDataModule):
    """Training pairs, and for evaluation two loaders: the videos, then the captions, each once; a third for a bank.

    Their batches are `TrainingBatch`, `VideoBatch`, `CaptionBatch` and `BankBatch` of `retrieval.data.batches`.

    Args:
        corpus: from `paths` to the captioned videos.
        image_size: side of the square frames that the model takes, in pixels.
        tokenizer: texts to token ids [text, word].
        frames: per video.
        sampler: which frames of a video those are.
        augmentation: from the image size to the training transform of the frames of a video.
        batch_size: training videos per batch and device.
        eval_batch_size: videos, and captions, per batch and device in evaluation.
        num_workers: processes that read videos, one decoding thread each; 0: the main process; "auto": a core each.
        pairs: "video": each video once an epoch with a random caption; "caption": each of its captions once.
        val_split, test_split: the splits that validation and test read.
        held_out: share of the training videos that stand in for a validation split that the corpus does not have.
        held_out_seed: of their choice; apart from `seed`, so that runs are judged by the same videos.
        validate_on_test: choose checkpoints on the test split, as papers do, and say so in the results.
        bank_size: captions in a query bank, chosen among the training captions; None: all of these.
        bank_seed: of their choice.
        on_error: what a broken video does: "raise", or "skip": another one takes its place and it is listed at the end.
        decoder: what opens a video file.
        short_side: shrink frames to this shorter side while decoding; None: only in the transform.
        check: how far a file is trusted: "full": decoded once as a whole, "header": its packets compared with what it
            says, "none": not at all.
        deadline: seconds after which a decoder that hangs on a file is killed; None: it is waited for.
        frames_from: "video": decode the files; "store": read the stored frames.
        store: the stored frames.
        words: token ids that the tokenizer makes of a caption.
        with_bank: whether evaluation has the third loader, a query bank of training captions.
        seed: of every random choice.
        paths: where the corpus is: `root`, and what else it asks for.

    Attributes:
        records: what has been read, by split.
        bank: the query bank's captions, once set up.
        skipped: the messages of all videos skipped so far, in order, each once.

    Raises:
        UserError: a setting out of its range.
    """

    def __init__(
        self,
        *,
        corpus: Callable[..., Corpus],
        image_size: int,
        tokenizer: Tokenizer,
        frames: int,
        sampler: Sampler,
        augmentation: Callable[[int], Callable[[Tensor], Tensor]],
        batch_size: int,
        eval_batch_size: int,
        num_workers: int | str,
        pairs: str,
        val_split: str,
        test_split: str,
        held_out: float,
        held_out_seed: int,
        validate_on_test: bool,
        bank_size: int | None,
        bank_seed: int,
        on_error: str,
        decoder: Decoder,
        short_side: int | None,
        check: str,
        deadline: float | None,
        frames_from: str,
        store: FrameStore,
        words: int,
        seed: int,
        with_bank: bool = False,
        **paths: str | Path,
    ) -> None:
        super().__init__()
        check_choice("pairs", pairs, ("video", "caption"))
        check_choice("on_error", on_error, ("raise", "skip"))
        check_choice("frames_from", frames_from, ("video", "store"))
        check_choice("check", check, CHECKS)
        check_workers(num_workers)
        opener = video_opener(decoder, short_side, check, deadline)
        minima = {"frames": 1, "batch_size": 1, "eval_batch_size": 1, "short_side": 1, "bank_size": 1}
        values = (frames, batch_size, eval_batch_size, short_side, bank_size)
        for (knob, minimum), value in zip(minima.items(), values, strict=True):
            if value is not None and value < minimum:
                raise UserError(f"data.{knob}={value}, must be at least {minimum}")
        sampler(total=frames, fps=1.0, count=frames)  # an impossible setting is told before any video is read
        self.corpus, self.tokenizer, self.words = corpus(**paths), tokenizer, words
        self.pairs, self.on_error, self.seed = pairs, on_error, seed
        self.batch_size, self.eval_batch_size, self.num_workers = batch_size, eval_batch_size, num_workers
        self.splits = {"train": "train", "val": test_split if validate_on_test else val_split, "test": test_split}
        self.held_out, self.held_out_seed = held_out, held_out_seed
        self.with_bank, self.bank_size, self.bank_seed = with_bank, bank_size, bank_seed
        self.bank: BankCaptions | None = None
        self.store, self.frames_from = store, frames_from
        read_from = Remembering(opener if frames_from == "video" else store.open, check)
        self.training_reader = FrameReader(frames, sampler, augmentation(image_size), read_from)
        self.evaluation_reader = FrameReader(frames, sampler, resize_and_crop(image_size), read_from)
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
        return {"selected_on": self.selected_on, **self._knobs()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Warn where a checkpoint was trained with other frames or words; older and published ones tell neither."""
        for knob, ours in self._knobs().items():
            if (theirs := state_dict.get(knob, ours)) != ours:
                rank_zero_warn(f"{knob}={ours}, but the checkpoint was trained with {knob}={theirs}")

    def _knobs(self) -> dict[str, int]:
        return {"data.frames": self.training_reader.frames, "words": self.words}

    def prepare_data(self) -> None:
        self.corpus.prepare()

    def setup(self, stage: str) -> None:
        """Read the annotations that `stage` needs, so that what is missing is known before the first batch.

        Raises:
            UserError: annotations, videos, stored frames or a query bank that are not there.
        """
        stages = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",)}
        for loader in stages.get(stage, ()):
            self._records(loader)
        if self.with_bank and stage in stages:
            self.bank = BankCaptions(self._bank_records(), self.bank_size, self.bank_seed)

    def sizes(self) -> dict[str, tuple[int, int]]:
        """Number of videos and of captions of each loader (train, val, test) that is set up."""
        found = {loader: self.records[split] for loader, split in self.splits.items() if split in self.records}
        return {loader: (len(rows), sum(len(row.captions) for row in rows)) for loader, rows in found.items()}

    def train_dataloader(self) -> TrainingLoader:
        """Batches of `batch_size`, of what there is where the split has less.

        Raises:
            UserError: fewer than two pairs, or fewer than devices.
        """
        dataset = TrainingPairs(self._records("train"), self.training_reader, self.pairs, self.seed, self.on_error)
        ranks = self.trainer.world_size if self.trainer else 1
        sampler = EpochSampler(dataset, ranks, self.trainer.global_rank if self.trainer else 0, self.seed)
        collate = partial(collate_training, tokenizer=self.tokenizer)
        knobs = self._loader_knobs(reads_videos=True)
        batch_size = possible_batch_size(self.batch_size, len(dataset), ranks)
        return TrainingLoader(dataset, batch_size, sampler=sampler, drop_last=True, collate_fn=collate, **knobs)

    def val_dataloader(self) -> list[DataLoader[Any]]:
        return self._evaluation_loaders("val")

    def test_dataloader(self) -> list[DataLoader[Any]]:
        return self._evaluation_loaders("test")

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Note what was skipped."""
        if isinstance(batch, TrainingBatch | VideoBatch):
            self.skipped += [message for message in dict.fromkeys(batch.skipped) if message not in self.skipped]
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
            check = check_files if self.frames_from == "video" else self.store.check
            for part, records in parts.items() if self.on_error == "raise" else ():
                check(records, part)
            self.records |= parts
        return self.records[split]

    def _read(self, split: str) -> dict[str, list[Record]]:
        if "val" in self.splits.values():
            return read_split(self.corpus, split, self.held_out, self.held_out_seed)
        return {split: self.corpus.records(split)}

    def _bank_records(self) -> list[Record]:
        """The training videos, whose captions are the bank's."""
        if "train" in (self.splits["val"], self.splits["test"]):
            raise UserError("a query bank's training captions cannot be its queries too: evaluate another split")
        try:
            return self.records.get("train") or self._read("train")["train"]
        except UserError as error:
            raise UserError(f"metrics.rescoring needs a query bank of training captions: {error}") from error

    def _evaluation_loaders(self, loader: str) -> list[DataLoader[Any]]:
        records = self._records(loader)
        videos = EvaluationVideos(records, self.evaluation_reader, self.on_error)
        loaders = [self._in_order(videos, collate_videos, reads_videos=True)]
        loaders.append(self._in_order(EvaluationCaptions(records), partial(collate_captions, tokenizer=self.tokenizer)))
        if self.bank is not None:
            loaders.append(self._in_order(self.bank, partial(collate_bank, tokenizer=self.tokenizer)))
        return loaders

    def _in_order(
        self, dataset: Dataset[Any], collate: Callable[..., Batch], reads_videos: bool = False
    ) -> DataLoader[Any]:
        return Loader(dataset, self.eval_batch_size, collate_fn=collate, **self._loader_knobs(reads_videos))

    def _loader_knobs(self, reads_videos: bool) -> dict[str, Any]:
        devices = self.trainer.num_devices if self.trainer else 1
        num_workers = worker_count(self.num_workers, devices) if reads_videos else 0
        workers = {"num_workers": num_workers, "persistent_workers": num_workers > 0, "worker_init_fn": start_worker}
        return workers | {"pin_memory": torch.cuda.is_available()}
