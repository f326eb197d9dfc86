"""`python -m tests.faults`: what no test can hold, every script of this folder in turn: kills, full disks …"""

import re
import subprocess
import sys
from pathlib import Path


def main() -> None:
    """Run them; exit code 1 where anything did not hold."""
    names = [path.stem for path in sorted(Path(__file__).parent.glob("*.py")) if not path.stem.startswith("_")]
    ends = {name: _run(name) for name in names}
    print("", *ends.values(), sep="\n")
    counts = [re.fullmatch(r"\w+: held (\d+) of (\d+)", end) for end in ends.values()]
    held, tried = (sum(int(count[part]) for count in counts if count) for part in (1, 2))
    print(f"faults: held {held} of {tried}")
    sys.exit(held < tried or not all(counts))


def _run(name: str) -> str:
    """A script's last line, or how it ended without one; all that it prints is passed on."""
    print(f"\n{name}", flush=True)
    last = ""
    with subprocess.Popen([sys.executable, "-m", f"tests.faults.{name}"], stdout=subprocess.PIPE, text=True) as script:
        for line in script.stdout or ():
            print(line, end="", flush=True)
            last = line.strip() or last
    return last if last.startswith(f"{name}: held ") else f"{name}: ended with exit code {script.returncode}"


if __name__ == "__main__":
    main()
