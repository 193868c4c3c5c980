"""The second product, a recogniser of single handwritten characters.

`config` holds its typed settings. From left to right: `data` (sets of characters, their splits, warps and corruptions),
`model` (the network), `training`, `robustness` (measuring a model under attack and corruption), `evaluation` (figures
and reports, from arrays alone). `calibration` is the arithmetic of confidence that all of them share, `explain` shows
what an answer rests on, and `reader` reads pictures with a saved model.
"""
