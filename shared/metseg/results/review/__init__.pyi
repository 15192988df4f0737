from .apply import ModelAnswer as ModelAnswer
from .apply import ReviewedAnswer as ReviewedAnswer
from .apply import apply_review as apply_review
from .artefacts import ReviewFiles as ReviewFiles
from .artefacts import build_review_artefacts as build_review_artefacts
from .artefacts import make_review as make_review
from .artefacts import read_model_answer as read_model_answer
from .probability import StoredProbability as StoredProbability
