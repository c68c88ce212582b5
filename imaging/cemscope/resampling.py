"""Bring an image onto another voxel grid; pure functions over the patient's mm."""
