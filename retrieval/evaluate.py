"""`python -m retrieval.evaluate`: a checkpoint or a plain backbone, on any split."""

from omegaconf import DictConfig

from retrieval.jobs import job


@job("evaluate")
def main(config: DictConfig) -> None:
    """Run the job."""
    from retrieval.training.running import evaluate

    evaluate(config)


if __name__ == "__main__":
    main()
