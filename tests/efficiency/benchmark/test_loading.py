"""The benchmark runs, and reading stored frames is worth it."""

from functools import partial

import torch
from retrieval.data.decoding import decode

from retrieval.benchmark import main
from retrieval.data.corpora.base import Record
from retrieval.data.sampling import even_frames
from retrieval.data.store import FrameStore
from retrieval.data.store.preparation import prepare
from retrieval.efficiency.benchmark.loading import write_video


def test_the_benchmarks_stored_frames_are_those_of_its_video(tmp_path):
    path = tmp_path / "noise.mp4"
    write_video(path, 0)
    store = FrameStore(tmp_path / "frames", tmp_path, short_side=224, quality=95, rate=3.0)
    prepare([Record(path.name, path, ("a",))], store, even_frames, 12, 0)
    picked = partial(even_frames, count=12)
    difference = store.read(path, picked).double() - decode(path, picked, 224).double()
    assert 10 * torch.log10(255**2 / difference.square().mean()) >= 40


def test_the_benchmark_prints_its_tables(monkeypatch, capsys):
    options = ["--count", "2", "--frames", "2", "--workers", "0", "--backbone", "ViT-tiny-8", "--batch-size", "1"]
    monkeypatch.setattr("sys.argv", ["benchmark", "loading", *options])
    main()
    printed = capsys.readouterr().out
    assert "2 frames of a video, on one core" in printed
    assert "ViT-tiny-8 trains on" in printed
