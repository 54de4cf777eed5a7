"""Multi-task data sets: real data, as batches of named tasks.

:data:`DATASETS` maps the names that the command line knows to their loaders.
"""

from mtopt.data.augment.augmented import augmented as augmented
from mtopt.data.dataset import ArraySplit as ArraySplit
from mtopt.data.dataset import Dataset as Dataset
from mtopt.data.dataset import Split as Split
from mtopt.data.description import describe as describe
from mtopt.data.description import summary as summary
from mtopt.data.fingerprint import fingerprint as fingerprint
from mtopt.data.folders.celeb_a import celeb_a as celeb_a
from mtopt.data.folders.cityscapes import cityscapes as cityscapes
from mtopt.data.folders.nyuv2 import nyuv2 as nyuv2
from mtopt.data.folders.office_31 import office_31 as office_31
from mtopt.data.folders.office_home import office_home as office_home
from mtopt.data.images.cifar100 import cifar100 as cifar100
from mtopt.data.images.digit_questions import digit_questions as digit_questions
from mtopt.data.images.multi_digits import multi_digits as multi_digits
from mtopt.data.images.multi_mnist import multi_fashion as multi_fashion
from mtopt.data.images.multi_mnist import multi_fashion_mnist as multi_fashion_mnist
from mtopt.data.images.multi_mnist import multi_mnist as multi_mnist
from mtopt.data.images.planted_outliers import planted_outliers as planted_outliers
from mtopt.data.images.scenes import scenes as scenes
from mtopt.data.loader import LoaderSplit as LoaderSplit
from mtopt.data.related_tasks import related_tasks as related_tasks
from mtopt.data.sources import JointDataset as JointDataset
from mtopt.data.sources import join as join
from mtopt.data.stream import StreamSplit as StreamSplit
from mtopt.data.tables.frame import from_frame as from_frame
from mtopt.data.tables.npz import npz as npz
from mtopt.data.tables.table import table as table
from mtopt.data.unlabelled import unlabelled as unlabelled

DATASETS = {
    "digit_questions": digit_questions,
    "multi_digits": multi_digits,
    "multi_mnist": multi_mnist,
    "multi_fashion": multi_fashion,
    "multi_fashion_mnist": multi_fashion_mnist,
    "celeb_a": celeb_a,
    "cifar100": cifar100,
    "cityscapes": cityscapes,
    "npz": npz,
    "nyuv2": nyuv2,
    "office_31": office_31,
    "office_home": office_home,
    "planted_outliers": planted_outliers,
    "related_tasks": related_tasks,
    "scenes": scenes,
    "table": table,
}
"""Every data set by its name."""
