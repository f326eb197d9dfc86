"""Reproductions of published rows: what they compose to, what they refuse before they start, and their card."""

import json
import shutil
from collections import namedtuple
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from retrieval.errors import UserError
from retrieval.jobs import CONF
from retrieval.jobs.runs import CONFIG
from retrieval.sweeps.plugin import register_sweeper
from retrieval.sweeps.reproduction import needs
from retrieval.sweeps.reproduction.card import command, write_card
from retrieval.sweeps.reproduction.figures import FILE, published_row, published_rows, published_videos
from retrieval.sweeps.states import differences
from retrieval.train import main as train
from tests.jobs.commands import call
from tests.miniatures import MINIATURES, TEST, TRAIN
from tests.recipes import ROWS
from tests.recipes import composed as asked
from tests.sweeps.jobs import NONE, write_job

SHARED = ("backbone", "reducer", "head", "loss", "tuning", "data", "words", "optimizer", "trainer", "callbacks", "seed")
"""What a reproduction and its row on the page of recipes have alike."""
SMALL = [
    "backbone=tiny",
    "data.pairs=video",
    "data.batch_size=4",
    "data.num_workers=0",
    "trainer.accelerator=cpu",
    "trainer.max_epochs=1",
    "~callbacks.progress",
]


def composed(*overrides: str):
    register_sweeper()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", ["run_dir=/nowhere", "name=job", *overrides], return_hydra_config=True)


def test_there_is_a_file_for_each_published_row():
    assert {path.stem for path in (CONF / "reproduce").glob("*.yaml")} == {"default", *published_rows()}


@pytest.mark.parametrize("row", published_rows())
def test_a_row_runs_under_both_protocols_with_three_seeds(row):
    config = composed(f"+reproduce={row}", "data.root=/videos", "protocol=published")
    assert config.reproduction.row == row
    assert config.hydra.sweep.dir == f"runs/sweeps/{row}"
    assert config.hydra.sweeper._target_.endswith("JobSweeper")
    assert config.hydra.sweeper.params == {"protocol": "published,honest", "seed": "42,43,44"}
    assert config.data.validate_on_test
    assert config.callbacks.best.monitor == "val/t2v/r_at_1"
    assert config.data.corpus._target_.rpartition(".")[2].lower() == row.split("_")[-1]
    assert config.backbone.source == f"ViT-B-{'16' if 'vit_b16' in row else '32'}-quickgelu/openai"
    assert not composed(f"+reproduce={row}", "data.root=/videos", "protocol=honest").data.validate_on_test


@pytest.mark.parametrize("name", published_rows())
def test_a_row_runs_what_the_page_of_recipes_says(name):
    (row,) = (row for row in ROWS if row.reproduction == name)
    page = asked(row)
    config = composed(f"+reproduce={name}", f"data.root=/{row.of}")
    for part in SHARED:
        ours, theirs = (OmegaConf.select(each, part) for each in (config, page))
        assert ours == theirs, part


def test_every_number_has_a_source():
    content = yaml.safe_load(FILE.read_text())
    assert {name: figure.value for name, figure in published_videos("MSVD").items()} == {
        "train": 1200,
        "val": 100,
        "test": 670,
    }
    for name in published_rows():
        row = published_row(name)
        assert row.metrics
        figures = (*row.metrics.values(), *row.costs.values())
        assert {figure.source for figure in figures} <= {*content["sources"].values()}
    with pytest.raises(UserError, match=r"row=tempme: nothing of that name is published; there are tempme_"):
        published_row("tempme")


@pytest.fixture
def jobs(tmp_path) -> list[Path]:
    """Two protocols with two seeds each, one of which has failed."""
    for number, (selected_on, r_sum) in enumerate([("test", 300.0), ("test", 312.0), ("val", 290.0), ("val", None)]):
        write_job(tmp_path / str(number), NONE, number, r_sum, selected_on=selected_on)
    usage = {"device": "cuda", "training_seconds": 7200, "training_peak_bytes": 12e9, "testing_seconds": 30}
    (tmp_path / "0" / "usage.json").write_text(json.dumps(usage) + "\n")
    return [tmp_path / str(number) for number in range(4)]


