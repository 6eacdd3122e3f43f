"""What operating a server takes: overload, metrics, traces, readiness, doctor, workers."""
