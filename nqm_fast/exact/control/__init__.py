"""Learning rates and batch sizes that change on the way: the best ones, and named shapes."""
