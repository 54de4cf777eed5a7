"""Rows of published tables."""

# Metric columns: segmentation (mIoU, pixel accuracy), depth (absolute and relative
# error), surface normals (mean and median angle, share within 11.25, 22.5, 30 degrees).
NYUV2_HIGHER = [True, True, False, False, False, False, True, True, True]


NYUV2_TASKS = ["segmentation"] * 2 + ["depth"] * 2 + ["normal"] * 5


NYUV2_STL = [38.30, 63.76, 0.6754, 0.2780, 25.01, 19.21, 30.14, 57.20, 69.15]


NYUV2_LS = [39.29, 65.33, 0.5493, 0.2263, 28.15, 23.96, 22.09, 47.50, 61.08]


NYUV2_ALIGNED = [40.82, 66.33, 0.53, 0.22, 25.19, 19.71, 28.88, 56.23, 68.54]


NYUV2_NASH = [40.13, 65.93, 0.5261, 0.2171, 25.26, 20.08, 28.40, 55.47, 68.15]


NYUV2_IMTL = [39.35, 65.60, 0.54, 0.23, 26.02, 21.19, 26.20, 53.13, 66.24]


# The ResNet-50 protocol of DB-MTL and Rep-MTL on the same data.
DEEPLAB_STL = [53.50, 75.39, 0.3926, 0.1605, 21.99, 15.16, 39.04, 65.00, 75.16]


DEEPLAB_EW = [53.93, 75.53, 0.3825, 0.1577, 23.57, 17.01, 35.04, 60.99, 72.05]


DEEPLAB_REP = [54.59, 76.04, 0.3750, 0.1542, 21.91, 15.28, 38.37, 64.72, 75.05]


# mIoU, pixel accuracy, absolute and relative depth error; the Δm printed in the table;
# the mean rank over these 16 rows.
CITYSCAPES_HIGHER = [True, True, False, False]


CITYSCAPES_STL = [74.01, 93.16, 0.0125, 27.77]


CITYSCAPES = {
    "LS": ([75.18, 93.49, 0.0155, 46.77], 22.60, 9.4),
    "SI": ([70.95, 91.73, 0.0161, 33.83], 14.11, 12.8),
    "RLW": ([74.57, 93.41, 0.0158, 47.79], 24.38, 12.3),
    "DWA": ([75.24, 93.52, 0.0160, 44.37], 21.45, 9.3),
    "UW": ([72.02, 92.85, 0.0140, 30.13], 5.89, 9.0),
    "FAMO": ([74.54, 93.29, 0.0145, 32.59], 8.13, 8.8),
    "GO4Align": ([72.63, 93.03, 0.0164, 27.58], 8.11, 10.8),
    "MGDA": ([68.84, 91.54, 0.0309, 33.50], 44.14, 13.5),
    "PCGrad": ([75.13, 93.48, 0.0154, 42.07], 18.29, 9.6),
    "GradDrop": ([75.27, 93.53, 0.0157, 47.54], 23.73, 8.8),
    "CAGrad": ([75.16, 93.48, 0.0141, 37.60], 11.64, 8.1),
    "IMTL-G": ([75.33, 93.49, 0.0135, 38.41], 11.10, 6.4),
    "MoCo": ([75.42, 93.55, 0.0149, 34.19], 9.90, 5.3),
    "Nash-MTL": ([75.41, 93.66, 0.0129, 35.02], 6.82, 4.0),
    "FairGrad": ([75.72, 93.68, 0.0134, 32.25], 5.18, 2.3),
    "LDC-MTL": ([74.53, 93.42, 0.0128, 26.79], -0.57, 6.0),
}
