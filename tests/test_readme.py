"""What the READMEs show runs: Python as it stands, commands as far as composing their config, links and pictures."""

import json
import re
import runpy
import shlex
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser

from retrieval import load_model
from retrieval.data.corpora import MovingShapes
from retrieval.efficiency.cost import cost
from retrieval.jobs import CONF
from retrieval.pictures import draw_tokens

ROOT = Path(__file__).parents[1]
OUR_OWN = ("conf", "notebooks", "retrieval", "tests")
PAGES = sorted([*ROOT.glob("*.md"), *(page for part in OUR_OWN for page in (ROOT / part).rglob("*.md"))])
FIRST = ROOT / "README.md"
README = FIRST.read_text()


def blocks(language: str, pages: list[Path] = PAGES) -> list[str]:
    return [block for page in pages for block in re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)]


def commands(pages: list[Path] = PAGES) -> list[tuple[str, list[str]]]:
    """Each command that is shown, by its name and its arguments."""
    lines = "\n".join(blocks("bash", pages) + blocks("", pages)).splitlines()
    starts = sorted({line for line in lines if line.startswith("python -m retrieval.")})
    return [(words[2].removeprefix("retrieval."), words[3:]) for words in map(shlex.split, starts)]


@pytest.fixture
def outside(tmp_path) -> Path:
    """A user's folder with `my_parts.py` and `conf/`, written from README's own words."""
    (tmp_path / "my_parts.py").write_text("\n".join(code for code in blocks("python", [FIRST]) if "class " in code))
    fenced = re.findall(r"`(conf/\S+\.yaml)`:\n\n```yaml\n(.*?)```", README, re.DOTALL)
    inline = re.findall(r"`(_target_: \S+)` in\s+`(conf/\S+\.yaml)`", README)
    files = dict(fenced) | {name: text for text, name in inline}
    assert sorted(name.split("/")[1] for name in files) == ["data", "head", "loss", "reducer"]
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_python_runs():
    for code in blocks("python"):
        exec(code, {"__name__": "readme"})


def test_parts_from_outside_work_with_the_model(outside, monkeypatch):
    monkeypatch.syspath_prepend(outside)
    import my_parts

    model = load_model("ViT-tiny-8", my_parts.KeepHalf(), head=my_parts.BestClip())
    assert cost(model, frames=2, words=8)["output_tokens"] == 2 * (1 + 13)
    videos = torch.randint(0, 256, (3, 2, 3, 40, 40), dtype=torch.uint8)
    kept = model.encode_video(videos)
    text = model.encode_text(model.tokenizer()(["a", "b", "c"]))
    assert kept.shape[:2] == (3, 2)
    loss = my_parts.TextToVideo()(model.head.similarity, text, kept, model.logit_scale.exp())
    assert loss.isfinite()
    assert draw_tokens(model, videos[0], blocks=[5, 6]).axes


def test_commands_compose(outside):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for name, arguments in commands():
            if (CONF / f"{name}.yaml").is_file():
                compose(name, [*searched(arguments, outside), *overrides(arguments)])


def searched(arguments: list[str], outside: Path) -> list[str]:
    return [f"hydra.searchpath=[file://{outside / 'conf'}]"] if "--config-dir" in arguments else []


def overrides(arguments: list[str]) -> list[str]:
    """What is not a flag; of a sweep its first job."""
    parsed = OverridesParser.create().parse_overrides([word for word in arguments if "=" in word])
    return [
        f"{o.key_or_group}={next(o.sweep_string_iterator())}" if o.is_sweep_override() else str(o.input_line)
        for o in parsed
    ]


def test_other_commands_know_their_arguments(monkeypatch):
    class UnderstoodError(Exception):
        pass

    understand = ArgumentParser.parse_args
    others = [command for command in commands() if not (CONF / f"{command[0]}.yaml").is_file()]
    assert {name for name, _ in others} == {"benchmark", "dashboard", "report"}
    for name, arguments in others:

        def parse(parser: ArgumentParser, arguments: list[str] = arguments) -> None:
            understand(parser, arguments)
            raise UnderstoodError

        monkeypatch.setattr(ArgumentParser, "parse_args", parse)
        with pytest.raises(UnderstoodError):
            runpy.run_module(f"retrieval.{name}", run_name="__main__")


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"\bmake ([a-z][a-z-]+)`?", "\n".join(blocks("bash")))
    assert targets
    assert all(f"\n{target}:" in makefile for target in targets)


def links(page: Path) -> Iterator[tuple[Path, str]]:
    """The files that a page links or shows, and the heading within, if any."""
    prose = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if not urlsplit(target).scheme:
            path, _, heading = target.partition("#")
            yield (page.parent / path if path else page), heading


