"""What a job tells, on the screen and in its log alike: facts line by line, and tables."""

import io
import logging
import sys
from collections.abc import Mapping

from rich.console import Console, RenderableType

_log = logging.getLogger(__name__)
WIDE = 400
"""Columns of an output that is no terminal: nothing is cut there."""


def announce(facts: Mapping[str, str]) -> None:
    """Tell facts as one block, a line each: `name: value`, the values below each other."""
    width = max((len(name) for name in facts), default=0) + 1
    for name, value in facts.items():
        _log.info("%s %s", f"{name}:".ljust(width), value)


def tell(*renderables: RenderableType) -> None:
    """Tell lines and rich tables, as wide as the terminal, or as they need where there is none."""
    width = None if sys.stdout.isatty() else WIDE
    console = Console(file=io.StringIO(), width=width, markup=False, highlight=False)
    console.print(*renderables, sep="\n", soft_wrap=all(isinstance(each, str) for each in renderables))
    assert isinstance(console.file, io.StringIO)
    _log.info("%s", "\n".join(line.rstrip() for line in console.file.getvalue().rstrip().splitlines()))
