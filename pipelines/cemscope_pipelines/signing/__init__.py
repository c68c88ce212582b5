"""Sign-off of a reviewed case, and the proof that nothing was altered afterwards."""
