"""`python -m retrieval.document`: write conf/README.md, every choice and knob with its default and its meaning."""

from collections.abc import Iterable, Sequence
from itertools import groupby

from retrieval.configuration import Knob, Option, read_options
from retrieval.jobs import CONF

README = CONF / "README.md"
INTRODUCTION = """# Configuration

Each folder is a choice, each file in it an option: `python -m retrieval.train <choice>=<option> <knob>=<value>`.
Knobs are written here as on the command line; `???` has to be given, `${…}` is the value of another knob.
This page is written by `python -m retrieval.document` from the files and the comments in them.
"""


def page(options: Iterable[Option]) -> str:
    """All of conf/README.md: contents, the jobs, then a section a group."""
    ordered = sorted(options, key=lambda option: (option.group, option.name))
    groups = {group: [*members] for group, members in groupby(ordered, key=lambda option: option.group)}
    meanings = _group_meanings(ordered)
    jobs = ["## Jobs", *(_option(job) for job in groups.pop("", []))]
    contents = [
        f"- [`{group}`](#{group.replace('/', '')}) {' | '.join(f'`{option.name}`' for option in members)}"
        for group, members in groups.items()
    ]
    sections = [_group(group, meanings.get(group, ""), members) for group, members in groups.items()]
    return "\n\n".join([INTRODUCTION.strip(), "\n".join(["- [jobs](#jobs)", *contents]), *jobs, *sections]) + "\n"


def _group_meanings(options: Iterable[Option]) -> dict[str, str]:
    """What is said of a group where a list of defaults names it."""
    return {
        "/".join(filter(None, (option.group, choice.partition("=")[0]))): meaning
        for option in options
        for choice, meaning in option.defaults.items()
        if "=" in choice and meaning
    }


def _group(group: str, meaning: str, options: Sequence[Option]) -> str:
    heading = [f"## {group}", *([_sentence(meaning)] if meaning else [])]
    if all(option.is_recipe for option in options):
        rows = [(f"`{option.name}`", _prose(option.meaning)) for option in options]
        return "\n\n".join([*heading, _table(("option", "meaning"), rows)])
    return "\n\n".join([*heading, *(_option(option) for option in options)])


def _option(option: Option) -> str:
    """A heading, what the option is, what it starts from, and its knobs."""
    built = f"Builds `{option.target}`." if option.target else ""
    starts = f"Starts from {', '.join(f'`{choice}`' for choice in option.defaults)}." if option.defaults else ""
    text = " ".join(filter(None, (_sentence(option.meaning), built, starts)))
    parts = [f"### {option.path.with_suffix('').as_posix()}", text, _knobs(option.knobs)]
    return "\n\n".join(filter(None, parts))


def _knobs(knobs: Sequence[Knob]) -> str:
    rows = [(f"`{knob.name}`", f"`{knob.default}`", _prose(knob.meaning)) for knob in knobs]
    return _table(("knob", "default", "meaning"), rows) if rows else ""


def _table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in lines)


def _sentence(comment: str) -> str:
    return _prose(comment.rstrip(".") + ".") if comment else ""


def _prose(comment: str) -> str:
    """A comment as Markdown, in which `<id>` would be a tag."""
    return comment.replace("<", "&lt;")


def main() -> None:
    """Write the page."""
    README.write_text(page(read_options()), encoding="utf-8")
    print(README)


if __name__ == "__main__":
    main()
