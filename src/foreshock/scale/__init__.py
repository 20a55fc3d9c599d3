"""The same work on Ray: a corpus read by many workers, a server of many replicas."""
