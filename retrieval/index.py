"""`python -m retrieval.index`: an index of a folder of videos, to be asked with python -m retrieval.search."""

from omegaconf import DictConfig

from retrieval.jobs import job


@job("index")
def main(config: DictConfig) -> None:
    """Run the job."""
    from retrieval.search.indexing import run_index

    run_index(config)


if __name__ == "__main__":
    main()
