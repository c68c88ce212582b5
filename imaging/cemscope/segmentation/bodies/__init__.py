"""Outlines of vertebral bodies and their arches."""
