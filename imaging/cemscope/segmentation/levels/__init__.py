"""Names of vertebrae and what argues for them."""
