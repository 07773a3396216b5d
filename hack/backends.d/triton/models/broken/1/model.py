"""Cannot be loaded."""

raise RuntimeError("the weights do not fit the configuration")
