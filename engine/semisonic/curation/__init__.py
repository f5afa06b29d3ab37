"""Which images a person should look at, and what the looks tell: audits, rankings, choices and neighbors of features.

Pure NumPy, SciPy and scikit-learn: no torch, no files, no store.
"""
