"""Discs: where one vertebra ends and the next begins."""
