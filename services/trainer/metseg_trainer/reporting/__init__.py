"""The report of a run: charts, tables, HTML."""
