"""`python -m retrieval.index`: an index of a folder of videos, to be asked with python -m retrieval.search."""

import sys

from omegaconf import DictConfig

from retrieval.jobs import job
from retrieval.jobs.typed import as_typed


@job("index")
def index(config: DictConfig) -> None:
    """Run the job."""
    from retrieval.search.indexing import run_index

    run_index(config)


def main() -> None:
    """Run the job, with the names as they were typed; `root=[…]` is a list."""
    several = any(word.startswith("root=[") for word in sys.argv[1:])
    sys.argv[1:] = as_typed(sys.argv[1:], ("index",) if several else ("index", "root"))
    index()


if __name__ == "__main__":
    main()
