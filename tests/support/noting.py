"""Noting answers as evidence."""


def note(evidence, at, in_flight, *, admitted):
    """Note one, whatever it was."""
    (evidence.add if admitted else evidence.refused)(at, in_flight)
