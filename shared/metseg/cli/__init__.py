"""The command `metseg`: studies to results, by a server or without one; jobs, models, and a folder that is watched."""
