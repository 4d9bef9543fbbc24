"""The noise of a finite data set, and how its rows are drawn."""
