"""Screws, rods and other metal, by shape."""
