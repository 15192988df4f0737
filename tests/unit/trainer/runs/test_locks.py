"""Processes that share a run's folder: those with the same work take turns, and a folder in use is refused."""

import subprocess
import sys
import threading

import pytest

from metseg.errors import TrainingFailed
from metseg_trainer.runs.locks import exclusive, in_turn

HOLDS = "import sys, time, pathlib; from metseg_trainer.runs.locks import exclusive;"
HOLDS += "held = exclusive(pathlib.Path(sys.argv[1]));"
HOLDS += "held.__enter__(); print('held', flush=True); time.sleep(100)"


def test_a_folder_is_locked_until_its_process_has_gone_even_if_killed(tmp_path):
    command = [sys.executable, "-c", HOLDS, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={"PYTHONPATH": ":".join(sys.path)}) as other:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(TrainingFailed, match="Another process works in"), exclusive(tmp_path):
            pytest.fail("two work in one folder")
        other.kill()
    with exclusive(tmp_path):
        pass


def test_an_error_under_the_lock_is_not_mistaken_for_another_process(tmp_path):
    with pytest.raises(BlockingIOError), exclusive(tmp_path / "made"):
        raise BlockingIOError


def test_a_turn_starts_when_the_previous_one_has_ended(tmp_path):
    order = []

    def second() -> None:
        with in_turn(tmp_path):
            order.append("second")

    with in_turn(tmp_path):
        waiting = threading.Thread(target=second)
        waiting.start()
        waiting.join(0.2)
        order.append("first")
    waiting.join()
    assert order == ["first", "second"]
