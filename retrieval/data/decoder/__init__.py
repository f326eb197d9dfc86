"""Video files, and three libraries that read them: the same frames at the same size, whichever is chosen.

`index.read_index` goes through a file's packets once and says how many frames there are and when; a library is asked
for pixels alone. What decord cannot serve PyAV reads, by the rule `decord.serves`, on every processor alike.
"""

from retrieval.data.decoder.base import Decoder, VideoError, VideoFile
from retrieval.data.decoder.decord import open_decord
from retrieval.data.decoder.pyav import open_pyav
from retrieval.data.decoder.torchcodec import find_torchcodec

__all__ = ["Decoder", "VideoError", "VideoFile", "find_torchcodec", "open_decord", "open_pyav"]
