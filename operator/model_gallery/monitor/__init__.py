"""Edge: asks serving backends how they are, and processes what they use."""
