"""Objectives of self-supervised learning, written out from their publications for generate.py.

A formula takes a Batch and returns the loss and its terms in the order in which the C++ objective
has them. It is plain on purpose: loops over views and pairs, whole matrices.
"""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F


class Batch:
    """What an objective sees: embeddings, targets, labels, time, and what it has itself."""

    def __init__(self, z, targets, labels, epoch, parameters, state):
        self.z, self.targets, self.labels, self.epoch = z, targets, labels, epoch
        self.parameters, self.state = parameters, state

    def predict(self, x):
        """Linear without bias, batch-norm, ReLU, Linear."""
        p = self.parameters
        h = F.linear(x, p["predictor.0.weight"])
        h = F.batch_norm(h, None, None, p["predictor.1.weight"], p["predictor.1.bias"], True)
        return F.linear(F.relu(h), p["predictor.3.weight"], p["predictor.3.bias"])


def pairs(views):
    return [(a, b) for a in range(views) for b in range(a + 1, views)]


def ordered_pairs(views):
    return [(a, b) for a in range(views) for b in range(views) if a != b]


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def off_diagonal(c):
    return c - torch.diag(torch.diag(c))


def cov(z):
    x = z - z.mean(0)
    return x.T @ x / (len(z) - 1)


def cosine(x, y):
    return F.cosine_similarity(x, y, dim=1, eps=0).mean()


# ---------------------------------------------------------------------------- formulas


def vicreg_terms(z, halve=True, gamma=1, eps=1e-4):
    d = z[0].shape[1]
    invariance = mean(F.mse_loss(z[a], z[b]) for a, b in pairs(len(z)))
    variance = 2 * mean(F.relu(gamma - torch.sqrt(x.var(0) + eps)).mean() for x in z)
    covariance = 2 * mean(off_diagonal(cov(x)).pow(2).sum() / d for x in z)
    return invariance, variance / 2 if halve else variance, covariance


def vicreg(batch, halve_variance=True, invariance=25, variance=25, covariance=1, gamma=1, eps=1e-4):
    s, v, c = vicreg_terms(batch.z, halve_variance, gamma, eps)
    return invariance * s + variance * v + covariance * c, s, v, c


def logdet_entropy(z, beta=1e-3):
    d = z.shape[1]
    return torch.logdet(cov(z) + beta * torch.eye(d, dtype=z.dtype)) / (2 * d)


def pairwise_information(z, s2=0, bound="lower"):
    n, d = z.shape
    c = {"upper": 2, "lower": 8}[bound]
    s2 = s2 or 2 * d / (c * math.log(n))
    distance = (z[:, None, :] - z[None, :, :]).pow(2).sum(2)
    return math.log(n) - torch.logsumexp(-distance / (c * s2), dim=1).mean()


def vicreg_entropy(batch, h, weight, regulariser="replace"):
    s, v, c = vicreg_terms(batch.z)
    entropy = mean(h(z) for z in batch.z)
    if regulariser == "replace":
        return 25 * s - weight * entropy, s, entropy
    return 25 * s + 25 * v + c - weight * entropy, s, v, c, entropy


def vicreg_logdet(batch, entropy=10, beta=1e-3, regulariser="replace"):
    return vicreg_entropy(batch, lambda z: logdet_entropy(z, beta), entropy, regulariser)


def vicreg_pairdist(batch, entropy=2, s2=0, bound="lower", regulariser="replace"):
    c, d = {"upper": 2, "lower": 8}[bound], batch.z[0].shape[1]
    if regulariser == "replace":
        s2 = s2 or entropy * d / (2 * c * 25)
    h = lambda z: pairwise_information(z, s2, bound)
    return vicreg_entropy(batch, h, entropy, regulariser)


