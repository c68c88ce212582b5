"""Many series, one isolated process each, with a ledger and pages over all cases."""
