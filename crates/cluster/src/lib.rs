//! Kubernetes: discovery, watch, staged apply, prune
