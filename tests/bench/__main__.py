"""`make bench`: speed, services and growth, each in a separate process, into docs/appendix-benchmarks.md.

    python -m tests.bench [--only model volume system latency memory growth] [--data FOLDER] [--rounds N]

The other benches in this folder run by name, such as `python -m tests.bench.bench_scale`.
"""

import subprocess
import sys

for name in ("bench_speed", "bench_services", "bench_growth"):
    subprocess.run([sys.executable, "-W", "ignore", "-m", f"tests.bench.{name}", *sys.argv[1:]], check=True)
