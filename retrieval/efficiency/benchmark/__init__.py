"""Speed and memory of our parts beside straightforward ones: `python -m retrieval.benchmark <what>`."""
