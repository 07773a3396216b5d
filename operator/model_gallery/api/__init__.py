"""Vocabulary: the API types, conditions and reasons, labels. The CRDs are generated from here."""
