"""R-MTGB in plain NumPy, float64, one equation a line: slow and obvious.

It follows the published learner: K logits also for two classes, a sum over rows in the
gradient of theta, all of block 2 from the old state, stumps by exhaustive search. It
says which rows a tie can reach: those on which stumps of equal gain disagree.
"""

import dataclasses

import numpy as np

TIED = 1e-9


@dataclasses.dataclass
class Stump:
    feature: int
    threshold: float
    left: np.ndarray
    right: np.ndarray

    def __call__(self, x):
        below = x[:, self.feature] <= self.threshold
        return np.where(below[:, None], self.left[None], self.right[None])


def splits(x, r):
    """The best split of every feature: (gain, feature, threshold)."""
    found = []
    for feature in range(x.shape[1]):
        order = np.argsort(x[:, feature], kind="stable")
        values, sorted_r = x[order, feature].astype(float), r[order]
        best = None
        for n_left in range(1, len(x)):
            if values[n_left - 1] == values[n_left]:
                continue
            left, right = sorted_r[:n_left].sum(0), sorted_r[n_left:].sum(0)
            gain = (left**2 / n_left + right**2 / (len(x) - n_left)).sum()
            if best is None or gain > best[0]:
                middle = (values[n_left - 1] + values[n_left]) / 2
                best = (gain, feature, middle)
        if best is not None:
            found.append(best)
    return found


def fit_stump(x, r):
    """The stump of the largest gain, and all whose gain is as good."""
    mean = r.mean(0)
    found = splits(x, r - mean) if len(x) >= 2 and r.var(0).mean() > 2.2e-16 else []
    if not found:
        return [Stump(0, np.inf, mean, np.zeros_like(mean))]
    top = max(gain for gain, _, _ in found)
    stumps = []
    for gain, feature, threshold in found:
        if gain >= top - TIED * abs(top):
            below = x[:, feature] <= threshold
            leaves = r[below].mean(0), r[~below].mean(0)
            stumps.append((gain < top, Stump(feature, threshold, *leaves)))
    return [stump for _, stump in sorted(stumps, key=lambda each: each[0])]


def sigmoid(theta):
    return 1 / (1 + np.exp(-theta))


def softmax(p):
    e = np.exp(p - p.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def theta_gradient(r, out, non, theta, task):
    s = sigmoid(theta)
    inner = (r * (out - non)).sum(1)
    return np.array(
        [-inner[task == t].sum() * s[t] * (1 - s[t]) for t in range(len(theta))]
    )


@dataclasses.dataclass
class Fitted:
    scores: np.ndarray  # of all rows, after the last iteration
    thetas: np.ndarray  # before block 2 and after each of its iterations
    tied: np.ndarray  # rows that a tie can reach
    staged: np.ndarray


def boost(x, y, task, train, theta, n1, n2, n3, rate, num_classes=None, start=None):
    """Fits on the rows ``train`` and predicts all, from ``start [T, K]`` or 0 on."""
    x = np.asarray(x, np.float32)
    if num_classes is None:
        target = np.asarray(y, float).reshape(len(x), -1)
    else:
        target = np.eye(num_classes)[y]
    common, out, non = (np.zeros_like(target) for _ in range(3))
    if start is not None:
        common = start[task]
    theta, tied = np.array(theta, float), np.zeros(len(x), bool)
    thetas, staged = [theta], []

    def residual():
        s = sigmoid(theta)[task][:, None]
        p = common + (1 - s) * non + s * out
        return target - (p if num_classes is None else softmax(p)), s, p

    def fitted(rows, apply, r):
        stumps = fit_stump(x[rows], r[rows])
        said = [stump(x) for stump in stumps]
        for other in said[1:]:
            differ = apply & (np.abs(other - said[0]).max(1) > 1e-9)
            assert not (differ & train).any(), "a tie reaches the training rows"
            tied[differ] = True
        return np.where(apply[:, None], said[0], 0)

    everyone = np.ones(len(x), bool)
    for _ in range(n1):
        r, _, _ = residual()
        common = common + rate * fitted(train, everyone, r)
        staged.append(residual()[2])
    for _ in range(n2):
        r, s, _ = residual()
        new_out = out + rate * fitted(train, everyone, s * r)
        new_non = non + rate * fitted(train, everyone, (1 - s) * r)
        gradient = theta_gradient(r[train], out[train], non[train], theta, task[train])
        theta, out, non = theta - rate * gradient, new_out, new_non
        thetas.append(theta)
        staged.append(residual()[2])
    for _ in range(n3):
        r, _, _ = residual()
        for t in range(len(theta)):
            own = task == t
            common = common + rate * fitted(train & own, own, r)
        staged.append(residual()[2])
    return Fitted(residual()[2], np.array(thetas), tied, np.array(staged))
