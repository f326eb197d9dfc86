"""Scenes of the moving shapes: what can be in one, how it is told and how it is drawn.

A scene is told in full by its captions. Reversing it in time gives another scene: the same frames in reverse order,
told by the opposite moves in the opposite order.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from jaxtyping import Bool, Float, UInt8

from retrieval.errors import UserError

COLOURS = {
    "red": (230, 25, 25),
    "green": (20, 190, 40),
    "blue": (30, 60, 240),
    "yellow": (250, 225, 20),
    "pink": (250, 60, 200),
    "cyan": (20, 215, 230),
}
BACKGROUNDS = {
    "white": (250, 250, 250),
    "black": (8, 8, 8),
    "gray": (130, 130, 130),
    "brown": (115, 65, 20),
    "purple": (85, 25, 125),
    "beige": (235, 210, 160),
}
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")
TEXTURES = {"plain": "in one colour", "striped": "with stripes", "dotted": "with dots"}
RADII = {"small": 0.16, "big": 0.23}  # of the frame's side
DISTANCES = {"slowly": 0.3, "quickly": 0.5}  # that a move covers, of the frame's side
DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}  # x to the right, y downwards
OPPOSITE = {"left": "right", "right": "left", "up": "down", "down": "up"}
# A move straight back is left out: "left, then right" is its own reverse.
PATHS = tuple((move,) for move in DIRECTIONS) + tuple(
    (first, second) for first in DIRECTIONS for second in DIRECTIONS if second not in (first, OPPOSITE[first])
)
TEMPLATES = (
    "a {size} {texture} {colour} {shape} moves {speed} {path}{companion} on a {background} background",
    "on a {background} background, a {size} {texture} {colour} {shape} slides {path} {speed}{companion}",
    "a {size} {colour} {shape} {pattern} goes {speed} first {path}{companion}, all on {background}",
    "{background} background: a {texture} {colour} {shape}, {size}, drifts {path}{companion}, {speed}",
    "{speed} {path} travels a {size} {texture} {colour} {shape}{companion} in a {background} scene",
)

T = TypeVar("T")
Image = UInt8[np.ndarray, "height width 3"]


@dataclass(frozen=True)
class Scene:
    """What the captions tell of a video; `companion` is texture, colour and shape of a second one that stands still."""

    background: str
    colour: str
    shape: str
    texture: str
    size: str
    speed: str
    path: tuple[str, ...]
    companion: tuple[str, str, str] | None = None

    def reversed(self) -> "Scene":
        """The scene played backwards."""
        return replace(self, path=tuple(OPPOSITE[move] for move in reversed(self.path)))


def random_scene(random: np.random.Generator) -> Scene:
    """A scene with every attribute drawn evenly; a third of the scenes have a companion."""

    def pick(options: Sequence[T]) -> T:
        return options[int(random.integers(len(options)))]

    colour, shape = pick(tuple(COLOURS)), pick(SHAPES)
    others = [(t, c, s) for t in TEXTURES for c in COLOURS for s in SHAPES if c != colour and s != shape]
    return Scene(
        background=pick(tuple(BACKGROUNDS)),
        colour=colour,
        shape=shape,
        texture=pick(tuple(TEXTURES)),
        size=pick(tuple(RADII)),
        speed=pick(tuple(DISTANCES)),
        path=pick(PATHS),
        companion=pick(others) if random.random() < 1 / 3 else None,
    )


def captions_of(scene: Scene, count: int) -> list[str]:
    """`count` differently worded captions, each telling the whole scene."""
    words = {
        "background": scene.background,
        "colour": scene.colour,
        "shape": scene.shape,
        "texture": scene.texture,
        "pattern": TEXTURES[scene.texture],
        "size": scene.size,
        "speed": scene.speed,
        "path": " then ".join(scene.path),
        "companion": "" if scene.companion is None else " past a {} {} {}".format(*scene.companion),
    }
    return [template.format(**words) for template in TEMPLATES[:count]]


def render(scene: Scene, frames: int, side: int, random: np.random.Generator) -> UInt8[np.ndarray, "frame side side 3"]:
    """The frames of a scene; `random` shifts the whole path, which no caption tells."""
    canvas = np.full((side, side, 3), BACKGROUNDS[scene.background], dtype=np.uint8)
    corner = _free_corner(scene.path, random)
    if scene.companion is not None:
        texture, colour, shape = scene.companion
        _paste(canvas, _sprite(shape, texture, colour, RADII["small"], side), 0.5 + 0.32 * corner)
    sprite = _sprite(scene.shape, scene.texture, scene.colour, RADII[scene.size], side)
    images = np.repeat(canvas[None], frames, axis=0)
    for image, centre in zip(images, _track(scene, frames, corner, random), strict=True):
        _paste(image, sprite, centre)
    return images


def _free_corner(path: tuple[str, ...], random: np.random.Generator) -> Float[np.ndarray, "2"]:
    """The corner of the frame, as signs of x and y, that a path stays away from."""
    moves = np.array([DIRECTIONS[move] for move in path], dtype=float)
    if len(moves) == 2:
        return moves[1] - moves[0]
    return np.where(moves[0] == 0, random.choice([-1.0, 1.0]), moves[0])


def _track(
    scene: Scene, frames: int, corner: Float[np.ndarray, "2"], random: np.random.Generator
) -> Float[np.ndarray, "frame 2"]:
    """The moving shape's centre at each frame, x and y in frame sides; pushed off the corner where a companion is."""
    moves = DISTANCES[scene.speed] * np.array([DIRECTIONS[move] for move in scene.path])
    knots = np.concatenate([np.zeros((1, 2)), moves.cumsum(axis=0)])
    knots -= knots.min(axis=0)
    margin = RADII[scene.size] + 0.02
    slack = 1 - 2 * margin - knots.max(axis=0)
    knots += margin + slack * (random.random(2) if scene.companion is None else corner < 0)
    time = np.linspace(0, len(moves), frames)
    return np.stack([np.interp(time, np.arange(len(knots)), axis) for axis in knots.T], axis=1)


