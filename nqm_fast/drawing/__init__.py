"""What pictures are made of: style, axes, curves of a run, a fit, a sweep."""
