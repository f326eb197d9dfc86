"""The dashboard of a W&B project: what it shows are keys that runs log; what cannot be shown is told in one line."""

import json
import sys

import pytest

pytest.importorskip("wandb_workspaces")

from retrieval.dashboard import main
from retrieval.tracking.dashboard import build_workspace
from retrieval.tracking.panels import sections
from tests.tracking.conftest import ENTITY, PROJECT, Server
from tests.tracking.views import ViewServer

pytestmark = pytest.mark.slow


@pytest.fixture
def keyed(server, tmp_path, monkeypatch) -> Server:
    """The server that this process's W&B client talks to, with its key."""
    for name in ("WANDB_BASE_URL", "WANDB_API_KEY"):
        monkeypatch.setenv(name, server.env[name])
    monkeypatch.setenv("HOME", str(tmp_path))
    return server


@pytest.fixture
def views(keyed, monkeypatch) -> ViewServer:
    server = ViewServer(keyed.url)
    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    return server


def run(monkeypatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["dashboard", *arguments])
    main()


def refused(monkeypatch, *arguments: str) -> str:
    with pytest.raises(SystemExit) as stopped:
        run(monkeypatch, *arguments)
    return str(stopped.value.code)


def test_a_workspace_and_a_report_are_written(online, views, monkeypatch, capsys):
    run(monkeypatch, f"{ENTITY}/{PROJECT}")
    workspace, report = views.views
    assert [view["type"] for view in views.views] == ["project-view", "runs"]
    assert {view["projectName"] for view in views.views} == {PROJECT}
    panels = [panel["viewType"] for panel in workspace_panels(workspace["spec"])]
    assert {"Scatter Plot", "Parallel Coordinates Plot", "Run History Line Plot", "Media Browser"} <= set(panels)
    assert sum(block["type"] == "panel-grid" for block in json.loads(report["spec"])["blocks"]) == len(sections())
    assert len([line for line in capsys.readouterr().out.splitlines() if line.startswith(views.url)]) == 2


def workspace_panels(spec: str) -> list[dict]:
    bank = json.loads(spec)["section"]["panelBankConfig"]["sections"]
    return [panel for section in bank for panel in section["panels"]]


def test_what_the_panels_show_is_what_runs_log(online, keyed):
    run = keyed.get(f"api/v2/runs/{online.run_id}")["run"]
    history = keyed.get(f"api/v2/runs/{online.run_id}/metrics")["keys"]
    files = " ".join(file["name"] for file in keyed.get(f"api/v1/runs/{online.run_id}/files")["files"])
    for panel in (panel for panels in sections().values() for panel in panels):
        for key in getattr(panel, "y", None) if isinstance(getattr(panel, "y", None), list) else []:
            assert key in history
        for key in [*getattr(panel, "media_keys", []), getattr(panel, "table_name", "test/tokens")]:
            assert f"/{key}_" in files
        for metric in [column.metric for column in getattr(panel, "columns", [])]:
            group, _, knob = metric.name.partition(".")
            told = run["config"][group]["value"] if knob else run["summary"]
            assert (knob or metric.name) in told


def test_a_sweep_is_shown_alone():
    spec = build_workspace(ENTITY, PROJECT, "reducers")._to_model().spec.model_dump_json(by_alias=True)
    (runs,) = json.loads(spec)["section"]["runSets"]
    assert '"group"' in json.dumps(runs["filters"])
    assert '"reducers"' in json.dumps(runs["filters"])


def test_nothing_to_show_is_told_in_one_line(online, views, monkeypatch):
    assert refused(monkeypatch, f"{ENTITY}/{PROJECT}", "--sweep", "never") == (
        f"error: --sweep never: no run of {ENTITY}/{PROJECT} has this group"
    )
    assert "nowhere" in refused(monkeypatch, f"{ENTITY}/nowhere")
    assert refused(monkeypatch, PROJECT) == "2"


def test_a_server_without_workspaces_is_told_in_one_line(keyed, monkeypatch):
    assert "WANDB_BASE_URL must name W&B's own API" in refused(monkeypatch, f"{ENTITY}/{PROJECT}")


def test_without_a_key_the_way_out_is_told(keyed, monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.setenv("WANDB_BASE_URL", keyed.url.replace("127.0.0.1", "localhost"))  # W&B remembers a server's key
    assert "wandb login" in refused(monkeypatch, f"{ENTITY}/{PROJECT}")
