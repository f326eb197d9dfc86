"""Reading annotations: a table is read whole or refused with its row, so that nothing of it is lost in silence."""

import csv
import io
import json
import reprlib
from pathlib import Path
from typing import Any

from retrieval.errors import UserError

Row = dict[str, Any]
LONGEST = 131_072
"""Letters that a cell has at most, as Python's csv has it."""


def read_text(path: Path) -> str:
    """A file's text without its byte-order mark, with line breaks as \\n.

    Raises:
        UserError: it cannot be read, is not UTF-8, or holds NUL, which no text has.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UserError(f"{path} is no UTF-8 text, from line {line} on ({error.reason}): save it as UTF-8") from error
    if "\0" in text:
        raise UserError(f"{path}, line {text[: text.index(chr(0))].count(chr(10)) + 1} holds NUL, which no text has")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_csv(path: Path) -> list[tuple[str, Row]]:
    """The rows of a CSV file by its header, each with its place for messages.

    A cell lies in one line: where a quote is not closed, the rows that follow would become part of the cell.

    Raises:
        UserError: no header, two columns of one name, a row of more or fewer cells, or quotes that do not fit.
    """
    lines = csv.reader(io.StringIO(read_text(path)), strict=True)
    rows: list[tuple[str, Row]] = []
    header: list[str] = []
    begin = 1
    try:
        for cells in lines:
            where, begin = f"{path}, row {len(rows) + bool(header)} (line {begin})", lines.line_num + 1
            if not cells:
                continue
            if any("\n" in cell for cell in cells):
                raise UserError(f"{where}: a cell goes on in the next line; is a quote not closed?")
            if not header:
                header = _header(cells, path)
                continue
            if len(cells) != len(header):
                found = f"{len(cells)} cells, not {len(header)}"
                raise UserError(f"{where} has {found}: put captions with commas in quotes")
            rows.append((where, dict(zip(header, cells, strict=True))))
    except csv.Error as error:
        cause = f"a cell has over {LONGEST:,} letters" if "field limit" in str(error) else str(error)
        where = f"{path}, row {len(rows) + bool(header)} (line {begin})"
        raise UserError(f"{where} is no CSV: {cause}; is a quote not closed?") from error
    return rows


def read_json_lines(path: Path) -> list[tuple[str, Row]]:
    """The objects of a JSON Lines file, each with its place for messages.

    Raises:
        UserError: a line that is no JSON object.
    """
    rows: list[tuple[str, Row]] = []
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if line.strip():
            where = f"{path}, row {len(rows) + 1} (line {number})"
            row = _parsed(line, where)
            if not isinstance(row, dict):
                raise UserError(f"{where} is no JSON object: {line.strip()[:80]}")
            rows.append((where, row))
    return rows


def read_json(path: Path) -> Any:
    """A file's JSON.

    Raises:
        UserError: it is not JSON, or an object has two values of one name.
    """
    return _parsed(read_text(path), str(path))


def check_text(value: Any, what: str) -> str:
    """A text that is some, as it was written.

    Args:
        value: what should be one.
        what: where it stands, for the message.

    Raises:
        UserError: another type, nothing but blanks, or half a character.
    """
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{what} is {reprlib.repr(value)}, not a text")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{what} is {reprlib.repr(ascii(value))}, which has half a character in it") from error
    return value


def check_sentences(values: Any, what: str) -> str:
    """A list of texts as one, with one space between any two words; a text alone would be taken letter by letter.

    Raises:
        UserError: anything but a list of texts, or nothing in them.
    """
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise UserError(f"{what} is {reprlib.repr(values)}, not a list of texts")
    return check_text(" ".join(" ".join(values).split()), what)


def _header(cells: list[str], path: Path) -> list[str]:
    names = [cell.strip() for cell in cells]
    twice = [name for name in names if name and names.count(name) > 1]
    if twice:
        raise UserError(f"{path}: two columns are called {twice[0]!r}; keep one")
    return names


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where} is no JSON: {error}") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, if each of its names is there once: of two values the first would be lost."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r:.80} stands there twice")
    return found
