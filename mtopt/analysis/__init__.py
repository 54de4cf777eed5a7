"""Analysis of trained models: sharpness, spectra, gradient conflict, gates."""

from mtopt.analysis.conflict import conflict_share as conflict_share
from mtopt.analysis.diagnostics import Diagnostics as Diagnostics
from mtopt.analysis.diagnostics import diagnostics as diagnostics
from mtopt.analysis.diagnostics import magnitude_similarity as magnitude_similarity
from mtopt.analysis.gates import Gates as Gates
from mtopt.analysis.gates import Silence as Silence
from mtopt.analysis.gates import gates as gates
from mtopt.analysis.gates import silence as silence
from mtopt.analysis.power_law import LayerAlpha as LayerAlpha
from mtopt.analysis.power_law import PowerLaw as PowerLaw
from mtopt.analysis.power_law import fit_power_law as fit_power_law
from mtopt.analysis.power_law import layer_alphas as layer_alphas
from mtopt.analysis.power_law import power_law_alpha as power_law_alpha
from mtopt.analysis.sharpness import (
    filter_normalized_direction as filter_normalized_direction,
)
from mtopt.analysis.sharpness import plane as plane
from mtopt.analysis.sharpness import sharpness as sharpness
from mtopt.linalg import cosines as cosines
