"""Vocabulary: the contract between the controller and the worker in a Job pod.

Both sides may be of different versions during an upgrade, so the documents are versioned, unknown
fields are ignored when reading, and golden files in tests/data pin their form.
"""
