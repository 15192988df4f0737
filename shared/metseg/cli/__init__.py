"""The command `metseg`.

- `main`: the command line; `segment`, `watch`, `jobs` and `models`: its commands.
- `segment_study`: one study, from its files to a folder of results; `run_state`: its `job.json`.
- `backend`, `local`: what segments: a server, or this process.
- `watch_folder`: studies that arrive in a folder.
- `formats`, `output`, `progress`, `exit_codes`: options and output.
"""
