"""A server that speaks W&B's protocol, and tiny runs on it: two online, and one offline that is then synced."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.jobs.commands import ROOT, SMALL

KEY = "local" + 40 * "0"  # the server's own for a start
ENTITY, PROJECT = "default", "retrieval"
BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Server:
    """The server's address, and the environment that leads W&B there and nowhere else."""

    url: str
    env: dict[str, str]

    def get(self, path: str) -> Any:
        return requests.get(f"{self.url}/{path}", auth=("api", KEY), timeout=30).json()

    def runs(self) -> list[dict[str, Any]]:
        return self.get(f"api/v2/projects/{ENTITY}/{PROJECT}/runs")["runs"]

    def file(self, run_id: str, name: str) -> bytes:
        path = f"{self.url}/files/{ENTITY}/{PROJECT}/{run_id}/{name}"
        return requests.get(path, auth=("api", KEY), timeout=30).content


@pytest.fixture(scope="session")
def server(tmp_path_factory) -> Iterator[Server]:
    pytest.importorskip("openwandb")
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    env = own | {
        "HOME": str(folder),
        "WANDB_DIR": str(folder),
        "WANDB_ERROR_REPORTING": "false",
        "OMP_NUM_THREADS": "1",
    }
    line = [BIN / "openwandb", "serve", "--host", "127.0.0.1", "-p", str(port), "--data-dir", folder]
    with subprocess.Popen(line, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        url = f"http://127.0.0.1:{port}"
        yield Server(wait_for(url, process), env | {"WANDB_BASE_URL": url, "WANDB_API_KEY": KEY})
        process.terminate()


def wait_for(url: str, process: subprocess.Popen[bytes]) -> str:
    """The address, once it answers."""
    for _ in range(600):
        assert process.poll() is None, "the server ended"
        try:
            requests.get(f"{url}/login", timeout=5)
        except requests.ConnectionError:
            time.sleep(0.1)
        else:
            return url
    raise TimeoutError(f"{url} did not answer within a minute")


@dataclass(frozen=True)
class Trained:
    """A finished run: its folder, and its W&B id."""

    folder: Path

    @property
    def run_id(self) -> str:
        return (self.folder / "wandb_run_id").read_text()


def train(server: Server, place: Path, name: str, *overrides: str, **env: str) -> Trained:
    knobs = [f"output={place}", f"name={name}", f"data.root={place}", "logger=wandb", *SMALL, *overrides]
    execute([sys.executable, "-m", "retrieval.train", *knobs], server.env | env)
    return Trained(max((place / name).iterdir()))


def execute(line: list[str], env: dict[str, str]) -> None:
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def runs_place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("wandb_runs")


@pytest.fixture(scope="session")
def online(server, runs_place) -> Trained:
    return train(server, runs_place, "online", "trainer.max_epochs=2")


@pytest.fixture(scope="session")
def synced(server, runs_place) -> Trained:
    """The very run as `online`, without the server; brought there by `wandb sync` afterwards."""
    run = train(server, runs_place, "synced", "trainer.max_epochs=2", WANDB_MODE="offline")
    assert run.run_id not in {known["run_id"] for known in server.runs()}
    offline = next(run.folder.glob("wandb/offline-run-*"))
    execute([str(BIN / "wandb"), "sync", str(offline)], server.env)
    return run


@pytest.fixture(scope="session")
def resumed(server, runs_place) -> Trained:
    """A run of one epoch that was told to go on to two."""
    first = train(server, runs_place, "resumed", "trainer.max_epochs=1", "reducer=kmedoids")
    second = train(server, runs_place, "resumed", "trainer.max_epochs=2", "reducer=kmedoids", "ckpt_path=last")
    assert second == first
    return second
