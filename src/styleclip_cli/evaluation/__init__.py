"""How good edits are where no truth is known: the measures that papers print, on any pack and any faces."""