def barlow_twins(batch, scale=1, off_weight=5e-3, eps=1e-5):
    n, d = batch.z[0].shape
    x = [F.batch_norm(z, None, None, training=True, eps=eps) for z in batch.z]
    c = [x[a].T @ x[b] / n for a, b in pairs(len(x))]
    on = mean((torch.diag(m) - 1).pow(2).sum() for m in c)
    off = mean(off_diagonal(m).pow(2).sum() for m in c)
    return scale * (on + off_weight * off), on, off


def iter_norm(z, steps):
    x = z - z.mean(0)
    eye = torch.eye(z.shape[1], dtype=z.dtype)
    s = x.T @ x / len(z) + 1e-5 * eye
    p = eye
    for _ in range(steps):
        p = 1.5 * p - 0.5 * p @ p @ p @ (s / torch.trace(s))
    return x @ p / torch.trace(s).sqrt()


def vibcreg(batch, iter_norm_steps=0, group=32):
    whiten = lambda x: torch.cat([iter_norm(part, iter_norm_steps) for part in x.split(group, 1)], 1)
    z = [whiten(x) if iter_norm_steps else x for x in batch.z]
    s, v, _ = vicreg_terms(z, halve=False)
    correlations = [F.normalize(x - x.mean(0), dim=0) for x in z]
    c = 2 * mean(off_diagonal(x.T @ x).pow(2).mean() for x in correlations)
    return 25 * s + 25 * v + 200 * c, s, v, c


def contrast(z, groups, temperature):
    """Row by row: every other row is a candidate, those of the same group are right."""
    x = F.normalize(torch.cat(z))
    groups = groups.repeat(len(z))
    similarity = x @ x.T
    losses, positives, hits = [], [], []
    for i in range(len(x)):
        others = torch.arange(len(x)) != i
        right = others & (groups == groups[i])
        log_p = similarity[i] / temperature - torch.logsumexp(similarity[i][others] / temperature, 0)
        losses.append(-log_p[right].mean())
        positives.append(similarity[i][right].mean())
        hits.append(right[torch.where(others, similarity[i], -2.0).argmax()].double())
    return torch.stack(losses).mean(), torch.stack(positives).mean(), torch.stack(hits).mean()


def simclr(batch, temperature=0.5):
    return contrast(batch.z, torch.arange(len(batch.z[0])), temperature)


def supcon(batch, temperature=0.1):
    return contrast(batch.z, batch.labels, temperature)


def simsiam(batch):
    z, p = batch.z, [batch.predict(z) for z in batch.z]
    c = mean(cosine(p[a], z[b].detach()) for a, b in ordered_pairs(len(z)))
    spread = F.normalize(z[0]).std(0).mean() * math.sqrt(z[0].shape[1])
    return -c, c, spread


def byol(batch):
    p = [batch.predict(z) for z in batch.z]
    c = mean(cosine(p[a], batch.targets[b]) for a, b in ordered_pairs(len(p)))
    return 2 * (2 - 2 * c), c


def byol_entropy(batch, h, weight):
    loss, c = byol(batch)
    entropy = mean(h(F.normalize(z) * math.sqrt(z.shape[1])) for z in batch.z)
    return loss - weight * entropy, c, entropy


def byol_logdet(batch, entropy=0.1):
    return byol_entropy(batch, logdet_entropy, entropy)


def byol_pairdist(batch, entropy=0.1):
    return byol_entropy(batch, pairwise_information, entropy)


def moco_v3(batch, temperature=0.2):
    q = [F.normalize(batch.predict(z)) for z in batch.z]
    k = [F.normalize(t) for t in batch.targets]
    own = torch.arange(len(q[0]))
    one = [2 * temperature * F.cross_entropy(q[a] @ k[b].T / temperature, own)
           for a, b in ordered_pairs(len(q))]
    return 2 * mean(one), mean((q[a] * k[b]).sum(1).mean() for a, b in ordered_pairs(len(q)))


def sinkhorn(scores, eps, iterations):
    q = torch.exp(scores / eps).T
    q = q / q.sum()
    k, n = q.shape
    for _ in range(iterations):
        q = q / q.sum(1, keepdim=True) / k
        q = q / q.sum(0, keepdim=True) / n
    return (q * n).T


