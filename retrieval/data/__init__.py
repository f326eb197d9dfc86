"""Data: captioned videos on their way from files to batches; knows nothing of the model."""
