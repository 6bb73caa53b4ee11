"""The toy world: a procedural face world whose ground truth we own.

It is the offline default of the tool and the laboratory in which edits are judged. The parts, in
order: `attributes` (what a face is), `renderer` (attributes -> picture), `captions` (attributes ->
words), `networks` (the small nets), `train` (how they came to be), `evaluate` (how edits are judged).
"""
