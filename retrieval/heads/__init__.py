"""Heads: what is kept of a video and a caption, and how similar they are; one file a method."""

from retrieval.heads.base import Head
from retrieval.heads.mean import Mean
from retrieval.heads.sequence_transformer import SequenceTransformer
from retrieval.heads.token_wise import TokenWise

__all__ = ["Head", "Mean", "SequenceTransformer", "TokenWise"]
