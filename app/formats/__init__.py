"""What is here, to be taken elsewhere: the run table, the curves of a run, a report of a comparison."""
