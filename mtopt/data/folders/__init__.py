"""Data sets in folders, as the field publishes them: pixels, domains, attributes."""
