"""What all studies share: the engine of runs, trained networks, records, tables and figures."""