def swav(batch, temperature=0.1, eps=0.05, iterations=3, code_views=2, queue=0):
    with torch.no_grad():
        batch.parameters["prototypes"].copy_(F.normalize(batch.parameters["prototypes"]))
    c = batch.parameters["prototypes"]
    c = c.detach() if batch.epoch < 1 else c
    x = [F.normalize(z) for z in batch.z]
    n = len(x[0])
    total = 0
    for a in range(min(code_views, len(x))):
        with torch.no_grad():
            past = batch.state.get(a, x[a][:0])
            known = torch.cat([x[a], past]) if queue and len(past) == queue else x[a]
            q = sinkhorn(known @ c.T, eps, iterations)[:n]
            batch.state[a] = torch.cat([x[a].detach(), past])[:queue]
        total = total + mean(-(q * F.log_softmax(x[b] @ c.T / temperature, 1)).sum(1).mean()
                             for b in range(len(x)) if b != a)
    used = F.softmax(x[0] @ c.T / temperature, 1).mean(0)
    return total / min(code_views, len(x)), torch.exp(-(used * used.log()).sum())


def w_mse(batch, eps=0.0):
    """One part: the whole batch."""
    white = []
    for z in batch.z:
        c = (1 - eps) * cov(z) + eps * torch.eye(z.shape[1], dtype=z.dtype)
        white.append((torch.inverse(torch.linalg.cholesky(c)) @ (z - z.mean(0)).T).T)
    return (mean(2 - 2 * cosine(white[a], white[b]) for a, b in pairs(len(white))),)


def tcr(batch, eps=0.2, similarity_weight=200, rate_weight=1):
    x = [F.normalize(z) for z in batch.z]
    n, d = x[0].shape
    eye = torch.eye(d, dtype=x[0].dtype)
    rate = mean(0.5 * torch.logdet(eye + d / (n * eps) * v.T @ v) for v in x)
    centre = sum(x) / len(x)
    similarity = mean(cosine(v, centre) for v in x)
    return -similarity_weight * similarity - rate_weight * rate, similarity, rate


def corinfomax(batch, old=0.01, eps=1e-8, invariance=250):
    x = [F.normalize(z) for z in batch.z]
    n, d = x[0].shape
    eye = torch.eye(d, dtype=torch.float64)
    s, spread = F.mse_loss(x[0], x[1]), 0
    for v in range(2):
        r, mu = batch.state.get(v, (eye, torch.zeros(d, dtype=torch.float64)))
        mu = old * mu.detach() + (1 - old) * x[v].mean(0)
        r = old * r.detach() + (1 - old) * (x[v] - mu).T @ (x[v] - mu) / n
        batch.state[v] = (r.detach(), mu.detach())
        spread = spread + torch.logdet(r + eps * eye) / d
    return invariance * s - spread, s, spread


def mec(batch, eps=64, order=4):
    p = [F.normalize(batch.predict(z)) for z in batch.z]
    t = [F.normalize(x) for x in batch.targets]
    n, d = p[0].shape
    inverse = n * eps / d * (8 - 7 * min(batch.epoch / 10, 1))

    def series(a, b):
        c = p[a] @ t[b].T / inverse
        power, total = torch.eye(n, dtype=c.dtype), 0
        for k in range(1, order + 1):
            power = power @ c
            total = total + (-1) ** (k + 1) * power / k
        return torch.trace(total)

    length = mean(series(a, b) for a, b in ordered_pairs(len(p)))
    return -length / n * inverse, torch.tensor(inverse, dtype=torch.float64)


