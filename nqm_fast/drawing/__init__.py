"""Parts of pictures that several of them share: style, axes, curves of runs, fits and sweeps."""