@cache
def headings(page: Path) -> set[str]:
    """The names of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for path, heading in links(page):
        assert path.exists(), path
        assert not heading or heading in headings(path), f"{path}#{heading}"


def test_every_option_of_a_choice_is_listed():
    rows = re.findall(r"^\| \[?`([a-z/]+)`\S* \| (.*) \|$", README.split("## Choices")[1], re.MULTILINE)
    listed = {group: set(re.findall(r"`(\w+)`", options)) for group, options in rows}
    for group in (
        "reducer",
        "head",
        "loss",
        "backbone",
        "tuning",
        "data/decoder",
        "experiment",
        "protocol",
        "logger",
        "trainer",
    ):
        options = {file.stem for file in (CONF / group).glob("*.yaml")}
        assert options == listed[group], group


def test_every_reducer_is_in_the_table_of_costs_the_profile_and_the_notebook():
    options = {file.stem for file in (CONF / "reducer").glob("*.yaml")}
    table = README.split("| reducer | tokens left |")[1].split("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == options
    one_chain = options - {"kmedoids_tempme"}
    assert set(yaml.safe_load((CONF / "profile.yaml").read_text())["profile"]["reducers"]) == one_chain
    notebook = json.loads((ROOT / "notebooks" / "reducers.ipynb").read_text())
    (names,) = (cell["source"] for cell in notebook["cells"] if "NAMES = [\n" in cell["source"])
    assert {name.strip(' ",\n') for name in names if name.startswith('    "')} == one_chain


def test_the_version_is_one():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = (ROOT / "pyproject.toml").read_text()
    (newest, *_) = re.findall(r"^## \[([\d.]+)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert f'version = "{newest}"' in project
    assert citation["version"] == newest


QUICK = ["data.batch_size=8", "data.num_workers=0", "trainer.max_epochs=1"]
ONE_ROUND = ["backbone=tiny", "profile.batch_sizes=[1]", "profile.rounds=2", "profile.warmup=0", "profile.memory=false"]
ONE_AFTER_THE_OTHER = """
import runpy, shlex, sys
for line in sys.argv[1:]:
    name, *sys.argv[1:] = shlex.split(line)
    runpy.run_module(f"retrieval.{name}", run_name="__main__")
"""
"""Runs commands in one process, so that what they import is loaded once."""


@pytest.mark.slow
def test_parts_from_outside_train_evaluate_draw_and_profile(outside):
    """README's commands in the user's own folder, made quick: one training with all parts, and what is done with its
    checkpoint in a process that knows of them by the user's conf alone, given in both ways.
    """
    write_videos(outside / "videos")
    own = [command for command in commands([FIRST]) if "--config-dir" in command[1]]
    (others,) = (arguments for _, arguments in own if "data=named_files" in arguments)
    shown = {name: arguments for name, arguments in own if arguments is not others}
    as_search = [f"hydra.searchpath=[file://{outside / 'conf'}]", *shown["evaluate"][2:]]
    assert shown["evaluate"][:2] == ["--config-dir", "conf"]

    everything = [*shown["train"], *others[2:]]
    start(outside, made("train", everything, *QUICK, f"data.root={outside / 'videos'}"))
    (checkpoint,) = outside.glob("runs/*keep_half*/*/checkpoints/best.ckpt")
    (video, *_) = outside.glob("videos/test/*.mp4")
    start(
        outside,
        made("evaluate", as_search, "data.num_workers=0", f"ckpt_path={checkpoint}"),
        made("draw", shown["draw"], f"video={video}", f"ckpt_path={checkpoint}", "picture=tokens.png"),
        made("profile", shown["profile"], *ONE_ROUND),
    )
    (metrics,) = outside.glob("runs/evaluate*keep_half*best_clip*/*/metrics.json")
    found = json.loads(metrics.read_text())
    assert (found["data"], found["protocol"]["videos"]) == ("named_files", 4)
    assert (outside / "tokens.png").is_file()
    assert [*outside.glob("runs/*profile*/*/profile.json")]


def write_videos(folder: Path) -> None:
    """A few videos that are called by their captions, a folder a split."""
    shapes = MovingShapes(
        folder / "shapes", seed=0, train=8, val=4, test=4, size=64, fps=12, seconds=1.0, twin_share=0.0, captions=1
    )
    shapes.prepare()
    for split in shapes.splits:
        (folder / split).mkdir()
        for record in shapes.records(split):
            record.path.rename(folder / split / f"{record.captions[0].replace(' ', '_')}.mp4")


def made(name: str, arguments: list[str], *more: str) -> str:
    """A command as shown; what `more` sets anew takes the place of what is shown."""
    keys = {knob.partition("=")[0] for knob in more}
    return shlex.join([name, *(word for word in arguments if word.partition("=")[0] not in keys), *more])


def start(folder: Path, *lines: str) -> None:
    """Run commands in a process of their own."""
    command = [sys.executable, "-c", ONE_AFTER_THE_OTHER, *lines]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, f"{lines}: {done.stdout}{done.stderr}"