def sigreg(batch, knots=33, t_max=3.0, weight=0.05):
    """One dimension: there is but one direction, up to its sign."""
    t = torch.linspace(-t_max, t_max, knots, dtype=torch.float64)
    gauss = torch.exp(-t * t / 2)
    centre = sum(batch.z) / len(batch.z)
    s = mean((z - centre).pow(2).mean() for z in batch.z)

    def statistic(u):
        empirical = torch.exp(1j * u[:, None] * t).mean(0)
        return len(u) * torch.trapezoid((empirical - gauss).abs().pow(2) * gauss, t)

    normal = mean(statistic(z[:, 0]) for z in batch.z)
    return (1 - weight) * s + weight * normal, s, normal


# ---------------------------------------------------------------------------- cases
#
# name: formula, its options there, the configuration here, and the shapes. `steps` batches follow
# each other; the first is that of `epoch`, each lasts `per_step` epochs.


def case(formula, options=None, config=None, n=8, d=5, views=2, steps=1, epoch=2.0, per_step=1.0,
         labels=0, hidden=0, prototypes=0, targets=False, scale=1.5):
    return dict(formula=formula, options=options or {}, n=n, d=d, views=views, steps=steps,
                epoch=epoch, per_step=per_step, labels=labels, hidden=hidden,
                prototypes=prototypes, targets=targets, scale=scale,
                config={"name": formula.__name__} | (options or {} if config is None else config))


hidden = {"hidden": 7}
averaged = dict(config=hidden, hidden=7, targets=True)
CASES = {
    "vicreg": case(vicreg),
    "vicreg/not_halved": case(vicreg, {"halve_variance": False}),
    "vicreg/three_views": case(vicreg, views=3),
    "vicreg/wide": case(vicreg, n=4, d=12),
    "vicreg/weights": case(vicreg, {"invariance": 3, "variance": 7, "covariance": 0.5,
                                    "gamma": 1.5, "eps": 0.02}),
    "vicreg_logdet": case(vicreg_logdet),
    "vicreg_logdet/wide": case(vicreg_logdet, {"beta": 0.01, "entropy": 3}, n=5, d=9),
    "vicreg_logdet/add": case(vicreg_logdet, {"regulariser": "add"}, views=3),
    "vicreg_pairdist": case(vicreg_pairdist),
    "vicreg_pairdist/upper": case(vicreg_pairdist, {"bound": "upper", "s2": 0.7, "entropy": 5}),
    "vicreg_pairdist/add": case(vicreg_pairdist, {"regulariser": "add"}),
    "barlow_twins": case(barlow_twins),
    "barlow_twins/wide": case(barlow_twins, {"scale": 0.1}, n=4, d=11, views=3),
    "barlow_twins/weights": case(barlow_twins, {"off_weight": 0.2, "eps": 0.03},
                                 {"lambda": 0.2, "eps": 0.03}),
    "vibcreg": case(vibcreg),
    "vibcreg/whitened": case(vibcreg, {"iter_norm_steps": 5}, {"iter_norm": 5}, n=12, d=4),
    "vibcreg/groups": case(vibcreg, {"iter_norm_steps": 3, "group": 4}, {"iter_norm": 3, "group": 4},
                           n=12, d=8, views=3),
    "simclr": case(simclr),
    "simclr/four_views": case(simclr, {"temperature": 0.1}, n=5, views=4),
    "supcon": case(supcon, labels=3),
    "supcon/three_views": case(supcon, {"temperature": 0.5}, n=6, views=3, labels=4),
    "simsiam": case(simsiam, config=hidden, hidden=7),
    "simsiam/three_views": case(simsiam, config=hidden, hidden=7, views=3),
    "byol": case(byol, **averaged),
    "byol/three_views": case(byol, views=3, **averaged),
    "byol_logdet": case(byol_logdet, **averaged),
    "byol_pairdist": case(byol_pairdist, **averaged),
    "moco_v3": case(moco_v3, **averaged),
    "swav": case(swav, config={"prototypes": 6}, prototypes=6),
    "swav/frozen_then_not": case(swav, config={"prototypes": 6}, prototypes=6, epoch=0.5, steps=2),
    "swav/multi_crop": case(swav, config={"prototypes": 4}, prototypes=4, views=4),
    "swav/queue": case(swav, {"queue": 16}, {"prototypes": 6, "queue": 16, "queue_epoch": 0},
                       prototypes=6, steps=4, epoch=0.0, per_step=0.5),
    "w_mse": case(w_mse, n=12),
    "w_mse/shrunk": case(w_mse, {"eps": 0.1}, n=6, d=8, views=3),
    "w_mse/repeated": case(w_mse, {}, {"iterations": 3}, n=12),
    "tcr": case(tcr),
    "tcr/many_views": case(tcr, n=4, d=9, views=5),
    "tcr/weights": case(tcr, {"similarity_weight": 3, "rate_weight": 0.7, "eps": 0.5},
                        {"similarity": 3, "rate": 0.7, "eps": 0.5}),
    "corinfomax": case(corinfomax, steps=3, n=12),
    "corinfomax/long_memory": case(corinfomax, {"old": 0.7}, steps=3),
    "corinfomax/weights": case(corinfomax, {"invariance": 40, "eps": 0.01}, steps=2),
    "mec": case(mec, **averaged),
    "mec/order_three": case(mec, {"order": 3, "eps": 20}, {"order": 3, "eps": 20} | hidden,
                            hidden=7, targets=True, views=3, epoch=11.0),
    "sigreg": case(sigreg, d=1, n=9),
    "sigreg/paper": case(sigreg, {"knots": 17, "t_max": 5.0}, d=1, n=9),
    "sigreg/weights": case(sigreg, {"weight": 0.4, "knots": 9, "t_max": 3.0},
                           {"lambda": 0.4, "knots": 9, "t_max": 3.0}, d=1, n=9, views=3),
}


