"""QM9: eleven properties of small molecules, from where their atoms are."""

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from mtopt.data.dataset import Dataset
from mtopt.data.prepared.assembly import assembled
from mtopt.data.prepared.choice import TaskFeature
from mtopt.data.prepared.found import PreparedSet
from mtopt.data.prepared.parts import parts_of
from mtopt.data.prepared.samples import Chosen
from mtopt.data.stream import ON_DEVICE_BYTES
from mtopt.data.tasks_kept import kept_names
from mtopt.errors import UserError, expect_one_of

VARIANTS = ("dimenet", "cormorant", "original")
SHARE = 10_000 / 130_831
"""Of all molecules, for validation and for testing, where the files have one split."""
ATOMS = ("charges", "positions")
MEV = 27_211.386246
"""Of a hartree, the unit of energies in the files."""
FEATURES = {
    "alpha": ("alpha", 1.0),
    "cv": ("Cv", 1.0),
    "g": ("G_atomization", MEV),
    "h": ("H_atomization", MEV),
    "homo": ("homo", MEV),
    "lumo": ("lumo", MEV),
    "mu": ("mu", 1.0),
    "r2": ("r2", 1.0),
    "u": ("U_atomization", MEV),
    "u0": ("U0_atomization", MEV),
    "zpve": ("zpve", MEV),
}
"""Task to feature, and what a label is multiplied by."""


def qm9(
    *,
    variant: str = "dimenet",
    tasks: Sequence[str] | None = None,
    folder: str | pathlib.Path | None = None,
    seed: int = 0,
    on_device_bytes: int = ON_DEVICE_BYTES,
) -> Dataset:
    """Eleven properties of 130,831 molecules of up to nine atoms of C, N, O and F.

    All were computed by density functional theory (B3LYP) at the geometry that is the
    input. Read from the set that tfds has prepared; see :func:`mtopt.data.tfds`.

    ========== ============================================== ======================
    task       property                                       unit of its errors
    ========== ============================================== ======================
    ``mu``     dipole moment                                  debye
    ``alpha``  isotropic polarisability                       cubed Bohr radii
    ``homo``   energy of the highest occupied orbital         meV
    ``lumo``   energy of the lowest unoccupied orbital        meV
    ``r2``     electronic spatial extent                      squared Bohr radii
    ``zpve``   zero-point vibrational energy                  meV
    ``u0``     internal energy at 0 K, of atomisation         meV
    ``u``      internal energy at 298.15 K, of atomisation    meV
    ``h``      enthalpy at 298.15 K, of atomisation           meV
    ``g``      free energy at 298.15 K, of atomisation        meV
    ``cv``     heat capacity at 298.15 K                      cal / (mol K)
    ========== ============================================== ======================

    Targets lose the mean and the standard deviation of the training molecules; errors
    are reported in the units above.

    Args:
      variant: the configuration of the prepared set, whose parts are used:
        ``dimenet`` (110,000 / 10,000 / 10,831 molecules), ``cormorant`` (100,000 /
        17,748 / 13,083), or ``original``, of which 10,000 are drawn for validation and
        as many for testing.
      tasks: the names of those to keep; None keeps all.
      folder: the folder of prepared sets; None for tfds's own.
      seed: of the draw of parts, where the variant has none.
      on_device_bytes: the most that all samples may take on the device; they take
        about 80 MB.

    Returns:
      The tasks, regressions on shared inputs: ``x`` is float32 ``[n, 29, 4]``, of each
      atom its atomic number and its place in angstroms, and zeros behind the last one,
      as :func:`mtopt.models.message_passing.message_passing` takes them.

    Raises:
      UserError: for an unknown variant, one that is not prepared, or a name that is no
        task.

    Example:
      >>> qm9(variant="cormorant", folder="/nowhere")
      Traceback (most recent call last):
      mtopt.errors.UserError: no qm9/cormorant in /nowhere: expected it to be \
prepared, which `tfds build qm9/cormorant --file_format=array_record \
--data_dir=/nowhere` does; it needs TensorFlow, here or on another machine

    References:
      Ramakrishnan et al., Quantum chemistry structures and properties of 134 kilo
      molecules, Scientific Data 1, 2014. As eleven tasks: Navon et al., Multi-Task
      Learning as a Bargaining Game, 2022, arXiv 2202.01017.

    Differences from released code:
      Nash-MTL and LibMTL draw 10,000 molecules for testing and 10,000 for validation
      from PyTorch Geometric's copy; their networks also read bonds and eleven features
      of an atom, and LibMTL scales targets by the moments of all molecules, those
      tested on too. Their ``U0``, ``U``, ``H`` and ``G`` are energies of atomisation,
      as here.
    """
    expect_one_of("variant", variant, VARIANTS)
    found = PreparedSet.of(f"qm9/{variant}", folder)
    kept = kept_names(tuple(FEATURES), tasks)
    own = [
        TaskFeature(t, FEATURES[t][0], "regression", (), FEATURES[t][1]) for t in kept
    ]
    needed = {*ATOMS, *(task.feature for task in own)}
    if lacking := sorted(needed - found.features.keys()):
        raise UserError(
            f"{found.path} has no feature {', '.join(lacking)}: expected those of the "
            "qm9 of tensorflow-datasets"
        )
    chosen = Chosen(ATOMS, None, (tuple(own),), combine=molecule)
    parts = parts_of(found, {"valid": SHARE, "test": SHARE}, seed)
    data = assembled(chosen, parts, on_device_bytes=on_device_bytes)
    assert isinstance(data, Dataset)
    return data


def molecule(features: Mapping[str, np.ndarray]) -> Float[np.ndarray, "n 4"]:
    """Atoms as rows: the atomic number, then the place.

    Args:
      features: ``charges`` ``[n]`` and ``positions`` ``[n, 3]``.

    Example:
      >>> molecule({"charges": np.array([8, 0]), "positions": np.ones((2, 3))}).tolist()
      [[8.0, 1.0, 1.0, 1.0], [0.0, 1.0, 1.0, 1.0]]
    """
    charges = features["charges"][:, None]
    return np.concatenate([charges, features["positions"]], axis=1, dtype=np.float32)
