"""Vocabulary: values about files. Digests, references to sources, safe paths."""
