"""Bring two scans of one patient together, vertebra by vertebra."""
