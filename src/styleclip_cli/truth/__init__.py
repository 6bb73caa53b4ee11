"""Evaluation where the truth is known: on worlds whose pictures are drawn, by judges that edits never see."""
