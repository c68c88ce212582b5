"""Phantoms, a scanner simulation and assertions for tests, docs and samples."""
