"""Operating a server: overload protection, metrics, tracing, readiness, the doctor, and worker processes."""
