"""The device that `make gpu` proves: CUDA where there is one; without, the same tests run on the CPU."""

from pathlib import Path

import pytest
import torch


def pytest_collection_modifyitems(items) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.gpu)


def pytest_terminal_summary(terminalreporter) -> None:
    if not torch.cuda.is_available():
        terminalreporter.write_line("tests/gpu: no CUDA device here, so these ran on the CPU: CUDA was not tested")


@pytest.fixture(scope="session")
def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture(params=[torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def dtype(request) -> torch.dtype:
    return request.param
