"""The table and the pictures of `+sweep=frontier` in README.md, from the report of a finished sweep.

`python -m tests.frontier runs/sweeps/frontier` copies the pictures to notebooks/figures and writes the table anew.
"""

import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "README.md"
BEGIN = "<!-- frontier: written by `python -m tests.frontier runs/sweeps/frontier` -->\n"
END = "<!-- end of the frontier -->\n"
PICTURES = {
    "frontier": "Trained with each reducer at three budgets",
    "off_the_shelf": "Reducers switched on in the end",
}


def shown(text: str) -> str:
    """What the page has between the marks."""
    found = re.search(re.escape(BEGIN) + "(.*)" + re.escape(END), text, re.DOTALL)
    assert found, f"{PAGE} has no place for the frontier"
    return found[1]


def inserted(page: str, table: str) -> str:
    """The page with the table and the pictures in the place of those that it has."""
    figures = "\n\n".join(f"![{title}](notebooks/figures/{name}.png)" for name, title in PICTURES.items())
    before, after = page.split(BEGIN + shown(page) + END)
    return f"{before}{BEGIN}\n{table.strip()}\n\n{figures}\n\n{END}{after}"


def main() -> None:
    sweep = Path(sys.argv[1])
    for name in PICTURES:
        shutil.copy(sweep / "figures" / f"{name}.png", ROOT / "notebooks" / "figures")
    PAGE.write_text(inserted(PAGE.read_text(), (sweep / "frontier.md").read_text()))


if __name__ == "__main__":
    main()
