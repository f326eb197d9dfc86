"""The Pareto front: what nothing else beats at the same cost or less."""

import numpy as np
from jaxtyping import Bool, Float


def pareto_front(cost: Float[np.ndarray, " point"], gain: Float[np.ndarray, " point"]) -> Bool[np.ndarray, " point"]:
    """Which points no other dominates: costs at most as much and gains at least as much, and one of both strictly.

    A point with a missing cost or gain (NaN) is never on the front.
    """
    cheaper = cost[:, None] <= cost
    better = gain[:, None] >= gain
    strictly = (cost[:, None] < cost) | (gain[:, None] > gain)
    return ~(cheaper & better & strictly).any(axis=0) & ~np.isnan(cost) & ~np.isnan(gain)
