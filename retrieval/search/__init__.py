"""An index of one's own videos and questions to it: `Index.open(path).search("a man rides a bike")`."""

from retrieval.search.index import Index
from retrieval.search.moments import Filters, Moment

__all__ = ["Filters", "Index", "Moment"]
