"""How good models are: task metrics, delta-m, ranks, spread over seeds, probes.

NumPy in, Python or NumPy out; nothing here runs inside a compiled step. The probes of
frozen embeddings are in :mod:`mtopt.metrics.probes`.
"""

from mtopt.metrics.delta_m import delta_m_per_metric as delta_m_per_metric
from mtopt.metrics.delta_m import delta_p_per_task as delta_p_per_task
from mtopt.metrics.front import hypervolume as hypervolume
from mtopt.metrics.front import nondominated as nondominated
from mtopt.metrics.holm import holm as holm
from mtopt.metrics.kinds import METRICS as METRICS
from mtopt.metrics.kinds import metrics_of as metrics_of
from mtopt.metrics.ordinal import level_macro_mae as level_macro_mae
from mtopt.metrics.ordinal import level_mae as level_mae
from mtopt.metrics.ordinal import median_level as median_level
from mtopt.metrics.ordinal import quadratic_kappa as quadratic_kappa
from mtopt.metrics.paired import Paired as Paired
from mtopt.metrics.paired import paired_interval as paired_interval
from mtopt.metrics.pixels import absolute_error as absolute_error
from mtopt.metrics.pixels import angles as angles
from mtopt.metrics.pixels import by_batches as by_batches
from mtopt.metrics.pixels import confusion as confusion
from mtopt.metrics.pixels import depth_sums as depth_sums
from mtopt.metrics.pixels import mean_angle as mean_angle
from mtopt.metrics.pixels import mean_iou as mean_iou
from mtopt.metrics.pixels import median_angle as median_angle
from mtopt.metrics.pixels import pixel_accuracy as pixel_accuracy
from mtopt.metrics.pixels import relative_error as relative_error
from mtopt.metrics.pixels import share_below as share_below
from mtopt.metrics.pooled import pooled_metrics as pooled_metrics
from mtopt.metrics.ranks import Ranking as Ranking
from mtopt.metrics.ranks import critical_difference as critical_difference
from mtopt.metrics.ranks import mean_rank as mean_rank
from mtopt.metrics.ranks import ranking as ranking
from mtopt.metrics.ranks import ranks as ranks
from mtopt.metrics.soft_labels import divergence as divergence
from mtopt.metrics.soft_labels import pair_accuracy as pair_accuracy
from mtopt.metrics.soft_labels import top_accuracy as top_accuracy
from mtopt.metrics.spread import mean_and_spread as mean_and_spread
from mtopt.metrics.task_metrics import Metric as Metric
from mtopt.metrics.task_metrics import accuracy as accuracy
from mtopt.metrics.task_metrics import auc as auc
from mtopt.metrics.task_metrics import f1 as f1
from mtopt.metrics.task_metrics import mae as mae
from mtopt.metrics.task_metrics import r2 as r2
from mtopt.metrics.task_metrics import rmse as rmse
