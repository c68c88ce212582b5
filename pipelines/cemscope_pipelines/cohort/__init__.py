"""The tables of a study over many cases."""
