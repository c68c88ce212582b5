"""The spinal canal and the axis that follows it."""
