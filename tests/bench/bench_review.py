"""What a review costs: the request through a gateway, and its parts, on a study of 155 slices.

    python -m tests.bench.bench_review [--runs 9]

The study has a core and a whole of 12 lesions, stored in a local folder; with DICOM, its series of headers as well. The
request is sent to a gateway in this process, so its time includes HTTP, reading and writing the store, and DICOM.
"""

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
from tests.dicoms import volume_of
from tests.gateways import begin, png, promote_tiny, running
from tests.redis_servers import redis_server
from tests.reviews import ball_probability, runs_of
from tests.slice_archives import archived

from metseg.contracts import OperatingPoint
from metseg.formats import dicom
from metseg.imaging import label_lesions, lesions, select_components
from metseg.inference import Segmentation, StructureMap
from metseg.phantom import head
from metseg.phantom.dicom import study_files
from metseg.results import SLICE_ARCHIVE, build_artefacts, build_result
from metseg.settings import Settings
