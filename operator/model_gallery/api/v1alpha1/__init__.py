"""The types of API version v1alpha1."""
