"""A web page to ask an index, and the same answers as JSON; what it needs comes with the extra `search`."""
