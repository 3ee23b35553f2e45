"""Many videos from one sheet: read it, check it, stage it, run it, tell what came of it."""
