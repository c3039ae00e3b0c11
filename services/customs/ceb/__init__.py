"""The authority's message family (CEB, edition 202205) as XML: built, signed, read and validated.

Pure but for its data files.
"""
