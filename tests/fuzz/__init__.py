"""Fuzzing of every parser: what any bytes may do to it.

``make fuzz`` mutates the corpus by hours; ``corpus/`` is in the tree, and ``test_targets`` replays it.
"""
