"""CenterCLIP's settings under their published names."""

from itertools import pairwise

from retrieval.reducers import KMedoids, Pooling, Reducer, SparseSampling, TemporalShift, TokenShift


def centerclip_of(config: dict) -> Reducer:
    """Our reducer for published settings: one that acts wherever the segments fall against the block before."""
    segments = config["target_frames_blocks"]
    blocks = [after for after, (now, then) in enumerate(pairwise(segments), start=1) if then < now]
    algorithm = config["cluster_algo"]
    if algorithm in ("temporal_shift", "token_shift"):
        return {"temporal_shift": TemporalShift, "token_shift": TokenShift}[algorithm](blocks)
    schedule = {"frames": config["max_frames"], "block": blocks, "num_segments": [segments[block] for block in blocks]}
    if algorithm == "pooling":
        return Pooling(**schedule)
    schedule["num_clusters"] = [config["cluster_num_blocks"][block] for block in blocks]
    if algorithm == "sparse_sampling":
        return SparseSampling(**schedule)
    return KMedoids(
        **schedule,
        distance=config["cluster_distance"],
        p=config["minkowski_norm_p"],
        pre_norm=bool(config["pre_norm"]),
        aggregate=config["aggregation"] or "medoid",
        max_iterations=config["cluster_iter_limit"],
    )
