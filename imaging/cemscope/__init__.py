"""Bone cement, metal and vertebrae on postoperative spine CT: the algorithms."""
