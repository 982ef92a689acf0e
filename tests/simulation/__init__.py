"""The real client against the real simulator, under faults that a seed decides, in virtual time, judged by an oracle.

``python -m tests.simulation --seeds 10000`` runs many seeds; ``--first 4711 --seeds 1 --trace`` replays one, byte for
byte; ``--mutants`` plants faults in a copy of the package and says which promise caught each. Needs the ``dev`` extra.

:mod:`~tests.simulation.plan` says what a seed means, :mod:`~tests.simulation.world` runs it,
:mod:`~tests.simulation.tap` notes what goes over the wire, and :mod:`~tests.simulation.oracle` says what was broken.
"""
