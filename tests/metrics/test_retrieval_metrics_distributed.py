"""Retrieval metrics on two processes are those of one, whatever a padded sampler repeats."""

import json

import pytest
import torch
import torch.distributed as dist
from torch.multiprocessing import spawn

from retrieval.metrics import RetrievalMetrics

VIDEOS, CAPTIONS = 11, 31


def data():
    generator = torch.Generator().manual_seed(3)
    videos = torch.randn(VIDEOS, 8, generator=generator)
    owner = torch.arange(CAPTIONS) % VIDEOS
    return videos, videos[owner] + torch.randn(CAPTIONS, 8, generator=generator), owner


def add(metrics, video, caption):
    videos, captions, owner = data()
    for part in video.split(4):
        metrics.update_videos(videos[part], part)
    for part in caption.split(4):
        metrics.update_captions(captions[part], part, owner[part])
        metrics.update_bank(captions[part].flip(1), part)


def padded(rank):
    """Even items on one process, odd ones on the other, which is padded with items of the first."""
    padding = torch.arange(0, 4, 2) if rank else torch.arange(0)
    return [torch.cat([torch.arange(rank, items, 2), padding]) for items in (VIDEOS, CAPTIONS)]


def one_sided(rank):
    """All videos on one process, all captions on the other."""
    return torch.arange(VIDEOS * (1 - rank)), torch.arange(CAPTIONS * rank)


def evaluate(*shares):
    """The metrics of each share of the data."""
    results = []
    for videos, captions in shares:
        for rescoring in ("dual_softmax", "qb_norm"):
            metrics = RetrievalMetrics(rescoring, chunk=5)
            add(metrics, videos, captions)
            results.append(metrics.compute())
    return results


def process(rank, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    (folder / f"{rank}.json").write_text(json.dumps(evaluate(padded(rank), one_sided(rank))))
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_agree_with_one(tmp_path):
    spawn(process, (tmp_path,), nprocs=2)
    expected = evaluate((torch.arange(VIDEOS), torch.arange(CAPTIONS)))
    assert expected[0]["videos"] == VIDEOS
    assert expected[0]["captions"] == CAPTIONS
    assert expected[1]["qb_norm/t2v/mean_rank"] != expected[1]["t2v/mean_rank"]
    for rank in range(2):
        assert json.loads((tmp_path / f"{rank}.json").read_text()) == expected * 2
