"""Jobs on trained models, each in a process of its own that the server starts."""
