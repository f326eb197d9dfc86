"""`python -m retrieval.evaluate`: a checkpoint or a plain backbone, on any split."""

import lightning as L
from omegaconf import DictConfig

from retrieval.efficiency.cost import cost
from retrieval.jobs import job
from retrieval.jobs.results import report, save_config
from retrieval.training.building import build_datamodule, build_evaluation, build_trainer, training_data


@job("evaluate")
def main(config: DictConfig) -> None:
    """Run the job."""
    L.seed_everything(config.seed, workers=True)
    module = build_evaluation(config)
    data = build_datamodule(config, module.model, test_split=config.split)
    trained = training_data(config.ckpt_path)
    data.load_state_dict(trained)
    trainer = build_trainer(config)
    save_config(config)
    metrics = trainer.test(module, data, verbose=False)[0]
    report(
        config.run_dir,
        metrics,
        split=config.split,
        frames=config.data.frames,
        words=config.words,
        checkpoint=config.ckpt_path or f"{config.backbone.source}, as it is",
        selected_on=trained.get("selected_on"),
        seed=config.seed,
        cost=cost(module.model, config.data.frames, config.words),
    )


if __name__ == "__main__":
    main()
