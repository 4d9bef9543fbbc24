"""The search of hyper-parameters that `tune` is made of: a box, risks within it, minimisers."""
