"""Imported label maps: checked, repaired on the record, cut into bodies."""
