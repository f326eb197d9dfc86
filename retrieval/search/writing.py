"""Replies, and groups of duplicates, as a table for the screen, as JSON and as CSV."""

import csv
import io
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rich.table import Table
from rich.text import Text

from retrieval.jobs.cells import UNSEEN, csv_cell
from retrieval.search.answers import Answer
from retrieval.search.duplicates import Group
from retrieval.search.questions import Reply


def clock(seconds: float) -> str:
    """A place in a video: `0:12.5`, `1:02:03`."""
    minutes, rest = divmod(round(seconds, 1), 60)
    hours, minutes = divmod(int(minutes), 60)
    second = f"{rest:04.1f}".removesuffix(".0")
    return f"{hours}:{minutes:02}:{second}" if hours else f"{minutes}:{second}"


def shown(text: str) -> str:
    """A name or a query of others as one line that any file can hold and no terminal obeys."""
    return UNSEEN.sub(" ", text).encode("utf-8", "backslashreplace").decode().strip()


def facts(answer: Answer) -> dict[str, Any]:
    """An answer by the names that JSON and CSV have."""
    time = datetime.fromtimestamp(answer.modified).isoformat(timespec="seconds")
    return {
        "score": round(answer.score, 6),
        "path": shown(answer.path),
        "start": answer.start,
        "end": answer.end,
        "modified": time,
    }


def tables(replies: Sequence[Reply]) -> list[Table | str]:
    """A table for each question, with its notes below."""
    parts: list[Table | str] = []
    for reply in replies:
        table = Table("score", "file", "from", "to", title=Text(shown(reply.question)), title_justify="left")
        for answer in reply.answers:
            times = (clock(answer.start), clock(answer.end))
            table.add_row(f"{answer.score:.3f}", Text(shown(answer.path), overflow="fold"), *times)
        parts += [table if reply.answers else f"{shown(reply.question)}: no answer", *reply.notes]
    return parts


def group_tables(groups: Sequence[Group]) -> list[Table | str]:
    """All groups in one table, a line between two."""
    table = Table("group", "similarity", "file", "from", "to")
    for number, group in enumerate(groups, 1):
        for place in group.places:
            name = Text(shown(place.path), overflow="fold")
            table.add_row(str(number), f"{group.similarity:.3f}", name, clock(place.start), clock(place.end))
        table.add_section()
    return [table] if groups else ["No moments are so near to each other across files."]


def as_json(replies: Sequence[Reply]) -> str:
    """A list with an object a question."""
    return _json(
        {"query": shown(each.question), "answers": [*map(facts, each.answers)], "notes": each.notes} for each in replies
    )


def as_csv(replies: Sequence[Reply]) -> str:
    """A row an answer, the query in the first column."""
    names = ["query", "score", "path", "start", "end", "modified"]
    return _csv(
        names, [{"query": shown(reply.question)} | facts(answer) for reply in replies for answer in reply.answers]
    )


def groups_as_json(groups: Sequence[Group]) -> str:
    """A list with an object a group."""
    return _json({"similarity": round(group.similarity, 6), "places": _places(group)} for group in groups)


def groups_as_csv(groups: Sequence[Group]) -> str:
    """A row a place, the group's number in the first column."""
    rows = [
        {"group": number, "similarity": round(group.similarity, 6)} | place
        for number, group in enumerate(groups, 1)
        for place in _places(group)
    ]
    return _csv(["group", "similarity", "path", "start", "end"], rows)


def _places(group: Group) -> list[dict[str, Any]]:
    return [{"path": shown(place.path), "start": place.start, "end": place.end} for place in group.places]


def _json(items: Any) -> str:
    return json.dumps(list(items), indent=2, ensure_ascii=False) + "\n"


def _csv(names: Sequence[str], rows: Sequence[dict[str, Any]]) -> str:
    file = io.StringIO()
    table = csv.DictWriter(file, names, lineterminator="\n")
    table.writeheader()
    table.writerows({name: csv_cell(value) for name, value in row.items()} for row in rows)
    return file.getvalue()
