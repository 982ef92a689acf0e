"""A limiter that the zoo tries beside the product's.

``python -m tests.zoo --pacer tests.zoo.candidate.limiter:Limiter``
"""
