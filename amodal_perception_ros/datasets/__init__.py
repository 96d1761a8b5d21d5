"""Readers and writers: annotated sequences, single rig frames and recorded bags."""
