"""What a job ran with beside its config: versions of what computes, the revision of this package, the hardware."""

import os
import platform
import subprocess
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from retrieval.jobs.keys import PACKAGE

PACKAGES = {
    "retrieval": "retrieval",
    "torch": "torch",
    "lightning": "lightning",
    "open_clip": "open_clip_torch",
    "decord": "decord2",
    "pyav": "av",
}
"""What moves numbers, and what it is called where packages come from."""
CODE = ("retrieval", "conf")
"""The folders of a checkout whose changes count."""
PATIENCE = 10
"""Seconds that git may take; on a slow network disk a job goes on without it."""


def versions() -> dict[str, str]:
    """Of Python and of the packages that compute and decode; those that are not installed are left out."""
    found = {"python": platform.python_version()}
    for name, package in PACKAGES.items():
        try:
            found[name] = version(package)
        except PackageNotFoundError:  # a checkout that is only on the path, a decoder that nobody needs
            continue
    return found


@cache
def revision(package: Path = PACKAGE) -> tuple[str | None, bool | None]:
    """The commit of the checkout that this package runs from, and whether its code or configs are changed against it.

    Both are None for an installed package, also where its folder lies inside somebody's repository, and without git.
    Asked once a process: what is changed later is not what runs.

    Args:
        package: the folder of the package.
    """
    checkout = package.parent
    if not (checkout / ".git").exists():  # a file in worktrees and submodules
        return None, None
    commit = _git(checkout, ["rev-parse", "HEAD"])
    changed = _git(checkout, ["status", "--porcelain", "--", *CODE])
    return commit, None if changed is None else bool(changed)


def hardware(device: torch.device, count: int = 1) -> str:
    """`4 x NVIDIA H100`: how many devices of which kind.

    Args:
        device: one of them.
        count: how many there are.
    """
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return f"{count} x {name}"


def _git(checkout: Path, arguments: Sequence[str]) -> str | None:
    """What git prints; None where it is not there, refuses, or takes too long."""
    command = ["git", "--no-optional-locks", "-C", str(checkout), *arguments]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}  # set inside git's hooks
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE, env=clean)
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout.strip()


def _processor() -> str:
    """The processor's own name where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(filter(None, names), None) or platform.processor() or platform.machine() or "CPU"
