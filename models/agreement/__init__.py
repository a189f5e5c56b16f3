"""How well machine scores agree with human ones: the statistics of an evaluation (numpy only).

Every function here takes the scores of one item (and trait). None takes several items' scores
together, since agreement over a mixture of scales says nothing: ``over_items`` summarises figures
that were computed item by item.

- ``statistics``: kappas, shares, correlation, mean differences, called with (human, machine);
- ``resampling``: bootstrap intervals, and the paired difference of two machines;
- ``true_scores``: PRMSE, disattenuated correlation, degradation from two people's agreement;
- ``subgroups``, ``scoring_error``: fairness, by standardized means and by regression;
- ``shifts``: drift of distributions, shares and means;
- ``confidence``: calibration, and agreement by confidence;
- ``confusion``, ``items``: counts of combinations; summaries over items.

Underneath lie ``pairs`` (scores with counts), ``regression`` and ``tails`` (t, F and normal).
"""

from models.agreement.confidence import (
    KEPT,
    ConfidenceBin,
    Kept,
    calibration_error_resampled,
    calibration_table,
    expected_calibration_error,
    risk_coverage,
)
from models.agreement.confusion import confusion_matrix
from models.agreement.items import OverItems, over_items
from models.agreement.pairs import Floats, Pairs, Resampled
from models.agreement.regression import Estimate
from models.agreement.resampling import (
    Difference,
    bootstrap,
    bootstrap_interval,
    paired_difference,
    percentile_interval,
    sample_values,
)
from models.agreement.scoring_error import Fairness, FairnessTest, fairness
from models.agreement.shifts import population_stability_index, two_mean_z, two_proportion_z
from models.agreement.statistics import (
    Statistic,
    adjacent_agreement,
    exact_agreement,
    johnson_smd,
    kappa,
    pearson_r,
    pooled_smd,
    quadratic_weighted_kappa,
    r_squared,
    root_mean_squared_error,
    standardized_mean_difference,
    williamson_smd,
)
from models.agreement.subgroups import (
    Population,
    difference_of_standardized_means,
    dsm_resampled,
    smd_within,
)
from models.agreement.true_scores import (
    PRMSE,
    degradation,
    disattenuated_correlation,
    prmse,
    prmse_resampled,
)

__all__ = [
    "KEPT",
    "PRMSE",
    "ConfidenceBin",
    "Difference",
    "Estimate",
    "Fairness",
    "FairnessTest",
    "Floats",
    "Kept",
    "OverItems",
    "Pairs",
    "Population",
    "Resampled",
    "Statistic",
    "adjacent_agreement",
    "bootstrap",
    "bootstrap_interval",
    "calibration_error_resampled",
    "calibration_table",
    "confusion_matrix",
    "degradation",
    "difference_of_standardized_means",
    "disattenuated_correlation",
    "dsm_resampled",
    "exact_agreement",
    "expected_calibration_error",
    "fairness",
    "johnson_smd",
    "kappa",
    "over_items",
    "paired_difference",
    "pearson_r",
    "percentile_interval",
    "pooled_smd",
    "population_stability_index",
    "prmse",
    "prmse_resampled",
    "quadratic_weighted_kappa",
    "r_squared",
    "risk_coverage",
    "root_mean_squared_error",
    "sample_values",
    "smd_within",
    "standardized_mean_difference",
    "two_mean_z",
    "two_proportion_z",
    "williamson_smd",
]
