"""The command line ``clarus``; also ``python -m clarus_async``."""
