"""`python -m retrieval.search`: which moments of an index of videos answer a question."""

import sys

from omegaconf import DictConfig

from retrieval.jobs import job
from retrieval.jobs.typed import as_typed

TEXTS = ("index", "query", "queries", "like", "path", "after", "before", "save", "export")


@job("search")
def search(config: DictConfig) -> None:
    """Run the job."""
    from retrieval.search.asking import run_search

    run_search(config)


def main() -> None:
    """Run the job, with questions and names as they were typed."""
    sys.argv[1:] = as_typed(sys.argv[1:], TEXTS)
    search()


if __name__ == "__main__":
    main()
