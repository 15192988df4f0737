"""An event listener of supervisord: when a process keeps crashing, it says so and stops everything."""

import os
import signal
import sys


def main() -> None:
    """Wait for the first PROCESS_STATE_FATAL; supervisord sends no other event here."""
    print("READY", flush=True)
    header = dict(pair.split(":", 1) for pair in sys.stdin.readline().split())
    payload = dict(pair.split(":", 1) for pair in sys.stdin.read(int(header["len"])).split())
    print(f"make local: {payload['processname']} keeps crashing; see above. Stopping.", file=sys.stderr, flush=True)
    os.kill(os.getppid(), signal.SIGTERM)
    sys.stdin.read()  # until supervisord stops this listener too


if __name__ == "__main__":
    main()
