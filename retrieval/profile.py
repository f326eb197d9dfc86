"""`python -m retrieval.profile`: every reducer side by side, on paper and as measured."""

from omegaconf import DictConfig

from retrieval.jobs import job


@job("profile")
def main(config: DictConfig) -> None:
    """Run the job."""
    from retrieval.efficiency.profile.running import run_profile

    run_profile(config)


if __name__ == "__main__":
    main()
