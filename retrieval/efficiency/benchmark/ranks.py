"""Ranks of both directions counted over blocks, beside the published procedure, which sorts the whole matrix."""

from argparse import Namespace

import torch
from jaxtyping import Float, Int
from rich.table import Table
from torch import Tensor

from retrieval.efficiency.benchmark.measurement import measure
from retrieval.errors import UserError
from retrieval.heads.mean import cosine
from retrieval.jobs.announcing import tell
from retrieval.metrics import feature_scores
from retrieval.metrics.ranks import caption_chunks, retrieval_ranks
from retrieval.metrics.recall import CHUNK

NOISE = 4.0  # of a caption beside its video, in standard deviations of the video's own numbers


def run(arguments: Namespace) -> None:
    """Measure, and print the table."""
    if not 1 <= arguments.videos <= arguments.captions:
        raise UserError(f"--videos {arguments.videos}: from 1 to as many as --captions {arguments.captions}")
    tell(table(arguments.videos, arguments.captions, arguments.dim, not arguments.no_sorting))


def table(videos: int, captions: int, dim: int, sorting: bool) -> Table:
    """A row for each way; both rank the same features, each in a process of its own."""
    random = torch.Generator().manual_seed(0)
    video = torch.randn(videos, dim, generator=random)
    owner = torch.arange(captions) * videos // captions
    caption = video[owner] + NOISE * torch.randn(captions, dim, generator=random)
    result = Table(title=f"{captions} captions by {videos} videos on {torch.get_num_threads()} CPU threads")
    for column in ("way", "time", "memory", "agrees"):
        result.add_column(column, justify="left" if column == "way" else "right")
    ways = {"over blocks": over_blocks} | ({"by sorting": by_sorting} if sorting else {})
    measured = {name: measure(way, caption, video, owner, device="cpu", repeat=1) for name, way in ways.items()}
    for name, each in measured.items():
        share = (each.result == measured["over blocks"].result).float().mean().item()
        result.add_row(name, f"{each.seconds:.1f} s", f"{each.peak_bytes / 2**20:.0f} MiB", f"{share:.1%}")
    return result


def over_blocks(
    captions: Float[Tensor, "caption dim"], videos: Float[Tensor, "video dim"], owner: Int[Tensor, " caption"]
) -> Int[Tensor, " rank"]:
    """Ours: t2v ranks, then v2t ranks."""
    parts = list(torch.arange(len(videos)).split(CHUNK))
    scores = feature_scores(captions, videos)
    return torch.cat(retrieval_ranks(scores, owner, caption_chunks(owner, CHUNK), parts))


def by_sorting(
    captions: Float[Tensor, "caption dim"], videos: Float[Tensor, "video dim"], owner: Int[Tensor, " caption"]
) -> Int[Tensor, " rank"]:
    """CLIP4Clip's: the matrix is sorted for each query, and the right answer's place looked up; the first of ties."""
    similarity = cosine(captions, videos)
    _, counts = owner.unique_consecutive(return_counts=True)
    best = torch.stack([part.amax(0) for part in similarity.split(counts.tolist())])
    t2v = _place(similarity, similarity.gather(1, owner[:, None]))
    return torch.cat([t2v, _place(best.T, best.diagonal()[:, None])])


def _place(scores: Float[Tensor, "query candidate"], right: Float[Tensor, "query 1"]) -> Int[Tensor, " query"]:
    return 1 + (scores.sort(dim=1, descending=True).values == right).int().argmax(1)
