"""The retrieval metrics of `recall.py` for features that come in batches, on any number of processes."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat

from retrieval.errors import UserError
from retrieval.heads.base import Similarity
from retrieval.heads.mean import cosine
from retrieval.metrics.features import feature_scores
from retrieval.metrics.recall import CHUNK, check_knobs, retrieval_metrics
from retrieval.metrics.rescoring import RESCORINGS, Querybank
from retrieval.metrics.scores import Scores, check_finite

VIDEO, BANK = -1, -2  # stand for the index of a caption's video where there is none
NEGATIVE = -3  # stands for such an index that is below 0
ALONE = -1  # stands for the number of a vector in its item where an item is one vector


class Items(NamedTuple):
    """Videos, and the captions that belong to one of them, each once.

    Attributes:
        videos, captions: what a head kept of them, their features.
        video_index, caption_index: their numbers in the dataset, ascending.
        video_of_caption: each caption's video, as its place in `videos`.
        captions_without_video: how many captions were dropped.
        bank: features of the query bank's captions.
        similarity: the head's comparison of captions and videos.
    """

    videos: Float[Tensor, "video ..."]
    video_index: Int[Tensor, " video"]
    captions: Float[Tensor, "caption ..."]
    caption_index: Int[Tensor, " caption"]
    video_of_caption: Int[Tensor, " caption"]
    captions_without_video: int
    bank: Float[Tensor, "bank ..."]
    similarity: Similarity

    @property
    def scores(self) -> Scores:
        """Of the captions against the videos."""
        return feature_scores(self.captions, self.videos, self.similarity)


class RetrievalMetrics(Metric):
    """The metrics of features that come in batches, on any number of processes.

    Videos and captions are known by their index in the dataset: what a padded sampler repeats is dropped by it, and
    a caption finds its video by it. `compute` returns the metrics (keys: `recall.py`) and the counts `videos`,
    `captions`, `videos_without_caption` and `captions_without_video`; the latter are dropped. Videos without a caption
    stay as candidates of t2v. Every process needs at least one update.

    Args:
        rescoring: None, or "dual_softmax" or "qb_norm" for its metrics beside the plain ones.
        temperature: the rescoring's factor on the cosines; None: as published.
        chunk: captions and videos per block of scores; memory grows with its square.
        bank_top: videos that each caption of a query bank activates.
        similarity: of the head whose features are ranked; cosines without one.
        settings: torchmetrics' own (`sync_on_compute`, `process_group`, …).

    Example:
        >>> metrics = RetrievalMetrics()
        >>> metrics.update_videos(torch.eye(3), torch.tensor([7, 8, 9]))
        >>> metrics.update_captions(torch.eye(3), torch.arange(3), video_index=torch.tensor([7, 8, 9]))
        >>> metrics.compute()["both/r_sum"]
        600.0
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False
    features: list[Tensor]
    labels: list[Tensor]

    def __init__(
        self,
        rescoring: str | None = None,
        temperature: float | None = None,
        chunk: int = CHUNK,
        bank_top: int = 1,
        similarity: Similarity = cosine,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        check_knobs(rescoring, temperature, chunk)
        if bank_top < 1:
            raise UserError(f"bank_top={bank_top} must be at least 1")
        self.rescoring, self.temperature, self.chunk, self.bank_top = rescoring, temperature, chunk, bank_top
        self.similarity = similarity
        # One table for all kinds, as a process whose list is empty would break torchmetrics' gathering.
        self.add_state("features", default=[], dist_reduce_fx="cat")
        self.add_state("labels", default=[], dist_reduce_fx="cat")

    @property
    def takes_bank(self) -> bool:
        """Whether the rescoring normalises by a query bank, which `update_bank` adds."""
        return self.rescoring is not None and RESCORINGS[self.rescoring].bank

    def update(
        self,
        features: Float[Tensor, "item ..."],
        index: Int[Tensor, " item"],
        video_index: Int[Tensor, " item"] | None = None,
        bank: bool = False,
    ) -> None:
        """Add captions where `video_index` is given, else videos or the bank's; `update_videos` … say which.

        Raises:
            UserError: not one index a feature; features that are not finite and indices below 0, which on CUDA, where
                asking waits for the device, `compute` finds.
        """
        kind = "bank caption" if bank else "video" if video_index is None else "caption"
        check_index(index, len(features), f"{kind} index")
        if video_index is not None:
            check_index(video_index, len(features), "video_index of the captions")
        if not features.is_cuda:
            check_finite(features, index, f"{kind} features")
        nothing = torch.full_like(index, BANK if bank else VIDEO)
        video = nothing if video_index is None else video_index.where(video_index >= 0, NEGATIVE)
        rows, vector = _rows(features.detach().float())
        each = len(rows) // max(1, len(features))
        labels = torch.stack([index.repeat_interleave(each), video.repeat_interleave(each), vector.to(index)], dim=1)
        self.features.append(rows.to(self.device))
        self.labels.append(labels.long().to(self.device))

    def update_videos(self, features: Float[Tensor, "video ..."], index: Int[Tensor, " video"]) -> None:
        """Add videos; `index` is each video's number in the dataset."""
        self.update(features, index)

    def update_captions(
        self,
        features: Float[Tensor, "caption ..."],
        index: Int[Tensor, " caption"],
        video_index: Int[Tensor, " caption"],
    ) -> None:
        """Add captions; `index` is each caption's number in the dataset, `video_index` that of its video."""
        self.update(features, index, video_index)

    def update_bank(self, features: Float[Tensor, "caption ..."], index: Int[Tensor, " caption"]) -> None:
        """Add training captions to the query bank; `index` is each one's number in it."""
        self.update(features, index, bank=True)

    def compute(self) -> dict[str, float]:
        """The metrics of all that was added since the last reset.

        Raises:
            UserError: no videos, no captions, no caption of any of the videos, or one caption index for two videos.
        """
        items = self.items()
        counts = {
            "videos": float(len(items.videos)),
            "captions": float(len(items.captions)),
            "videos_without_caption": float(len(items.videos) - len(items.video_of_caption.unique())),
            "captions_without_video": float(items.captions_without_video),
        }
        bank_captions = torch.arange(len(items.bank), device=items.bank.device)
        bank = None
        if self.takes_bank and len(bank_captions):
            scores = feature_scores(items.bank, items.videos, self.similarity)
            bank = Querybank(scores, bank_captions.split(self.chunk), self.bank_top)
        settings = (self.rescoring, self.temperature, self.chunk, bank)
        return retrieval_metrics(items.scores, len(items.videos), items.video_of_caption, *settings) | counts

    def items(self) -> Items:
        """What is ranked: on this process, or within `sync_context()` on all of them together.

        Raises:
            UserError: no videos or captions, an index below 0, no caption of any video, a caption index for two videos.
        """
        if len(self.labels) == 0:
            raise UserError("no videos and no captions to rank: call update_videos and update_captions first")
        labels = dim_zero_cat(self.labels)
        check_positive(labels[:, 0], "an index")
        check_positive(labels[:, 1] - NEGATIVE - 1, "a video_index")
        rows, labels = _drop_repeated(dim_zero_cat(self.features), labels)
        is_video, is_bank = labels[:, 1] == VIDEO, labels[:, 1] == BANK
        videos, video_labels = _items(rows[is_video], labels[is_video])
        known = torch.isin(labels[:, 1], video_labels[:, 0])
        captions, caption_labels = _items(rows[known], labels[known])
        lost = ~is_video & ~is_bank & ~known
        missing = len(_items(rows[lost], labels[lost])[1])
        if missing and not known.any():
            raise UserError(
                f"none of the {missing} captions belongs to any of the {len(videos)} videos: check video_index"
            )
        video_of_caption = torch.searchsorted(video_labels[:, 0].contiguous(), caption_labels[:, 1].contiguous())
        bank, _ = _items(rows[is_bank], labels[is_bank])
        return Items(
            videos,
            video_labels[:, 0],
            captions,
            caption_labels[:, 0],
            video_of_caption,
            missing,
            bank,
            self.similarity,
        )


def _rows(features: Float[Tensor, "item ..."]) -> tuple[Float[Tensor, "row dim"], Int[Tensor, " row"]]:
    """A row a vector, and its number in its item; ALONE where items are single vectors."""
    if features.ndim == 2:
        return features, torch.full((len(features),), ALONE, device=features.device)
    return features.flatten(0, 1), torch.arange(features.shape[1], device=features.device).repeat(len(features))


def _items(
    rows: Float[Tensor, "row dim"], labels: Int[Tensor, "row 3"]
) -> tuple[Float[Tensor, "item ..."], Int[Tensor, "item 3"]]:
    """The items of one kind from their rows, which are sorted by item and vector, and a label for each."""
    if len(labels) == 0 or labels[0, 2] == ALONE:
        return rows, labels
    vectors = int(labels[:, 2].max()) + 1
    return rows.unflatten(0, (-1, vectors)), labels[::vectors]


def _drop_repeated(
    rows: Float[Tensor, "row dim"], labels: Int[Tensor, "row 3"]
) -> tuple[Float[Tensor, "kept dim"], Int[Tensor, "kept 3"]]:
    """The first row of each vector of each caption index and of each video index, sorted by index."""
    kinds = torch.stack([labels[:, 1].clamp(max=0), labels[:, 0], labels[:, 2]], dim=1)
    kept, place = kinds.unique(dim=0, return_inverse=True)
    order = place.argsort(stable=True)
    first = order[torch.searchsorted(place[order], torch.arange(len(kept), device=place.device))]
    clash = (labels[first][place] != labels).any(1)
    if clash.any():
        caption = labels[clash][0, 0].item()
        raise UserError(f"caption index {caption} came with two different videos: give each caption its own index")
    return rows[first], labels[first]


def check_index(index: Int[Tensor, " number"], items: int, name: str) -> None:
    """Raise a UserError unless there is one index from 0 for each of the items."""
    if len(index) != items:
        raise UserError(f"{len(index)} values of {name} for {items} features: give one each")
    if not index.is_cuda:
        check_positive(index, name)


def check_positive(index: Int[Tensor, " number"], name: str) -> None:
    """Raise a UserError where an index is below 0."""
    if (index < 0).any():
        raise UserError(f"{name} {index.min().item()} is below 0: number the dataset's items from 0")
