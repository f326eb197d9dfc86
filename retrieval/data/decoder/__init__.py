"""Video files, and three libraries that read them: the same frames at the same size, whichever is chosen.

`index.read_index` goes through a file's packets once and says how many frames there are and when; a library is asked
for pixels alone. What decord cannot serve PyAV reads, by the rule `decord.serves`, on every processor alike.
`damage.examine` decodes all of a file to tell whether it is sound; `guarded.Guarded` keeps a decoder in a process that
can be killed.
"""

from retrieval.data.decoder.base import CHECKS, Damage, Decoder, StuckError, VideoError, VideoFile
from retrieval.data.decoder.decord import open_decord
from retrieval.data.decoder.guarded import Guarded, video_opener
from retrieval.data.decoder.pyav import open_pyav
from retrieval.data.decoder.torchcodec import find_torchcodec

__all__ = [
    "CHECKS",
    "Damage",
    "Decoder",
    "Guarded",
    "StuckError",
    "VideoError",
    "VideoFile",
    "find_torchcodec",
    "open_decord",
    "open_pyav",
    "video_opener",
]
