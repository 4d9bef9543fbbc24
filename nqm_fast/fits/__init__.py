"""The model fitted to training that was done, to predict training that was not."""
