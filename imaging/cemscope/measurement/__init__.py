"""Measurements on masks; pure functions that return frozen findings."""
