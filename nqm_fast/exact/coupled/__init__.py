"""The exact model where the noise of each coordinate depends on all others."""
