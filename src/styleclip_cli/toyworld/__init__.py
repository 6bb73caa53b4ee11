"""The toy world: a procedural face world whose ground truth we own.

It is the offline default of the tool and the laboratory in which edits are judged. The parts, in order:
`attributes` (what a face is), `measures` and `renderer` (attributes -> picture), `networks` (the judge),
`points` and `scenes` (photos with faces in them, and their true landmarks), `cases` (what is asked of whom),
`methods`, `judging` and `evaluate` (how edits are judged), `photos` (how edits of photos are).
"""
