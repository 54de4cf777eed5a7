"""Every method by its name: ``METHODS[name](num_tasks, **options)``."""

from collections.abc import Callable

import optax

from mtopt.methods.aligned_mtl import aligned_mtl
from mtopt.methods.auto_lambda import auto_lambda
from mtopt.methods.bloop import bloop
from mtopt.methods.cagrad import cagrad
from mtopt.methods.conflict_free import conflict_free
from mtopt.methods.cosmos_scalarization import cosmos_scalarization
from mtopt.methods.db_mtl import db_mtl
from mtopt.methods.dualproj import dualproj
from mtopt.methods.dynamic_weight_average import dynamic_weight_average
from mtopt.methods.epo import epo
from mtopt.methods.equal_weighting import equal_weighting
from mtopt.methods.excess_mtl import excess_mtl
from mtopt.methods.fairgrad import fairgrad
from mtopt.methods.famo import famo
from mtopt.methods.fixed_weighting import fixed_weighting
from mtopt.methods.geometric_loss import geometric_loss
from mtopt.methods.go4align import go4align
from mtopt.methods.gradcraft import gradcraft
from mtopt.methods.graddrop import graddrop
from mtopt.methods.gradnorm import gradnorm
from mtopt.methods.gradvac import gradvac
from mtopt.methods.imgrad import imgrad
from mtopt.methods.improvable_gap_balancing import improvable_gap_balancing
from mtopt.methods.imtl_g import imtl_g
from mtopt.methods.imtl_l import imtl_l
from mtopt.methods.krum import krum
from mtopt.methods.ldc import ldc
from mtopt.methods.mgda import mgda
from mtopt.methods.moco import moco
from mtopt.methods.modo import modo
from mtopt.methods.moml import moml
from mtopt.methods.nash_mtl import nash_mtl
from mtopt.methods.pareto_mtl import pareto_mtl
from mtopt.methods.pbi import pbi
from mtopt.methods.pcgrad import pcgrad
from mtopt.methods.random_loss_weighting import random_loss_weighting
from mtopt.methods.scale_invariant import scale_invariant
from mtopt.methods.sdmgrad import sdmgrad
from mtopt.methods.single_task import single_task
from mtopt.methods.smooth_tchebycheff import smooth_tchebycheff
from mtopt.methods.smooth_tchebycheff_warmup import smooth_tchebycheff_warmup
from mtopt.methods.tchebycheff import tchebycheff
from mtopt.methods.trimmed_mean import trimmed_mean
from mtopt.methods.uncertainty_weighting import uncertainty_weighting
from mtopt.methods.upgrad import upgrad

METHODS: dict[str, Callable[..., optax.GradientTransformationExtraArgs]] = {
    method.__name__: method
    for method in (
        # baselines
        equal_weighting,
        fixed_weighting,
        single_task,
        # on the losses
        scale_invariant,
        geometric_loss,
        uncertainty_weighting,
        dynamic_weight_average,
        random_loss_weighting,
        imtl_l,
        famo,
        tchebycheff,
        smooth_tchebycheff,
        smooth_tchebycheff_warmup,
        pbi,
        cosmos_scalarization,
        improvable_gap_balancing,
        go4align,
        ldc,
        # on the Gramian
        mgda,
        pcgrad,
        gradvac,
        cagrad,
        imgrad,
        imtl_g,
        nash_mtl,
        fairgrad,
        aligned_mtl,
        upgrad,
        dualproj,
        conflict_free,
        gradcraft,
        krum,
        # on the rows
        gradnorm,
        graddrop,
        db_mtl,
        moco,
        excess_mtl,
        trimmed_mean,
        bloop,
        # on several batches
        modo,
        sdmgrad,
        auto_lambda,
        moml,
        # by preference
        epo,
        pareto_mtl,
    )
}
