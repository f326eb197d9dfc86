"""`python -m retrieval.draw`: a picture of which patches of a video went into which token."""

from omegaconf import DictConfig

from retrieval.jobs import job


@job("draw")
def main(config: DictConfig) -> None:
    """Run the job."""
    from retrieval.training.drawing import run_draw

    run_draw(config)


if __name__ == "__main__":
    main()
