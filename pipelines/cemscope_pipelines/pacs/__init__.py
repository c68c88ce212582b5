"""Sends the objects of a case to an archive, and fetches series from one."""
