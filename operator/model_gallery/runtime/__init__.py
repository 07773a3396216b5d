"""Edge: a small controller-runtime that knows no kind of ours."""
