"""Frames, preprocessing, task decoding and picture codecs, the same code on edge, region and cloud."""
