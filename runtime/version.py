"""The one place the product's version is written; importing it costs nothing."""

__all__ = ["PRODUCT", "RESEARCH_USE", "__version__"]

__version__ = "0.1.0"
PRODUCT = "Zeus Edge"
RESEARCH_USE = "For research use only. Not for clinical use: not a medical device."
