"""Training and evaluation: the LightningModule, its loss and optimizer, and what builds them from a config."""
