"""Training and evaluation: the LightningModule, its loss and optimizer, and what builds them from a config.

A frame's way goes on from `retrieval.data`, with its batch on the device:

1. `module`: `RetrievalModule.training_step` hands a batch's frames to `CLIP.encode_video`, and its captions to
   `CLIP.encode_text`, by way of `micro_batches` where they do not fit into memory at once.
2. `CLIP.pixels` makes the bytes normalised floats.
3. `VideoTower.forward` embeds patches and runs the blocks, the reducer acting in each, and projects the class tokens.
4. `Head.video` keeps of these what captions are compared with; `Head.text` does so for captions.
5. The loss, one of `losses`, compares them by `Head.similarity`, times the logit scale, and gives the number to
   lower.

In evaluation `RetrievalMetrics` takes the place of the loss, and compares all videos with all captions alike.
"""
