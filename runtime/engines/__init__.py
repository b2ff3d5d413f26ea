"""Run a network; an engine is a context manager: open, describe, run, close."""
