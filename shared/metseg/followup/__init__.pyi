from .comparison import compare_studies as compare_studies
from .time_points import TimePoint as TimePoint
from .time_points import check_comparable as check_comparable
