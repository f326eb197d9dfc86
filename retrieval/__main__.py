"""`python -m retrieval`: which commands there are, with a line each."""

import ast
from pathlib import Path


def commands() -> dict[str, str]:
    """What each command does, by its name: the first lines of the modules beside this one, none of them imported.

    A command may be a package too, which then has a `__main__`.
    """
    here = Path(__file__).parent
    modules = {path.stem: path for path in here.glob("*.py")} | {
        path.parent.name: path for path in here.glob("*/__main__.py")
    }
    lines = {name: _first_line(path) for name, path in sorted(modules.items())}
    return {name: line for name, line in lines.items() if line.startswith(f"`python -m retrieval.{name}")}


def main() -> None:
    """Print them."""
    pairs = [line[1:].split("`: ", 1) for line in commands().values()]
    width = max(len(command) for command, _ in pairs)
    print(*(f"{command:<{width}}  {line}" for command, line in pairs), sep="\n")
    print("\nEach tells its knobs or options with --help; `retrieval-train` is short for `python -m retrieval.train`.")


def _first_line(path: Path) -> str:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0]


if __name__ == "__main__":
    main()
