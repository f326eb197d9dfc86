"""Runs as a W&B server has them, online and offline-then-synced: config, history, summary, table, pictures, page."""

import io
import json
import re
import shutil
import subprocess

import pytest
import requests
from PIL import Image

from retrieval.data.corpora import MovingShapes
from tests.jobs.commands import SMALL
from tests.tracking.conftest import ENTITY, PROJECT, Server, Trained

pytestmark = pytest.mark.slow
CHANGES = ("train/videos_per_second", "train/waiting_for_videos")  # from run to run


def on_server(server: Server, run: Trained) -> dict:
    return server.get(f"api/v2/runs/{run.run_id}")["run"]


def config(server: Server, run: Trained) -> dict:
    values = on_server(server, run)["config"]
    return {key: value["value"] for key, value in values.items() if key != "_wandb"}


def settings(server: Server, run: Trained) -> str:
    """The config as text, without the time that is in folders and the commit, which may come while the tests run."""
    told = config(server, run)
    told["git_revision"] = told["logger"]["sweep_dir"] = None
    return json.dumps(told, sort_keys=True).replace(run.folder.name, "time")


def history(server: Server, run: Trained) -> dict[str, list[float]]:
    metrics = server.get(f"api/v2/runs/{run.run_id}/metrics")["metrics_by_key"]
    return {key: [row["value"] for row in rows] for key, rows in metrics.items()}


def summary(server: Server, run: Trained) -> dict:
    return on_server(server, run)["summary"]


def media(server: Server, run: Trained, folder: str) -> list[bytes]:
    names = [file["name"] for file in server.get(f"api/v1/runs/{run.run_id}/files")["files"]]
    return [server.file(run.run_id, name) for name in sorted(names) if name.startswith(f"media/{folder}")]


def table(server: Server, run: Trained) -> dict:
    (content,) = media(server, run, "table/test/examples")
    return json.loads(content)


def results(run: Trained) -> dict:
    return json.loads((run.folder / "metrics.json").read_text())


def test_the_config_tells_what_ran(server, online):
    run, told = on_server(server, online), config(server, online)
    assert (run["display_name"], run["state"]) == ("online", "finished")
    assert run["tags"] == ["moving_shapes", "tiny", "full"]
    reducer = told["reducer"]
    assert (reducer["name"], reducer["merge_ratio"], reducer["num_segments"]) == ("tempme", 0.3, None)
    assert re.fullmatch("[0-9a-f]{40}", told["git_revision"])
    assert told["seed"] == 0
    assert told["data"]["corpus"]["train"] == 16


def test_losses_rates_and_recalls_are_there_for_each_epoch(server, online):
    rows = history(server, online)
    for key in ("train/loss_epoch", "val/t2v/r_at_1", "val/v2t/r_at_10", "val/both/r_sum", "train/videos_per_second"):
        assert len(rows[key]) == 2, key
    assert any(key.startswith("lr-") for key in rows)
    assert all(value > 0 for value in rows["train/videos_per_second"])


def test_the_summary_is_what_metrics_json_says(server, online):
    told, expected = summary(server, online), results(online)
    costs = expected["cost"] | {"trained_parameters": expected["trained_parameters"]}
    assert {key: told[f"cost/{key}"] for key in costs} == costs
    metrics = {key: round(told[f"test/{key}"], 4) for key in expected["metrics"]}
    assert metrics == pytest.approx(expected["metrics"], abs=1e-3)


def test_the_table_shows_queries_from_well_to_badly_found(server, online, runs_place):
    examples = table(server, online)
    assert examples["columns"] == ["query", "rank", "video", *(f"top_{place}" for place in range(1, 6))]
    ranks = [row[1] for row in examples["data"]]
    assert len(ranks) == 16
    assert ranks == sorted(ranks)
    assert 1 <= ranks[0] <= ranks[-1] <= 8
    captions = {text for record in corpus(runs_place).records("test") for text in record.captions}
    assert {row[0] for row in examples["data"]} <= captions


def corpus(place) -> MovingShapes:
    knobs = {knob.split("=")[0].removeprefix("data.corpus."): int(knob.split("=")[1]) for knob in SMALL[1:4]}
    shapes = MovingShapes(root=place, seed=0, size=64, fps=12, seconds=2.0, twin_share=0.5, captions=3, **knobs)
    shapes.prepare()
    return shapes


def test_pictures_of_what_was_found_and_of_the_tokens(server, online):
    found, tokens = (media(server, online, f"images/test/{kind}") for kind in ("found", "tokens"))
    assert len(found) > 1
    assert {Image.open(io.BytesIO(picture)).size for picture in found} == {(6 * 112 + 8, 112)}
    assert len(tokens) == 2
    assert all(Image.open(io.BytesIO(picture)).width > 600 for picture in tokens)


def test_offline_then_synced_is_the_same_run(server, online, synced):
    assert table(server, synced) == table(server, online)
    assert media(server, synced, "images") == media(server, online, "images")
    ours, theirs = ({k: v for k, v in history(server, run).items() if k not in CHANGES} for run in (synced, online))
    assert ours == theirs
    ours, theirs = ({k: v for k, v in summary(server, run).items() if k not in CHANGES} for run in (synced, online))
    assert ours == theirs
    ours, theirs = (settings(server, run) for run in (synced, online))
    assert ours.replace("synced", "online").replace("offline", "online") == theirs
    assert on_server(server, synced)["tags"] == on_server(server, online)["tags"]


def test_a_resumed_run_goes_on_as_the_same_run(server, resumed):
    assert [run["display_name"] for run in server.runs()].count("resumed") == 1
    assert len(history(server, resumed)["train/loss_epoch"]) == 2
    assert config(server, resumed)["reducer"]["name"] == "kmedoids"


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium")
def test_the_project_page_shows_the_runs(server, online, synced, resumed, tmp_path):
    project = server.runs()[0]["project_id"]
    visible = requests.put(
        f"{server.url}/api/v2/projects/{project}/visibility",
        json={"visibility": "public"},
        auth=("api", server.env["WANDB_API_KEY"]),
        timeout=30,
    )
    assert visible.ok
    picture = tmp_path / "project.png"
    page = f"{server.url}/projects/{ENTITY}/{PROJECT}"
    browser = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}"]
    shot = [*browser, "--virtual-time-budget=5000", f"--screenshot={picture}", "--dump-dom", page]
    shown = subprocess.run(shot, capture_output=True, text=True, timeout=120).stdout
    assert all(name in shown for name in ("online", "synced", "resumed", online.run_id, synced.run_id))
    assert len(Image.open(picture).convert("RGB").getcolors(2**20)) > 50  # not an empty page
