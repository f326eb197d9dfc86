"""Names, captions and errors of others as text in Markdown and CSV: shown as they are, and never as anything else."""

import re
from typing import Any

UNSEEN = re.compile(r"[\x00-\x20\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")
"""Line breaks, control characters, and marks that turn the direction of writing."""
MARKUP = re.compile(r"([\\`*\[\]|])")
FORMULA = re.compile("[=+\\-@\uff1d\uff0b\uff0d\uff20]")
"""Signs that begin a formula, also those as wide as Chinese letters."""
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|-")
"""What may begin like a formula: a number, and the dash that stands where there is nothing."""


def markdown_cell(value: Any) -> str:
    """A value as one line of Markdown: no HTML, link, picture, code or border of a table in it."""
    text = str(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return MARKUP.sub(r"\\\1", UNSEEN.sub(" ", text).strip())


def csv_cell(value: Any) -> Any:
    """A value for a CSV file; a text is one line, behind an apostrophe where a spreadsheet would compute it."""
    if not isinstance(value, str):
        return value
    text = UNSEEN.sub(" ", value).strip()
    return f"'{text}" if FORMULA.match(text) and not NUMBER.fullmatch(text) else text
