"""Data: readers for every format, and the commands that convert, split, count, check and
de-identify it.
"""