def _sprite(
    shape: str, texture: str, colour: str, radius: float, side: int
) -> tuple[Float[np.ndarray, "size size 3"], Float[np.ndarray, "size size 1"]]:
    """Colour and opacity of a shape, each pixel the mean of 4x4 points."""
    size = 2 * round(radius * side)
    axis = (np.arange(4 * size) + 0.5) / (2 * size) - 1
    x, y = np.meshgrid(axis, axis)
    bright = np.array(COLOURS[colour], dtype=float)
    colours = np.where(_texture(texture, x, y)[..., None], 0.3 * bright, bright)
    opacity = _silhouette(shape, x, y)[..., None].astype(float)
    return _shrink(colours), _shrink(opacity)


def _silhouette(shape: str, x: Float[np.ndarray, "n n"], y: Float[np.ndarray, "n n"]) -> Bool[np.ndarray, "n n"]:
    """Which points of the square [-1, 1]^2 belong to the shape."""
    distance, angle = np.hypot(x, y), np.arctan2(x, -y)
    match shape:
        case "circle":
            return distance <= 1
        case "ring":
            return (distance <= 1) & (distance >= 0.5)
        case "square":
            return np.maximum(abs(x), abs(y)) <= 0.9
        case "triangle":
            return (2 * abs(x) <= y + 1) & (y <= 0.9)
        case "cross":
            return np.minimum(abs(x), abs(y)) <= 0.33
        case "star":
            point = abs((angle + np.pi / 5) % (2 * np.pi / 5) - np.pi / 5)  # angle to the nearest of five points
            return distance * (np.cos(point) + 1.4 * np.sin(point)) <= 1
    raise UserError(f"unknown shape {shape!r}: choose one of {', '.join(SHAPES)}")


def _texture(texture: str, x: Float[np.ndarray, "n n"], y: Float[np.ndarray, "n n"]) -> Bool[np.ndarray, "n n"]:
    """Which points carry the texture's dark tone; bold, so that it outlives small frames and the codec."""
    match texture:
        case "plain":
            return np.zeros_like(x, dtype=bool)
        case "striped":
            return (x + y) % 0.7 < 0.35
        case "dotted":
            return np.hypot(x % 0.6 - 0.3, y % 0.6 - 0.3) < 0.18
    raise UserError(f"unknown texture {texture!r}: choose one of {', '.join(TEXTURES)}")


def _shrink(image: Float[np.ndarray, "points points channel"]) -> Float[np.ndarray, "points//4 points//4 channel"]:
    """The mean of each 4x4 points."""
    size = len(image) // 4
    return image.reshape(size, 4, size, 4, -1).mean(axis=(1, 3))


def _paste(
    image: Image,
    sprite: tuple[Float[np.ndarray, "size size 3"], Float[np.ndarray, "size size 1"]],
    centre: Float[np.ndarray, "2"],
) -> None:
    """Draw a sprite into `image` around `centre` (x, y in frame sides), to the nearest pixel."""
    colours, opacity = sprite
    size = len(colours)
    left, top = np.rint(centre * len(image) - size / 2).astype(int).clip(0, len(image) - size)
    patch = image[top : top + size, left : left + size]
    patch[:] = np.rint(opacity * colours + (1 - opacity) * patch)
