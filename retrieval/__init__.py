"""Efficient text-video retrieval with CLIP: every published token reducer as a config option."""
