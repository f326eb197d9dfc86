"""`python -m retrieval.prepare`: check every video of a set, and store its frames for fast loading."""

from omegaconf import DictConfig

from retrieval.jobs import job


@job("prepare")
def main(config: DictConfig) -> None:
    """Run the job."""
    from retrieval.jobs.preparing import run_prepare

    run_prepare(config)


if __name__ == "__main__":
    main()
