"""Export formats: the run table, curves of a run, the report of a comparison, TensorBoard event files."""
