"""Segment medical images on the device, in the patient's own coordinates."""
