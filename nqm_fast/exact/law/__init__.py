"""The law of the risk."""