def generate(uniform, initial, below, record):
    """The functions are generate.py's."""
    out = {}
    for name, c in CASES.items():
        shapes = {}
        if c["hidden"]:
            h, d = c["hidden"], c["d"]
            shapes = {"predictor.0.weight": [h, d], "predictor.1.weight": [h],
                      "predictor.1.bias": [h], "predictor.3.weight": [d, h], "predictor.3.bias": [d]}
        if c["prototypes"]:
            shapes = {"prototypes": [c["prototypes"], c["d"]]}
        parameters = {key: nn.Parameter(initial(f"{name}/{key}", shape))
                      for key, shape in shapes.items()}
        state, steps = {}, []
        for step in range(c["steps"]):
            make = lambda what: [uniform(f"{name}/step{step}/{what}{v}", [c["n"], c["d"]],
                                         0.1 * v, c["scale"]) for v in range(c["views"])]
            z = [x.requires_grad_() for x in make("z")]
            labels = None
            if c["labels"]:
                labels = torch.from_numpy(below(f"{name}/step{step}/labels", c["n"], c["labels"]))
            for p in parameters.values():
                p.grad = None
            epoch = c["epoch"] + step * c["per_step"]
            batch = Batch(z, make("t") if c["targets"] else [], labels, epoch, parameters, state)
            loss, *terms = c["formula"](batch, **c["options"])
            loss.backward()
            grads = {f"z{v}": record(x.grad) for v, x in enumerate(z)}
            total = math.sqrt(sum(g["norm"] ** 2 for g in grads.values()))
            grads |= {key: record(p.grad, 1e-12 * total) for key, p in parameters.items()
                      if p.grad is not None}
            steps.append({"epoch": epoch, "loss": float(loss.detach()),
                          "terms": [float(t.detach()) for t in terms], "grads": grads})
        out[name] = {"config": c["config"], "n": c["n"], "d": c["d"], "views": c["views"],
                     "scale": c["scale"], "targets": c["targets"], "labels": c["labels"],
                     "steps": steps}
        print(f"objectives: {name}: " + " ".join(f"{s['loss']:.6f}" for s in steps))
    return out
