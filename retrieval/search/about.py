"""What an index tells of itself: plain JSON, read strictly. Nothing in it chooses what runs."""

import json
from dataclasses import asdict, dataclass
from math import prod
from typing import Any

from retrieval.errors import UserError
from retrieval.plain import check_plain, shortened
from retrieval.search.cutting import Cut

FORMAT = 1
LARGEST = 2**31 - 1  # numbers that a row can hold


@dataclass(frozen=True)
class Description:
    """An encoder in plain values.

    Attributes:
        weights: a file or open_clip's name of them; None: a model of which that is not known.
        reducer, head: configs, where they are not those that come with the weights.
        frames, words: per moment, and per query.
        sampler: one of `SAMPLERS` with its knobs; another one by its name alone.
        short_side: that frames are shrunk to while decoding, as the knob data.short_side.
        name: in words.
        fingerprint: of weights, architecture, reducer, head, and of which frames are read.
    """

    weights: str | None
    reducer: dict[str, Any] | None
    head: dict[str, Any] | None
    frames: int
    words: int
    sampler: dict[str, Any]
    short_side: int | None
    name: str
    fingerprint: str

    @classmethod
    def read(cls, value: Any, source: str) -> "Description":
        """From what an index holds.

        Raises:
            UserError: anything but what `asdict` makes of a description.
        """
        text, number = str, int
        types: dict[str, tuple[type, ...]] = {
            "weights": (text, type(None)),
            "reducer": (dict, type(None)),
            "head": (dict, type(None)),
            "frames": (number,),
            "words": (number,),
            "sampler": (dict,),
            "short_side": (number, type(None)),
            "name": (text,),
            "fingerprint": (text,),
        }
        check_plain(value, source)
        if not isinstance(value, dict) or value.keys() != types.keys():
            raise UserError(f"{source}: made by another version, or damaged: it does not tell its model")
        for key, kinds in types.items():
            if type(value[key]) not in kinds:
                raise UserError(f"{source}: damaged, the {key} of its model is {shortened(value[key])}")
        return cls(**value)

    def __str__(self) -> str:
        return f"{self.name}, {self.fingerprint[:12]}"


@dataclass(frozen=True)
class About:
    """The model of an index, how its videos are cut, and the shape of what is kept of a moment."""

    model: Description
    cut: Cut
    shape: tuple[int, ...]

    def write(self) -> str:
        """As JSON."""
        return json.dumps({"format": FORMAT, **asdict(self)})

    @classmethod
    def read(cls, text: str, source: str) -> "About":
        """From JSON.

        Args:
            text: what `write` made.
            source: the index, for messages.

        Raises:
            UserError: anything else.
        """
        try:
            told = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{source}: damaged, it does not tell what it is ({error})") from error
        if not isinstance(told, dict) or told.get("format") != FORMAT:
            raise UserError(f"{source}: of another version of this package: index again, into another folder")
        return cls(Description.read(told.get("model"), source), _cut(told.get("cut"), source), _shape(told, source))


def _cut(told: Any, source: str) -> Cut:
    kinds = {"window": float, "stride": float, "shots": bool}
    if not isinstance(told, dict) or {key: type(value) for key, value in told.items()} != kinds:
        raise UserError(f"{source}: damaged, it does not tell how videos are cut")
    return Cut(**told)


def _shape(told: dict[str, Any], source: str) -> tuple[int, ...]:
    shape = told.get("shape")
    sizes = shape if isinstance(shape, list) and all(type(size) is int and size > 0 for size in shape) else []
    if sizes and prod(sizes) <= LARGEST:
        return tuple(sizes)
    raise UserError(f"{source}: damaged, it does not tell what is kept of a moment")
