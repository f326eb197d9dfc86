"""Several reducers in one tower, each working on what those before it leave."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, cast

from jaxtyping import Float
from torch import Tensor, nn

from retrieval.errors import UserError
from retrieval.reducers.base import Layout, Reducer, Tokens, TowerShape


class Chain(Reducer):
    """Runs reducers one after the other at both hooks of every block.

    A reducer that is made for a number of frames must find as many clips when it first joins some: after pooling 12
    frames into 6 segments, one for 6.

    Args:
        reducers: in the order in which they act where several do at the same place.

    Raises:
        UserError: no reducers; when the tower is built, those whose tokens do not fit together, and why.
    """

    def __init__(self, reducers: Sequence[Reducer]) -> None:
        super().__init__()
        if not reducers:
            raise UserError("reducer.reducers is empty: name at least one reducer, or take reducer=none")
        self.reducers = cast("Sequence[Reducer]", nn.ModuleList(reducers))
        # Clips only become fewer, so the reducer that is made for the most of them comes first.
        self.frames = max((each.frames for each in reducers if each.frames is not None), default=None)
        self.proportional_attention = any(each.proportional_attention for each in reducers)
        self.wants_class_attention = any(each.wants_class_attention for each in reducers)
        self.ragged = any(each.ragged for each in reducers)
        self.takes_padding = all(each.takes_padding for each in reducers)
        self.masks_in_training = any(each.masks_in_training for each in reducers)
        _check_padding(reducers)

    def build(self, tower: TowerShape, position_embedding: Float[Tensor, "patch dim"]) -> None:
        for reducer in self.reducers:
            reducer.build(tower, position_embedding)
        self._check(Layout(clips=self.frames or 1, patches=tower.patches), tower.blocks)

    def at_clips_rate(self) -> Iterator[nn.Parameter]:
        return (parameter for reducer in self.reducers for parameter in reducer.at_clips_rate())

    def layout_before_blocks(self, layout: Layout) -> Layout:
        for reducer in self.reducers:
            layout = reducer.layout_before_blocks(layout)
        return layout

    def penalty(self) -> Float[Tensor, ""] | float:
        return sum(reducer.penalty() for reducer in self.reducers)

    def found(self) -> dict[str, Any]:
        return {
            f"reducers[{place}].{knob}": value
            for place, reducer in enumerate(self.reducers)
            for knob, value in reducer.found().items()
        }

    def layout_before_attention(self, layout: Layout, block: int) -> Layout:
        for reducer in self.reducers:
            layout = reducer.layout_before_attention(layout, block)
        return layout

    def layout_after_attention(self, layout: Layout, block: int) -> Layout:
        for reducer in self.reducers:
            layout = reducer.layout_after_attention(layout, block)
        return layout

    def before_blocks(self, tokens: Tokens, frames: Float[Tensor, "video frame 3 height width"]) -> Tokens:
        for reducer in self.reducers:
            tokens = reducer.before_blocks(tokens, frames)
        return tokens

    def before_attention(self, tokens: Tokens, block: int) -> Tokens:
        for reducer in self.reducers:
            tokens = reducer.before_attention(tokens, block)
        return tokens

    def after_attention(
        self,
        tokens: Tokens,
        keys: Float[Tensor, "clip token key"],
        block: int,
        class_attention: Float[Tensor, "clip token"] | None = None,
    ) -> Tokens:
        for reducer in self.reducers:
            asked = (class_attention,) if reducer.wants_class_attention else ()
            tokens = reducer.after_attention(tokens, keys, block, *asked)
        return tokens

    def _check(self, layout: Layout, blocks: int) -> None:
        """Walk the tower, and see for each reducer whether it finds what it is made for."""
        fresh = {reducer for reducer in self.reducers if reducer.frames is not None}
        for reducer in self.reducers:
            layout = self._step(reducer, partial(_before_blocks, reducer), layout, 0, fresh)
        for block in range(blocks):
            merged = None
            for reducer in self.reducers:
                layout = self._step(reducer, reducer.layout_before_attention, layout, block, fresh)
            for reducer in self.reducers:
                left = self._step(reducer, reducer.layout_after_attention, layout, block, fresh)
                if left != layout and merged is not None:
                    raise UserError(
                        f"reducer.reducers: {_name(merged)} and {_name(reducer)} both merge after the attention of "
                        f"block {block}, but only the first finds the tokens that its keys are of: let them act in "
                        "different blocks"
                    )
                merged = reducer if left != layout else merged
                layout = left

    def _step(
        self,
        reducer: Reducer,
        leave: Callable[[Layout, int], Layout],
        layout: Layout,
        block: int,
        fresh: set[Reducer],
    ) -> Layout:
        """What a reducer leaves; `fresh` are those that have not changed the number of clips before."""
        try:
            left = leave(layout, block)
        except ValueError as error:
            raise UserError(f"reducer.reducers: {_name(reducer)} after those before it: {error}") from error
        if left != layout and block > 1 and self.masks_in_training and not reducer.masks_in_training:
            raise UserError(
                f"reducer.reducers: {_name(reducer)} reduces at block {block}, where in training the tokens that "
                "reducer.learn=true would drop are still in place: let it act before the attention of block 1"
            )
        if left.clips != layout.clips and reducer in fresh:
            fresh.remove(reducer)
            if layout.clips != reducer.frames:
                raise UserError(
                    f"reducer.reducers: {_name(reducer)} is made for frames={reducer.frames}, but at block {block} it "
                    f"finds {layout.clips} clips: set its frames, and what must divide them, to {layout.clips}"
                )
        return left


def _before_blocks(reducer: Reducer, layout: Layout, block: int) -> Layout:
    return reducer.layout_before_blocks(layout)


def _check_padding(reducers: Sequence[Reducer]) -> None:
    ragged = next((reducer for reducer in reducers if reducer.ragged), None)
    unfit = next((reducer for reducer in reducers if not reducer.takes_padding), None)
    if ragged is not None and unfit is not None:
        raise UserError(
            f"reducer.reducers: {_name(ragged)} leaves clips of different lengths, padded, which {_name(unfit)} cannot "
            "act on: take ToMe or TempMe beside it, or a reducer with takes_padding = True"
        )


def _name(reducer: Reducer) -> str:
    return type(reducer).__name__
