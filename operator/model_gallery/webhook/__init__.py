"""Edge: adds the sidecar to pods where the API server has no MutatingAdmissionPolicy to do it."""
