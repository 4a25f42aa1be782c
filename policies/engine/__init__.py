"""PURE: the verdict on a call and the masking of an answer. No Django, no I/O, no clock."""
