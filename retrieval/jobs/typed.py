"""Words on the command line as they were typed: a question has commas and brackets, which are Hydra's syntax."""

from collections.abc import Collection, Sequence


def as_typed(arguments: Sequence[str], knobs: Collection[str]) -> list[str]:
    """The arguments with the values of some knobs quoted for Hydra, unless they are quoted or `null` already.

    Args:
        arguments: of the command line.
        knobs: names of those whose value is a text.
    """
    return [_quoted(argument) if argument.partition("=")[0] in knobs else argument for argument in arguments]


def _quoted(argument: str) -> str:
    from hydra.core.override_parser.types import Quote, QuotedString

    knob, equals, value = argument.partition("=")
    is_quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    if not equals or is_quoted or value in ("", "null"):
        return argument
    text = value.replace("${", r"\${")  # no interpolation
    return f"{knob}={QuotedString(text, Quote.single).with_quotes()}"
