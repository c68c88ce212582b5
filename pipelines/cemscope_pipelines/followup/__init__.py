"""Compare a later scan of a patient with the case of an earlier one."""