def test_the_card_puts_ours_below_what_was_published(jobs, tmp_path):
    lines = write_card(jobs, "centerclip_msrvtt", tmp_path).read_text().splitlines()
    assert lines[0] == "# CenterCLIP, k-medoids++, 4 segments of 49, ViT-B/32, MSR-VTT 1k-A (9k)"
    assert "3 of 4 runs have finished. Published by Zhao et al., SIGIR 2022." in lines
    assert "| published | - | 43.6 | 71.4 | 81.2 | - | 42.9 |" in lines
    assert "| ours, chosen on test | 2 | 51.0 ± 1.4 | 51.0 ± 1.4 | 51.0 ± 1.4 | 51.0 ± 1.4 | 51.0 ± 1.4 |" in lines
    assert "| ours, chosen on val | 1 | 48.3 | 48.3 | 48.3 | 48.3 | 48.3 |" in lines
    (readme,) = (line for line in lines if line.startswith("| CenterCLIP"))
    assert readme.endswith("| 43.6 | 51.0 ± 1.4 (2) | 48.3 (1) | 1 x CPU | 2 | 12 |")
    assert "Published: 15 GB in training, 22.9 ms a video. Ours: 0.20 GMACs" in " ".join(lines)
    assert any(line.startswith("Protocol 2: split: test, 5 videos") for line in lines)


def test_a_card_tells_the_command_and_nobodys_folders():
    given = ["/home/me/train.py", "-m", "+reproduce=tempme_msrvtt", "data.root=me", "+ckpt=/home/me/a.ckpt", "name=b c"]
    assert command(given) == "python -m retrieval.train -m +reproduce=tempme_msrvtt data.root=... +ckpt=... 'name=b c'"


def test_what_it_compares_with_makes_no_other_job(tmp_path):
    config = {"run_dir": str(tmp_path), "ckpt_path": None, "reproduction": {"warmup": 4}}
    OmegaConf.save(OmegaConf.create(config), tmp_path / CONFIG)
    assert differences(tmp_path, OmegaConf.create(config | {"reproduction": {"warmup": 0}})) == []


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("msrvtt")
    MINIATURES["msrvtt"](folder)
    return folder


def arguments(root: Path, place: Path, *overrides: str) -> list[str]:
    return ["-m", "+reproduce=tempme_msrvtt", f"data.root={root}", f"output={place}", *SMALL, *overrides]


def test_other_videos_than_published_are_refused_before_anything_runs(root, tmp_path, monkeypatch):
    one = arguments(root, tmp_path, "seed=42", "protocol=honest")
    with pytest.raises(SystemExit, match=rf"^error: .*'train' of MSRVTT has {TRAIN} videos, published are 9,000; repr"):
        call(train, *one)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 10, 0))
    with pytest.raises(SystemExit, match=r"^error: .* 0\.0 GB are free, the checkpoints take .* output=<folder>"):
        call(train, *one, "reproduction.videos=any", "reproduction.warmup=0")
    assert not list(tmp_path.rglob(CONFIG))


def test_a_misspelt_choice_is_refused():
    config = OmegaConf.create({"reproduction": {"row": "tempme_msrvtt", "videos": "some"}})
    with pytest.raises(UserError, match=r"reproduction\.videos='some': choose one of published, any"):
        needs.prepare([config], Path())


@pytest.mark.slow
def test_a_row_is_reproduced_on_a_miniature_and_goes_on_where_it_stopped(root, tmp_path, capsys, monkeypatch):
    line = arguments(root, tmp_path, "reproduction.videos=any", "reproduction.warmup=1", "seed=42,43")
    call(train, *line)
    printed = capsys.readouterr().out
    assert "reproduces TempMe, ViT-B/32, MSR-VTT 1k-A (Shen et al., ICLR 2025)" in printed
    assert f"on train {TRAIN}, test {TEST} videos" in printed
    assert "hours for 4 jobs one after the other" in printed
    place = tmp_path / "sweeps" / "tempme_msrvtt"
    card = (place / "card.md").read_text()
    assert "4 of 4 runs have finished" in card
    assert "| published | - | 46.1 | 71.8 | 80.7 | 198.6 | - |" in card
    assert "| ours, chosen on test | 2 | " in card
    assert f"| ours, chosen on 1 of {TRAIN} training videos, held out with seed 0 | 2 | " in card
    usage = json.loads((place / "protocol-published__seed-42" / "usage.json").read_text())
    assert usage["training_seconds"] > 0
    assert usage["training_peak_bytes"] > 1e7

    shutil.rmtree(place / "protocol-honest__seed-43")
    monkeypatch.setattr(needs, "_measured", lambda *_: pytest.fail("timed again"))
    call(train, *line)
    printed = capsys.readouterr().out
    assert printed.count("skipped, finished before") == 3
    assert "hours for 1 jobs" in printed
    assert "4 of 4 runs have finished" in (place / "card.md").read_text()
