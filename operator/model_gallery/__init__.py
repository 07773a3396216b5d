"""Model gallery operator: AI model files on volumes, kept as custom resources say."""

__version__ = "0.1.0"
