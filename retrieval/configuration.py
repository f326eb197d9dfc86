"""What can be configured, read off the files of `conf/`: groups, options, knobs, and the comments that explain them.

A knob's meaning is the comment beside it or right above it, or else the one that it has in a file that its own starts
from; an option's is the comment on top of its file and the one beside its `_target_`, a group's the one beside it in a
list of defaults.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path

import yaml

from retrieval.jobs import CONF

GLOBAL = "_global_"


@dataclass(frozen=True)
class Knob:
    """A value that can be set: its dotted name, its default as the file has it, and what it means."""

    name: str
    default: str
    meaning: str


@dataclass(frozen=True)
class Option:
    """A file of `conf/`: an option of a group, or a job.

    Attributes:
        path: relative to `conf/`.
        package: where its knobs stand in a job's config, `_global_` where it overrides all of it.
        meaning: the comment on top of the file and the one beside its `_target_`.
        target: what is built from it, if anything.
        is_recipe: whether it only sets what other files define, anywhere in a job's config.
        defaults: what it starts from, with the comment beside each: `run`, `reducer=tempme`, …
        knobs: all values outside of Hydra's own settings.
    """

    path: Path
    package: str
    meaning: str
    target: str | None
    is_recipe: bool
    defaults: dict[str, str]
    knobs: tuple[Knob, ...]

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def group(self) -> str:
        """The choice that this is an option of, as on the command line; empty for a job."""
        return self.path.parent.as_posix().removeprefix(".")


def read_options(conf: Path = CONF) -> list[Option]:
    """All jobs and options, sorted by path.

    Raises:
        ValueError: a file that is no yaml mapping.
    """
    options = {path: _read_option(path, path.relative_to(conf)) for path in sorted(conf.rglob("*.yaml"))}
    return [_with_inherited_meanings(option, options, conf) for option in options.values()]


def _with_inherited_meanings(option: Option, options: dict[Path, Option], conf: Path) -> Option:
    """A knob that is only set anew means what it means in the files of the same folder that the option starts from."""
    bases = (options.get(conf / option.path.parent / f"{name}.yaml") for name in option.defaults)
    meanings = {knob.name: knob.meaning for base in bases if base for knob in base.knobs}
    knobs = (replace(knob, meaning=knob.meaning or meanings.get(knob.name, "")) for knob in option.knobs)
    return replace(option, knobs=tuple(knobs))


def _read_option(path: Path, relative: Path) -> Option:
    text = path.read_text(encoding="utf-8")
    root = yaml.compose(text)
    if not isinstance(root, yaml.MappingNode):
        raise ValueError(f"{path}: no knobs; write them as `name: value`")
    comments = _Comments(text)
    lines = {key.value: key.start_mark.line for key, _ in root.value}
    values = {key.value: value for key, value in root.value}
    group = ".".join(relative.parts[:-1]) or GLOBAL
    directive = re.search(r"^# @package (\S+)", text, re.MULTILINE)
    package = directive[1] if directive else group
    words = {token.value for token in yaml.scan(text) if isinstance(token, yaml.ScalarToken)}
    meanings = (comments.on_top, comments.of(lines["_target_"]) if "_target_" in lines else "")
    return Option(
        path=relative,
        package=package,
        meaning=" ".join(filter(None, meanings)),
        target=values["_target_"].value if "_target_" in values else None,
        is_recipe=group != package == GLOBAL and "_target_" not in words,
        defaults=dict(_defaults(values["defaults"], comments)) if "defaults" in values else {},
        knobs=tuple(_knobs(root, () if package == GLOBAL else (package,), text, comments)),
    )


def _defaults(node: yaml.Node, comments: "_Comments") -> Iterator[tuple[str, str]]:
    """`- reducer: tempme` as `reducer=tempme`, `- run` as `run`."""
    for item in node.value:
        text = item.value if isinstance(item, yaml.ScalarNode) else "=".join(part.value for part in item.value[0])
        if text != "_self_":
            yield text, comments.of(item.start_mark.line)


def _knobs(node: yaml.MappingNode, above: tuple[str, ...], text: str, comments: "_Comments") -> Iterator[Knob]:
    for key, value in node.value:
        if key.value.startswith("_") or key.value == "defaults" or (key.value == "hydra" and not above):
            continue
        name = (*above, key.value)
        if isinstance(value, yaml.MappingNode) and not value.flow_style:
            yield from _knobs(value, name, text, comments)
        else:
            yield Knob(".".join(name), _source(value, text), comments.of(key.start_mark.line))


def _source(node: yaml.Node, text: str) -> str:
    """A value as its file has it; a list of several lines as one line."""
    if isinstance(node, yaml.SequenceNode) and not node.flow_style:
        content = yaml.safe_load(yaml.serialize(node))
        return yaml.safe_dump(content, default_flow_style=True, sort_keys=False, width=float("inf")).strip()
    return text[node.start_mark.index : node.end_mark.index] or "null"


class _Comments:
    """The comments of a yaml text, by line: those beside a value, and those that have the line to themselves."""

    def __init__(self, text: str) -> None:
        lines = text.splitlines()
        ends: dict[int, int] = {}  # a `#` within a value starts no comment
        for token in yaml.scan(text):
            mark = token.end_mark
            ends[mark.line] = max(ends.get(mark.line, 0), mark.column)
        self._beside = {line: _words(lines[line][end:]) for line, end in ends.items() if line < len(lines)}
        self._alone = {line: _words(words) for line, words in enumerate(lines) if words.lstrip().startswith("#")}
        self._header = [*takewhile(self._alone.__contains__, range(len(lines)))]

    @property
    def on_top(self) -> str:
        """The lines on top of the file, without Hydra's directives."""
        return " ".join(self._alone[line] for line in self._header if not self._alone[line].startswith("@"))

    def of(self, line: int) -> str:
        """The comment beside what stands in a line, or else the one right above it."""
        above = takewhile(lambda number: number in self._alone.keys() - self._header, range(line - 1, -1, -1))
        return self._beside.get(line) or " ".join(self._alone[number] for number in reversed([*above]))


def _words(comment: str) -> str:
    return comment.strip().lstrip("#").strip()
