"""Every method, one import line each; ``METHODS[name](num_tasks, **options)``."""

from mtopt.methods.aligned_mtl import aligned_mtl as aligned_mtl
from mtopt.methods.auto_lambda import auto_lambda as auto_lambda
from mtopt.methods.bloop import bloop as bloop
from mtopt.methods.cagrad import cagrad as cagrad
from mtopt.methods.conflict_free import conflict_free as conflict_free
from mtopt.methods.cosmos_scalarization import (
    cosmos_scalarization as cosmos_scalarization,
)
from mtopt.methods.db_mtl import db_mtl as db_mtl
from mtopt.methods.dualproj import dualproj as dualproj
from mtopt.methods.dynamic_weight_average import (
    dynamic_weight_average as dynamic_weight_average,
)
from mtopt.methods.epo import epo as epo
from mtopt.methods.equal_weighting import equal_weighting as equal_weighting
from mtopt.methods.excess_mtl import excess_mtl as excess_mtl
from mtopt.methods.fairgrad import fairgrad as fairgrad
from mtopt.methods.famo import famo as famo
from mtopt.methods.fixed_weighting import fixed_weighting as fixed_weighting
from mtopt.methods.geometric_loss import geometric_loss as geometric_loss
from mtopt.methods.go4align import go4align as go4align
from mtopt.methods.gradcraft import gradcraft as gradcraft
from mtopt.methods.graddrop import graddrop as graddrop
from mtopt.methods.gradnorm import gradnorm as gradnorm
from mtopt.methods.gradvac import gradvac as gradvac
from mtopt.methods.imgrad import imgrad as imgrad
from mtopt.methods.improvable_gap_balancing import (
    improvable_gap_balancing as improvable_gap_balancing,
)
from mtopt.methods.imtl_g import imtl_g as imtl_g
from mtopt.methods.imtl_l import imtl_l as imtl_l
from mtopt.methods.krum import krum as krum
from mtopt.methods.ldc import ldc as ldc
from mtopt.methods.loss_matching import loss_matching as loss_matching
from mtopt.methods.mgda import mgda as mgda
from mtopt.methods.moco import moco as moco
from mtopt.methods.modo import modo as modo
from mtopt.methods.moml import moml as moml
from mtopt.methods.nash_mtl import nash_mtl as nash_mtl
from mtopt.methods.pareto_mtl import pareto_mtl as pareto_mtl
from mtopt.methods.pbi import pbi as pbi
from mtopt.methods.pcgrad import pcgrad as pcgrad
from mtopt.methods.random_loss_weighting import (
    random_loss_weighting as random_loss_weighting,
)
from mtopt.methods.scale_invariant import scale_invariant as scale_invariant
from mtopt.methods.sdmgrad import sdmgrad as sdmgrad
from mtopt.methods.single_task import single_task as single_task
from mtopt.methods.smooth_tchebycheff import smooth_tchebycheff as smooth_tchebycheff
from mtopt.methods.smooth_tchebycheff_warmup import (
    smooth_tchebycheff_warmup as smooth_tchebycheff_warmup,
)
from mtopt.methods.tchebycheff import tchebycheff as tchebycheff
from mtopt.methods.trimmed_mean import trimmed_mean as trimmed_mean
from mtopt.methods.uncertainty_weighting import (
    uncertainty_weighting as uncertainty_weighting,
)
from mtopt.methods.upgrad import upgrad as upgrad
from mtopt.registry import registry as _registry

METHODS = _registry(globals())
"""Every method by its name: ``METHODS[name](num_tasks, **options)``."""
