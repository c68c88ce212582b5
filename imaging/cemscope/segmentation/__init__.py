"""Vertebrae, metal and cement as masks; pure functions on frozen values."""
