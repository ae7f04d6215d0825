"""Reference vectors of published implementations, computed by this suite's code.

A subpackage per method; importing it registers its runners with ``runner``.
"""
