"""From rows to estimates: proportions, means, thresholds, and their differences."""

from sparsebench.statistics.intervals import COLUMNS as COLUMNS
from sparsebench.statistics.intervals import CONFIDENCE as CONFIDENCE
from sparsebench.statistics.intervals import FEWEST_FOR_A_MEDIAN as FEWEST_FOR_A_MEDIAN
from sparsebench.statistics.intervals import decibel_intervals as decibel_intervals
from sparsebench.statistics.intervals import mean_interval as mean_interval
from sparsebench.statistics.intervals import median_interval as median_interval
from sparsebench.statistics.intervals import student_interval as student_interval
from sparsebench.statistics.intervals import wilson as wilson
from sparsebench.statistics.paired import holm, mcnemar, merged_p_value, threshold_difference
from sparsebench.statistics.thresholds import Threshold as Threshold
from sparsebench.statistics.thresholds import fit_threshold as fit_threshold
from sparsebench.statistics.thresholds import monotone_p_value as monotone_p_value
