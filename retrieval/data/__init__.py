"""Data: captioned videos on their way from files to batches; knows nothing of the model.

A frame's way, each function on it entered once for a sample:

1. `corpora`: `Corpus.records` says which file, and which part of it.
2. `decoder`: `open_decord` (`open_pyav`, `open_torchcodec`) opens the file and says how many frames it has, and how
   many a second; or `store`: `FrameStore.open` does so for stored frames. Both give a `VideoFile`.
3. `sampling`: `even_frames` or `segment_frames` chooses indices.
4. `VideoFile.read` gives these frames as bytes [frame, 3, height, width], upright.
5. `transforms`: `transform_frames` crops and augments them, all alike, to [frame, 3, size, size].
6. `batches`: `collate_training` or `collate_videos` puts samples together. Still bytes, they travel to the device.
7. There the model takes them, which normalises them first; the docstring of `retrieval.training` goes on.

`dataset.FrameReader` takes a record from 2 to 5, `datamodule.RetrievalDataModule` builds it all from a config.
"""

from retrieval.data.datamodule import RetrievalDataModule

__all__ = ["RetrievalDataModule"]
