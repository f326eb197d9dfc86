"""Backbone families, one file each: from foreign modules to our towers."""
