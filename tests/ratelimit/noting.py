"""Noting answers as evidence."""


def note(evidence, at, under_way, *, admitted):
    """Note one, whatever it was."""
    (evidence.add if admitted else evidence.refused)(at, under_way)
