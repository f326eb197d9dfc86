"""The work of `retrieval.search`, from a composed config to answers on the screen and in files."""

import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich.progress import track

from retrieval.errors import UserError
from retrieval.files import write_whole
from retrieval.jobs.announcing import tell
from retrieval.jobs.files import refusals
from retrieval.search import writing
from retrieval.search.answers_page import as_html
from retrieval.search.duplicates import duplicates
from retrieval.search.export import export
from retrieval.search.index import Index
from retrieval.search.moments import Filters
from retrieval.search.questions import Question, Reply, chance_level, read_questions, reply

NUMBERS = ("like_start", "like_end", "min_score", "duplicates")
Texts = Mapping[str, Callable[[Any], Any]]
"""Each form that what was found can be written in."""
ASKING = ("query", "queries", "like")
FORMATS = ("table", "json", "csv")
SAVED = {".html": "html", ".json": "json", ".csv": "csv"}


def run_search(config: DictConfig) -> None:
    """From the job's config to its answers."""
    kind = _check(config)
    numbers = {knob: _number(config, knob) for knob in NUMBERS}
    questions = asked(config, numbers["like_start"], numbers["like_end"])
    filters = filters_of(config.path, config.after, config.before, numbers["min_score"])
    index = Index.open(config.index)
    if numbers["duplicates"] is not None:
        groups = duplicates(index, numbers["duplicates"])
        texts: Texts = {"table": writing.group_tables, "json": writing.groups_as_json, "csv": writing.groups_as_csv}
        _write(config, kind, texts, groups)
        return
    replies = _replies(index, questions, config.top, filters)
    page = partial(as_html, thumbnails=index.thumbnails)
    texts = {"table": writing.tables, "json": writing.as_json, "csv": writing.as_csv, "html": page}
    _write(config, kind, texts, replies)
    if config.export is not None:
        answers = [answer for each in replies for answer in each.answers]
        _say(config.format, *map(str, export(answers, Path(config.export))))


def asked(config: DictConfig, start: float | None, end: float | None) -> list[Question]:
    """The questions that the config has; none where duplicates are wanted.

    Args:
        config: the job's.
        start, end: of the video that asks, in seconds.

    Raises:
        UserError: a file of queries without one.
    """
    if config.queries is not None:
        return read_questions(Path(config.queries))
    if config.duplicates is not None:
        return []
    if config.like is not None:
        return [Question("", Path(config.like), start, end)]
    return [Question(str(config.query))]


def filters_of(path: str | None, after: str | None, before: str | None, min_score: float | None) -> Filters:
    """Filters as a user writes them: dates in ISO's form, in local time where they name no zone.

    Raises:
        UserError: no date.
    """
    return Filters(path or None, _seconds("after", after), _seconds("before", before), min_score)


def _seconds(knob: str, date: str | None) -> float | None:
    if not date:
        return None
    try:
        return datetime.fromisoformat(str(date)).timestamp()
    except (ValueError, OverflowError, OSError) as error:
        raise UserError(f"{knob}={date}: no date such as 2026-01-31 or 2026-01-31T18:00") from error


def _number(config: DictConfig, knob: str) -> float | None:
    value = config[knob]
    if value is not None and type(value) not in (int, float):
        raise UserError(f"{knob}={value}: not a number")
    return None if value is None else float(value)


def _check(config: DictConfig) -> str | None:
    """See that the knobs fit each other, before anything is read; returns the kind of file to save.

    Raises:
        UserError: several questions or none, or a format that is not known.
    """
    given = [knob for knob in (*ASKING, "duplicates") if config[knob] is not None]
    if len(given) != 1:
        several = f"{' and '.join(given)} are several" if given else "nothing is asked"
        raise UserError(f"{several}: give one of query=, queries=, like= and duplicates=")
    if config.like is None and (config.like_start is not None or config.like_end is not None):
        raise UserError("like_start and like_end are seconds of a video: give like=<video>")
    if config.duplicates is not None and config.export is not None:
        raise UserError("export cuts answers out, and duplicates= has none: leave one of them out")
    if type(config.top) is not int:
        raise UserError(f"top={config.top}: not a whole number")
    if config.format not in FORMATS:
        raise UserError(f"format={config.format}: choose one of {', '.join(FORMATS)}")
    kind = None if config.save is None else SAVED.get(Path(config.save).suffix.lower())
    if config.save is not None and (kind is None or (kind == "html" and config.duplicates is not None)):
        known = ", ".join(ending for ending in SAVED if ending != ".html" or config.duplicates is None)
        raise UserError(f"save={config.save}: its ending names no known kind; choose one of {known}")
    return kind


def _replies(index: Index, questions: Sequence[Question], top: int, filters: Filters) -> list[Reply]:
    chance = chance_level(index) if any(question.text for question in questions) else None
    several = track(questions, description="Asking", transient=True, disable=len(questions) < 2)
    return [reply(index, question, top, filters, chance) for question in several]


def _write(config: DictConfig, kind: str | None, texts: Texts, found: Sequence[Any]) -> None:
    """Print what was found in the form that is wanted, and save it in its kind."""
    printed = texts[config.format](found)
    if config.format == "table":
        tell(*printed)
    else:
        print(printed, end="")
    if kind is not None:
        with refusals(Path(config.save), "save=<file> writes elsewhere"):
            Path(config.save).parent.mkdir(parents=True, exist_ok=True)
            write_whole(Path(config.save), texts[kind](found))
        _say(config.format, config.save)


def _say(format: str, *lines: str) -> None:
    """Beside a table on the screen; beside JSON and CSV where another program does not read it."""
    if format == "table":
        tell(*lines)
    else:
        print(*lines, sep="\n", file=sys.stderr)
