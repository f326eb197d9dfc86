"""`python -m retrieval.train`: train, choose the checkpoint on validation, read the test split once."""

from omegaconf import DictConfig

from retrieval.jobs import job


@job("train")
def main(config: DictConfig) -> float:
    """Run the job; returns the best value of what the checkpoint was chosen by, for searches over configs."""
    from retrieval.training.running import train

    return train(config)


if __name__ == "__main__":
    main()
