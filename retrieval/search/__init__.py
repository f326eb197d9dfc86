"""An index of one's own videos and questions to it: `Index.open(path).search("a man rides a bike")`."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from retrieval.search.answers import Answer
    from retrieval.search.index import Index
    from retrieval.search.moments import Filters, Moment

__all__ = ["Answer", "Filters", "Index", "Moment"]

_MODULES = {"Answer": "answers", "Filters": "moments", "Index": "index", "Moment": "moments"}


def __getattr__(name: str) -> Any:
    """Import torch and all that follows only for those who ask; the commands of this package begin without."""
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
