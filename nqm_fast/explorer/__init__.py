"""The explorer: a page in the browser on which the model moves, served to this machine alone.

`views` has one file for each view: its sliders, what it computes through the public functions of
the package, the code that computes the same, and its picture. `page` puts a view on a page,
`server` serves the pages. Panel and Bokeh are imported late, as few need them.
"""
