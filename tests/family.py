"""A setting of every linear method, for tests of all that simulates them."""

import nqm_fast as nqm
from nqm_fast.schedules import InverseTime, Linear, Piecewise, Warmup

MOMENTUM = nqm.SGD(0.2, momentum=0.7)
METHODS = {
    "momentum by a schedule": nqm.SGD(0.1, momentum=Linear(0.5, 0.9, 20), ema=Linear(0.9, 0.5, 9)),
    "Nesterov": nqm.Nesterov(0.1, 0.9),
    "Nesterov, original": nqm.Nesterov(0.1, 0.9, form="original", power=0.5),
    "QHM": nqm.QHM(0.5, 0.9, 0.7),
    "AdEMAMix": nqm.AdEMAMix(0.1, 0.9, 0.99, 2.0),
    "DANA": nqm.DANA(0.2, 0.05, InverseTime(1.0, 8.0)),
    "delay": nqm.DelayedSGD(0.1, 3, momentum=0.2),
    "long delay": nqm.DelayedSGD(0.05, 12),
    "Schedule-Free": nqm.ScheduleFree(Warmup(9, 0.5, start=0.05), 0.9),
    "tail average": nqm.TailAverage(nqm.Nesterov(0.1, 0.9), 13),
    "Lookahead": nqm.Lookahead(MOMENTUM, 7, 0.4),
    "Lookahead of plain SGD": nqm.Lookahead(nqm.SGD(Piecewise([0.2, 0.4], [6, 5])), 3, 0.6),
    "EMA of Lookahead": nqm.EMA(nqm.Lookahead(nqm.Nesterov(0.1, 0.8, form="original"), 5), 0.5),
    "accumulated": nqm.Accumulate(MOMENTUM, 2),
}
VARYING = ("momentum by a schedule", "DANA", "Schedule-Free", "tail average")
"""Those whose settings change at every step, so that a leap cannot cross it."""
PERIODIC = ("Lookahead", "Lookahead of plain SGD", "EMA of Lookahead")
"""Those whose settings repeat after some steps."""
