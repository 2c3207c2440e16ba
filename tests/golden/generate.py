#!/usr/bin/env python3
"""Writes the golden files: what PyTorch computes in f64, for the C++ tests beside this script.

usage: generate.py [--check] [ops] [objectives] [networks] [optimisers]

Writes ops.json, objectives.json, ... beside itself, or only those named. With
--check it writes nothing, but computes everything again and compares with the files. This folder
is the only place of the tests that uses PyTorch; needs torch and torchvision.

## Values that both sides make themselves

No input and no weight is stored. Element i of the tensor called `name` comes from an integer hash
(golden.hpp has the same one in C++):

    mix(z):  z += 0x9E3779B97F4A7C15;  z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
             z = (z ^ z>>27) * 0x94D049BB133111EB;  z ^ z>>31             (splitmix64, modulo 2^64)
    hash(name, i) = mix(fnv1a64(name) + i * 0x9E3779B97F4A7C15)
    unit(name, i) = (hash(name, i) >> 40) / 2^23 - 1       in [-1, 1), 24 bits
    below(name, i, n) = ((hash(name, i) >> 40) * n) >> 24  an integer in [0, n)
    value = offset + scale * unit                          rounded to f32, so f32 and f64 runs agree

i counts the elements in PyTorch's order, row-major, images [N,C,H,W] and convolution weights
[O,I,kh,kw]. Here **every 4-D tensor is an image or a convolution weight**, so the one rule for
layouts is: the C++ side holds each 4-D tensor permuted by (0,2,3,1), and permutes it back by
(0,3,1,2) before it counts. Offset and scale of weights follow from name and rank: `initial()`.

## What is stored of a tensor

    shape        PyTorch's
    norm         sqrt(sum x_i^2)
    projections  8 numbers sum_i s_ki x_i, s_ki = +1 if bit k of hash("projection", i) is set, or -1
    samples      64 elements, those at hash("sample", j) mod numel for j = 0..63; a tensor of at
                 most 64 elements is stored whole, in order, and needs no projections

A gradient that is zero but for rounding (a bias in front of batch-norm) has noise for numbers: it
is stored as {"shape", "zero": true}, which says that its norm is below 1e-12 of the norm of all
gradients of the case together.
"""

import json
import math
import os
import sys

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import torchvision
from torchvision.models.resnet import BasicBlock

import objectives

HERE = os.path.dirname(os.path.abspath(__file__))
SAMPLES = 64
GOLDEN_GAMMA = 0x9E3779B97F4A7C15

# ---------------------------------------------------------------------------- the hash


def fnv1a64(name):
    h = 0xCBF29CE484222325
    for byte in name.encode():
        h = ((h ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return h


def hashes(name, count):
    """hash(name, i) for i = 0..count-1 as uint64."""
    with np.errstate(over="ignore"):
        z = np.arange(count, dtype=np.uint64) * np.uint64(GOLDEN_GAMMA) + np.uint64(fnv1a64(name))
        z += np.uint64(GOLDEN_GAMMA)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def unit(name, count):
    return (hashes(name, count) >> np.uint64(40)).astype(np.float64) / 2.0**23 - 1.0


def below(name, count, n):
    return ((hashes(name, count) >> np.uint64(40)) * np.uint64(n) >> np.uint64(24)).astype(np.int64)


def uniform(name, shape, offset=0.0, scale=1.0):
    """offset + scale * unit, rounded to f32, held in f64."""
    values = offset + scale * unit(name, math.prod(shape))
    return torch.from_numpy(values.astype(np.float32).astype(np.float64)).reshape(shape)


def initial(name, shape):
    """The weights of a network: a rule for each kind of parameter and buffer."""
    if len(shape) >= 2:  # convolution or linear weight: Kaiming's bound for ReLU
        return uniform(name, shape, 0.0, math.sqrt(6.0 / math.prod(shape[1:])))
    if name.endswith(".weight") or name.endswith(".running_var"):  # batch-norm
        return uniform(name, shape, 1.0, 0.2)
    return uniform(name, shape, 0.0, 0.1)  # biases, running means


# ---------------------------------------------------------------------------- what is stored


def record(tensor, zero_below=0.0):
    x = tensor.detach().double().reshape(-1).numpy()
    assert np.isfinite(x).all()
    out = {"shape": list(tensor.shape)}
    norm = float(np.linalg.norm(x))
    if norm < zero_below:
        return out | {"zero": True}
    out["norm"] = norm
    if x.size > SAMPLES:
        bits = hashes("projection", x.size)
        signs = [(bits >> np.uint64(k) & np.uint64(1)).astype(float) * 2 - 1 for k in range(8)]
        out["projections"] = [float(s @ x) for s in signs]
        x = x[hashes("sample", SAMPLES) % np.uint64(x.size)]
    out["samples"] = x.tolist()
    return out


def gradients(named):
    """Records of {name: tensor with .grad}, with the rule for gradients that are zero."""
    total = math.sqrt(sum(float(t.grad.double().norm()) ** 2 for t in named.values()))
    return {name: record(t.grad, 1e-12 * total) for name, t in named.items()}


# ---------------------------------------------------------------------------- single operations
#
# A case is a function of named inputs. Its outputs are stored, and for each floating-point input x
# not marked grad=False the gradient of sum_k <output_k, r_k>, r_k = unit("<case>/cotangent<k>").


def u(*shape, offset=0.0, scale=1.0, grad=True):
    return dict(kind="uniform", shape=list(shape), offset=offset, scale=scale, grad=grad)


def grid(*shape, levels, offset=0.0, scale=1.0, grad=True):
    """offset + scale * below(levels): few distinct values, so there are ties."""
    shape = list(shape)
    return dict(kind="grid", shape=shape, levels=levels, offset=offset, scale=scale, grad=grad)


def ints(*shape, n):
    return dict(kind="ints", shape=list(shape), levels=n, grad=False)


def values(v, grad=True):
    t = torch.tensor(v, dtype=torch.float64)
    return dict(kind="values", shape=list(t.shape), values=t.flatten().tolist(), grad=grad)


def make_input(name, spec):
    count = math.prod(spec["shape"])
    if spec["kind"] == "uniform":
        return uniform(name, spec["shape"], spec["offset"], spec["scale"])
    if spec["kind"] == "grid":
        v = spec["offset"] + spec["scale"] * below(name, count, spec["levels"]).astype(np.float64)
        return torch.from_numpy(v).reshape(spec["shape"])
    if spec["kind"] == "ints":
        return torch.from_numpy(below(name, count, spec["levels"])).reshape(spec["shape"])
    return torch.tensor(spec["values"], dtype=torch.float64).reshape(spec["shape"])


def batch_norm(x, mean, var, weight=None, bias=None, training=True, momentum=0.1, eps=1e-5):
    mean, var = mean.clone(), var.clone()
    y = F.batch_norm(x, mean, var, weight, bias, training, momentum, eps)
    return y, mean, var


def spd(a):
    return a @ a.mT + torch.eye(a.shape[-1], dtype=a.dtype)


def off_diagonal(c):
    return c - torch.diag(torch.diag(c))


def vicreg(za, zb, halve_variance=True):
    """As published (official code): total, then invariance, variance and covariance terms."""
    n, d = za.shape
    invariance = F.mse_loss(za, zb)
    variance, covariance = 0.0, 0.0
    for z in (za, zb):
        z = z - z.mean(0)
        std = torch.sqrt(z.var(0) + 1e-4)
        variance = variance + F.relu(1 - std).mean() * (0.5 if halve_variance else 1.0)
        covariance = covariance + off_diagonal(z.T @ z / (n - 1)).pow(2).sum() / d
    return 25 * invariance + 25 * variance + covariance, invariance, variance, covariance


def vicreg_logged(za, zb, halve_variance=True):
    """The parts of the loss without gradients, as one logs them."""
    total, *terms = vicreg(za, zb, halve_variance)
    return total, *(t.detach() for t in terms)


def sort(x, dim, descending=False):
    return torch.sort(x, dim=dim, descending=descending, stable=True)


running = dict(mean=u(5, grad=False), var=u(5, offset=1.0, scale=0.5, grad=False))
bn4 = dict(x=u(3, 5, 4, 3, offset=0.5, scale=2.0)) | running
bn2 = dict(x=u(7, 5)) | running
affine = dict(weight=u(5, offset=1.0, scale=0.5), bias=u(5))
logits = dict(x=u(8, 5, scale=4.0), t=ints(8, n=5))
class_weights = dict(w=u(5, offset=1.0, scale=0.5, grad=False))
halves = grid(20, levels=9, offset=-2.0, scale=0.5)

OPS = [
    # --- convolution: x [N,C,H,W], w [O,C/groups,kh,kw]
    ("conv2d/plain", lambda x, w, b: F.conv2d(x, w, b),
     dict(x=u(2, 3, 7, 6), w=u(4, 3, 3, 3), b=u(4))),
    ("conv2d/padding", lambda x, w: F.conv2d(x, w, padding=1),
     dict(x=u(2, 3, 7, 6), w=u(4, 3, 3, 3))),
    ("conv2d/stride", lambda x, w: F.conv2d(x, w, stride=2, padding=1),
     dict(x=u(2, 3, 8, 7), w=u(4, 3, 3, 3))),
    ("conv2d/stem", lambda x, w: F.conv2d(x, w, stride=2, padding=3),
     dict(x=u(2, 3, 11, 10), w=u(4, 3, 7, 7))),
    ("conv2d/pointwise", lambda x, w: F.conv2d(x, w, stride=2),
     dict(x=u(2, 3, 5, 6), w=u(4, 3, 1, 1))),
    ("conv2d/unequal", lambda x, w: F.conv2d(x, w, stride=(2, 1), padding=(1, 2)),
     dict(x=u(2, 3, 7, 6), w=u(4, 3, 3, 5))),
    ("conv2d/dilation", lambda x, w: F.conv2d(x, w, padding=2, dilation=2),
     dict(x=u(2, 3, 7, 6), w=u(4, 3, 3, 3))),
    ("conv2d/groups", lambda x, w, b: F.conv2d(x, w, b, padding=1, groups=2),
     dict(x=u(2, 4, 5, 6), w=u(6, 2, 3, 3), b=u(6))),
    ("conv2d/depthwise", lambda x, w: F.conv2d(x, w, padding=1, groups=4),
     dict(x=u(2, 4, 5, 6), w=u(8, 1, 3, 3))),
    ("conv2d/all",
     lambda x, w, b: F.conv2d(x, w, b, stride=(2, 3), padding=(2, 1), dilation=(2, 1), groups=2),
     dict(x=u(2, 4, 9, 8), w=u(6, 2, 3, 2), b=u(6))),
    # --- normalisation
    ("batch_norm/train", batch_norm, bn4 | affine),
    ("batch_norm/train_2d", lambda **t: batch_norm(**t, momentum=0.3, eps=1e-3), bn2 | affine),
    ("batch_norm/train_plain", batch_norm, bn4),
    ("batch_norm/eval", lambda **t: batch_norm(**t, training=False), bn4 | affine),
    ("layer_norm/last", lambda x, w, b: F.layer_norm(x, (6,), w, b),
     dict(x=u(3, 4, 6), w=u(6, offset=1.0, scale=0.5), b=u(6))),
    ("layer_norm/two", lambda x, w, b: F.layer_norm(x, (4, 6), w, b, 1e-3),
     dict(x=u(3, 4, 6), w=u(4, 6), b=u(4, 6))),
    ("layer_norm/plain", lambda x: F.layer_norm(x, (6,)), dict(x=u(3, 4, 6))),
    ("normalize/rows", lambda x: F.normalize(x, dim=1), dict(x=u(4, 5))),
    ("normalize/columns", lambda x: F.normalize(x, dim=0), dict(x=u(4, 5))),
    # --- activations and other elementwise functions
    ("gelu/exact", lambda x: F.gelu(x), dict(x=u(50, scale=5.0))),
    ("gelu/tanh", lambda x: F.gelu(x, approximate="tanh"), dict(x=u(50, scale=5.0))),
    ("softplus/default", lambda x: F.softplus(x), dict(x=u(50, scale=30.0))),
    ("softplus/beta_threshold", lambda x: F.softplus(x, beta=3.0, threshold=2.0),
     dict(x=u(50, scale=2.0))),
    ("silu", lambda x: F.silu(x), dict(x=u(50, scale=8.0))),
    ("relu/zero", lambda x: F.relu(x), dict(x=grid(20, levels=5, offset=-2.0))),
    ("leaky_relu", lambda x: F.leaky_relu(x, 0.2), dict(x=grid(20, levels=5, offset=-2.0))),
    ("sigmoid", lambda x: torch.sigmoid(x), dict(x=u(50, scale=40.0))),
    ("tanh", lambda x: torch.tanh(x), dict(x=u(50, scale=10.0))),
    ("erf", lambda x: torch.erf(x), dict(x=u(50, scale=4.0))),
    ("exp", lambda x: torch.exp(x), dict(x=u(50, scale=4.0))),
    ("expm1", lambda x: torch.expm1(x), dict(x=values([-30.0, -1.0, -1e-9, 0.0, 1e-9, 0.5, 3.0]))),
    ("log", lambda x: torch.log(x), dict(x=u(50, offset=2.0, scale=1.9))),
    ("log1p", lambda x: torch.log1p(x), dict(x=values([-0.75, -1e-9, 0.0, 1e-9, 0.5, 3.0, 1e6]))),
    ("sqrt", lambda x: torch.sqrt(x), dict(x=u(50, offset=2.0, scale=1.9))),
    ("rsqrt", lambda x: torch.rsqrt(x), dict(x=u(50, offset=2.0, scale=1.9))),
    ("sin", lambda x: torch.sin(x), dict(x=u(50, scale=20.0))),
    ("cos", lambda x: torch.cos(x), dict(x=u(50, scale=20.0))),
    ("pow/tensor", lambda x, y: torch.pow(x, y), dict(x=u(4, 5, offset=2.0), y=u(5, scale=3.0))),
    ("pow/scalar", lambda x: torch.pow(x, 2.5), dict(x=u(20, offset=2.0))),
    ("pow/zero_base", lambda x: torch.pow(x, 2), dict(x=grid(20, levels=5, offset=-2.0))),
    ("pow/zero_exponent", lambda x: torch.pow(x, 0), dict(x=grid(20, levels=5, offset=-2.0))),
    ("abs/zero", lambda x: torch.abs(x), dict(x=grid(20, levels=5, offset=-2.0))),
    ("sign", lambda x: torch.sign(x), dict(x=grid(20, levels=5, offset=-2.0))),
    ("floor", lambda x: torch.floor(x), dict(x=halves)),
    ("round/half_to_even", lambda x: torch.round(x),
     dict(x=values([-3.5, -2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 3.5, 0.49999999999999994, -2.4]))),
    ("clamp/bounds", lambda x: torch.clamp(x, -1.0, 1.0), dict(x=halves)),
    ("clamp/min", lambda x: torch.clamp(x, min=-1.0), dict(x=halves)),
    ("clamp/max", lambda x: torch.clamp(x, max=1.0), dict(x=halves)),
    ("maximum/ties", lambda x, y: torch.maximum(x, y),
     dict(x=grid(4, 5, levels=3), y=grid(5, levels=3))),
    ("minimum/ties", lambda x, y: torch.minimum(x, y),
     dict(x=grid(4, 5, levels=3), y=grid(5, levels=3))),
    ("where", lambda x, y: torch.where(x > y, x, y * 2), dict(x=u(4, 5), y=u(4, 1))),
    ("div/broadcast", lambda x, y: x / y, dict(x=u(3, 1, 5), y=u(4, 1, offset=2.0))),
    # --- reductions
    ("sum/dims", lambda x: x.sum((0, 2)), dict(x=u(3, 4, 5))),
    ("mean/keepdim", lambda x: x.mean(1, keepdim=True), dict(x=u(3, 4, 5))),
    ("var/all", lambda x: x.var(), dict(x=u(3, 4, 5))),
    ("var/population", lambda x: x.var(1, correction=0), dict(x=u(3, 4, 5))),
    ("var/correction2", lambda x: x.var((0, 2), correction=2), dict(x=u(3, 4, 5))),
    ("std/dim", lambda x: x.std(0), dict(x=u(6, 5))),
    ("std/keepdim", lambda x: x.std((0, 2), correction=0, keepdim=True), dict(x=u(3, 4, 5))),
    ("prod/all", lambda x: x.prod(), dict(x=u(7, offset=1.0, scale=0.5))),
    ("prod/one_zero", lambda x: x.prod(), dict(x=values([2.0, 0.0, -3.0, 0.5]))),
    ("prod/two_zeros", lambda x: x.prod(), dict(x=values([2.0, 0.0, -3.0, 0.0]))),
    ("prod/dim", lambda x: x.prod(1), dict(x=grid(6, 4, levels=5, offset=-2.0))),
    ("max/all_ties", lambda x: x.max(), dict(x=values([1.0, 3.0, 3.0, 2.0, 3.0]))),
    ("min/all_ties", lambda x: x.min(), dict(x=values([1.0, 3.0, 1.0, 2.0, 1.0]))),
    ("max/dim", lambda x: tuple(x.max(1)), dict(x=u(4, 7, 3))),
    ("min/dim", lambda x: tuple(x.min(0)), dict(x=u(4, 7, 3))),
    ("argmax", lambda x: x.argmax(2), dict(x=u(4, 3, 7))),
    ("logsumexp/dim", lambda x: torch.logsumexp(x, 1), dict(x=u(4, 7, 3, scale=30.0))),
    ("logsumexp/large", lambda x: torch.logsumexp(x, 0, keepdim=True),
     dict(x=u(7, 3, offset=5000.0, scale=30.0))),
    ("softmax", lambda x: torch.softmax(x, 1), dict(x=u(4, 7, 3, scale=30.0))),
    ("log_softmax", lambda x: torch.log_softmax(x, -1), dict(x=u(4, 7, scale=300.0))),
    ("cumsum/first", lambda x: torch.cumsum(x, 0), dict(x=u(5, 4))),
    ("cumsum/middle", lambda x: torch.cumsum(x, 1), dict(x=u(3, 5, 4))),
    ("norm/all", lambda x: torch.linalg.vector_norm(x), dict(x=u(5, 4))),
    ("norm/dim", lambda x: torch.linalg.vector_norm(x, dim=1, keepdim=True), dict(x=u(5, 4))),
    ("norm/zero", lambda x: torch.linalg.vector_norm(x), dict(x=values([0.0, 0.0, 0.0]))),
    ("norm/one", lambda x: torch.linalg.vector_norm(x, 1, dim=0), dict(x=u(5, 4))),
    # --- order: stable sort, values and indices
    ("sort/ties", lambda x: sort(x, 1), dict(x=grid(4, 9, levels=4))),
    ("sort/ties_descending", lambda x: sort(x, 1, True), dict(x=grid(4, 9, levels=4))),
    ("sort/first", lambda x: sort(x, 0), dict(x=u(7, 3))),
    ("topk/largest", lambda x: torch.topk(x, 3, dim=1), dict(x=u(4, 9))),
    ("topk/smallest", lambda x: torch.topk(x, 2, dim=0, largest=False), dict(x=u(6, 4))),
    # --- products
    ("matmul/plain", lambda x, y: x @ y, dict(x=u(3, 4), y=u(4, 5))),
    ("matmul/batched", lambda x, y: x @ y, dict(x=u(2, 3, 4), y=u(2, 4, 5))),
    ("matmul/broadcast", lambda x, y: x @ y, dict(x=u(2, 3, 4), y=u(4, 5))),
    ("matmul/vector", lambda x, y: x @ y, dict(x=u(3, 4), y=u(4))),
    ("matmul/dot", lambda x, y: x @ y, dict(x=u(4), y=u(4))),
    ("linear", lambda x, w, b: F.linear(x, w, b), dict(x=u(2, 3, 4), w=u(5, 4), b=u(5))),
    ("einsum/matmul", lambda x, y: torch.einsum("ij,jk->ik", x, y), dict(x=u(3, 4), y=u(4, 5))),
    ("einsum/batched", lambda x, y: torch.einsum("bij,bjk->bik", x, y),
     dict(x=u(2, 3, 4), y=u(2, 4, 5))),
    ("einsum/transposed", lambda x, y: torch.einsum("bij,kj->bki", x, y),
     dict(x=u(2, 3, 4), y=u(5, 4))),
    ("einsum/outer", lambda x, y: torch.einsum("i,j->ij", x, y), dict(x=u(3), y=u(4))),
    ("einsum/rows_dot", lambda x, y: torch.einsum("bi,bi->b", x, y), dict(x=u(3, 4), y=u(3, 4))),
    ("einsum/sum", lambda x: torch.einsum("ij->j", x), dict(x=u(3, 4))),
    ("einsum/transpose", lambda x: torch.einsum("ij->ji", x), dict(x=u(3, 4))),
    ("einsum/trace", lambda x: torch.einsum("ii->", x), dict(x=u(4, 4))),
    ("einsum/diagonal", lambda x: torch.einsum("ii->i", x), dict(x=u(4, 4))),
    ("einsum/implicit", lambda x, y: torch.einsum("ij,jk", x, y), dict(x=u(3, 4), y=u(4, 5))),
    # --- linear algebra
    ("cholesky/lower", lambda a: torch.linalg.cholesky(spd(a)), dict(a=u(5, 5))),
    ("cholesky/batched", lambda a: torch.linalg.cholesky(spd(a)), dict(a=u(3, 4, 4))),
    ("logdet", lambda a: torch.logdet(spd(a)), dict(a=u(5, 5))),
    ("solve_triangular/lower", lambda a, b: torch.linalg.solve_triangular(a, b, upper=False),
     dict(a=u(4, 4, offset=2.0), b=u(4, 3))),
    ("solve_triangular/upper", lambda a, b: torch.linalg.solve_triangular(a, b, upper=True),
     dict(a=u(4, 4, offset=2.0), b=u(4, 3))),
    ("diag/extract", lambda x: torch.diag(x), dict(x=u(4, 4))),
    ("diag/build", lambda x: torch.diag(x), dict(x=u(4))),
    ("tril", lambda x: torch.tril(x, -1), dict(x=u(4, 5))),
    ("triu", lambda x: torch.triu(x, 1), dict(x=u(4, 5))),
    # --- pooling: images
    ("max_pool2d/stem", lambda x: F.max_pool2d(x, 3, 2, 1), dict(x=u(2, 3, 7, 8))),
    ("max_pool2d/ties", lambda x: F.max_pool2d(x, 3, 2, 1),
     dict(x=grid(2, 3, 7, 6, levels=3, offset=-3.0))),
    ("max_pool2d/plain", lambda x: F.max_pool2d(x, 2), dict(x=u(2, 3, 5, 6))),
    ("avg_pool2d/padding_counted", lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=True),
     dict(x=u(2, 3, 7, 6))),
    ("avg_pool2d/padding_not_counted", lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
     dict(x=u(2, 3, 7, 6))),
    ("adaptive_avg_pool2d/odd", lambda x: F.adaptive_avg_pool2d(x, (3, 4)), dict(x=u(2, 3, 7, 10))),
    ("adaptive_avg_pool2d/one", lambda x: F.adaptive_avg_pool2d(x, 1), dict(x=u(2, 3, 5, 4))),
    # --- indices
    ("gather", lambda x, i: torch.gather(x, 1, i), dict(x=u(4, 5), i=ints(4, 7, n=5))),
    ("scatter_add", lambda x, i, s: x.scatter_add(1, i, s),
     dict(x=u(4, 5), i=ints(4, 7, n=5), s=u(4, 7))),
    ("index_select/rows", lambda x, i: x.index_select(0, i), dict(x=u(5, 3), i=ints(9, n=5))),
    ("index_select/middle", lambda x, i: x.index_select(1, i), dict(x=u(2, 5, 3), i=ints(9, n=5))),
    ("embedding", lambda w, i: F.embedding(i, w), dict(w=u(6, 3), i=ints(4, 5, n=6))),
    ("masked_select", lambda x: x.masked_select(x > 0), dict(x=u(4, 5))),
    ("nonzero", lambda x: torch.nonzero(x > 0), dict(x=u(4, 5))),
    ("one_hot", lambda i: F.one_hot(i, 5), dict(i=ints(3, 4, n=5))),
    ("flip", lambda x: torch.flip(x, (0, 2)), dict(x=u(3, 4, 5))),
    ("repeat", lambda x: x.repeat(2, 1, 3), dict(x=u(3, 4))),
    ("cat", lambda x, y: torch.cat((x, y), 1), dict(x=u(3, 4), y=u(3, 2))),
    ("stack", lambda x, y: torch.stack((x, y), 1), dict(x=u(3, 4), y=u(3, 4))),
    # --- padding: PyTorch's list, last dimension first; of an image left, right, top, bottom
    ("pad/constant", lambda x: F.pad(x, (1, 2, 0, 3), value=0.5), dict(x=u(2, 3, 4))),
    ("pad/crop", lambda x: F.pad(x, (-1, 2)), dict(x=u(3, 4))),
    ("pad/reflect", lambda x: F.pad(x, (1, 2, 3, 0), mode="reflect"), dict(x=u(2, 3, 4, 5))),
    ("pad/replicate", lambda x: F.pad(x, (1, 2, 3, 0), mode="replicate"), dict(x=u(2, 3, 4, 5))),
    # --- losses
    ("mse_loss", lambda x, y: F.mse_loss(x, y), dict(x=u(4, 5), y=u(4, 5))),
    ("cross_entropy/plain", lambda x, t: F.cross_entropy(x, t), logits),
    ("cross_entropy/sum", lambda x, t: F.cross_entropy(x, t, reduction="sum"), logits),
    ("cross_entropy/none", lambda x, t: F.cross_entropy(x, t, reduction="none"), logits),
    ("cross_entropy/smoothing", lambda x, t: F.cross_entropy(x, t, label_smoothing=0.1), logits),
    ("cross_entropy/ignore", lambda x, t: F.cross_entropy(x, t, ignore_index=2), logits),
    ("cross_entropy/weights", lambda x, t, w: F.cross_entropy(x, t, w),
     logits | class_weights),
    ("cross_entropy/all",
     lambda x, t, w: F.cross_entropy(x, t, w, ignore_index=2, label_smoothing=0.2),
     logits | class_weights),
    # --- VICReg on given embeddings: total, invariance, variance, covariance
    ("vicreg/few_dims", vicreg_logged, dict(za=u(16, 6, scale=2.0), zb=u(16, 6, scale=1.5))),
    ("vicreg/many_dims", vicreg_logged, dict(za=u(8, 40), zb=u(8, 40, scale=2.0))),
    ("vicreg/variance_not_halved", lambda za, zb: vicreg_logged(za, zb, False),
     dict(za=u(8, 10), zb=u(8, 10))),
]


def run_op(name, function, specs):
    inputs = {key: make_input(f"{name}/{key}", spec) for key, spec in specs.items()}
    for key, spec in specs.items():
        inputs[key].requires_grad_(spec["grad"])
    outputs = function(**inputs)
    outputs = tuple(outputs) if isinstance(outputs, (tuple, list)) else (outputs,)
    objective = 0.0
    for k, out in enumerate(outputs):
        if out.requires_grad:
            objective = objective + (out * uniform(f"{name}/cotangent{k}", list(out.shape))).sum()
    result = {"inputs": specs, "outputs": [record(out) for out in outputs], "grads": {}}
    if torch.is_tensor(objective):
        objective.backward()
        used = {key: t for key, t in inputs.items() if t.grad is not None}
        result["grads"] = {key: record(t.grad) for key, t in used.items()}
    return result


def generate_ops():
    out = {}
    for name, function, specs in OPS:
        assert name not in out, name
        out[name] = run_op(name, function, specs)
    print(f"ops: {len(out)} cases")
    return out


# ---------------------------------------------------------------------------- networks


class NarrowResNet18(torchvision.models.ResNet):
    """ResNet-18 whose stages have width, 2, 4 and 8 times width channels; CIFAR
    stem, no classifier."""

    def __init__(self, width):
        super().__init__(BasicBlock, [2, 2, 2, 2])
        self.inplanes = width
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = self._make_layer(BasicBlock, width, 2)
        self.layer2 = self._make_layer(BasicBlock, 2 * width, 2, 2)
        self.layer3 = self._make_layer(BasicBlock, 4 * width, 2, 2)
        self.layer4 = self._make_layer(BasicBlock, 8 * width, 2, 2)
        self.fc = nn.Identity()
        cifar_stem(self, width)


def cifar_stem(net, width=64):
    net.conv1 = nn.Conv2d(3, width, 3, 1, 1, bias=False)
    net.maxpool = nn.Identity()
    return net


def replace_relu(module, make):
    for name, child in module.named_children():
        if isinstance(child, nn.ReLU):
            setattr(module, name, make())
        else:
            replace_relu(child, make)


def fill(net, dtype=torch.float64):
    """Every parameter and buffer from `initial`, by its name."""
    net.to(dtype)
    with torch.no_grad():
        for name, t in net.state_dict().items():
            if not name.endswith("num_batches_tracked"):
                t.copy_(initial(name, list(t.shape)))
    return net


def running_statistics(net):
    names = ("running_mean", "running_var")
    return {k: record(t) for k, t in net.state_dict().items() if k.endswith(names)}


def imagenet18():
    return torchvision.models.resnet18(num_classes=10)


def cifar18():
    return cifar_stem(imagenet18())


def cifar50():
    return cifar_stem(torchvision.models.resnet50(num_classes=10))


# name: constructor, activation, input shape, numbers of the inputs. 10 classes; the loss is
# cross-entropy in train mode. Maps are neither square nor all even, and even the last stage has at
# least 24 elements a channel: with fewer, batch-norm makes the gradient too sensitive for f32.
NETWORKS = {
    "resnet18": (cifar18, "relu", (4, 3, 16, 20), (3, 4)),
    "resnet18_softplus": (cifar18, "softplus", (4, 3, 16, 20), (0,)),
    "resnet18_imagenet_stem": (imagenet18, "relu", (4, 3, 64, 72), (0, 2)),
    "resnet50": (cifar50, "relu", (4, 3, 16, 20), (0,)),
    "resnet50_softplus": (cifar50, "softplus", (4, 3, 16, 20), (0,)),
}
F32_DRAWS = 8


def train_pass(case, which, dtype=torch.float64, prepare=lambda net, x: (net, x)):
    """One forward and backward pass in train mode on input number `which`."""
    make, activation, shape, _ = NETWORKS[case]
    net = make()
    if activation == "softplus":
        replace_relu(net, nn.Softplus)
    net, x = prepare(fill(net, dtype).train(), uniform(f"input{which}", shape).to(dtype))
    x.requires_grad_(True)
    y = net(x)
    loss = F.cross_entropy(y, torch.from_numpy(below(f"labels{which}", shape[0], 10)))
    loss.backward()
    return net, x, y, loss


def f32_distances(case, which):
    """How far PyTorch's own f32 is from its f64: |g32 - g64| / |g64| over all parameter gradients
    together, for several draws of the rounding errors, sorted.

    One ReLU whose input is within rounding of zero may open in f32 and stay shut in f64: without
    such a flip the distance is about 4e-6, with it 1e-3 to 1e-2, so one f32 run says little. A draw
    is one of two layouts, and the input moved by at most one unit in the last place of f32. The
    inputs in NETWORKS are ones where PyTorch does flip: where it does not, a single flip on our
    side, as likely as one on PyTorch's, would decide the comparison."""

    def all_gradients(net):
        return torch.cat([p.grad.double().flatten() for p in net.parameters()])

    g64 = all_gradients(train_pass(case, which)[0])
    out = []
    for draw in range(F32_DRAWS):

        def prepare(net, x, draw=draw):
            if draw > 1:
                x = x * (1 + 2.0**-23 * unit_like(x, f"draw{draw}"))
            layout = torch.channels_last if draw % 2 else torch.contiguous_format
            return net.to(memory_format=layout), x.contiguous(memory_format=layout)

        g32 = all_gradients(train_pass(case, which, torch.float32, prepare)[0])
        out.append(float((g32 - g64).norm() / g64.norm()))
    return sorted(out)


def unit_like(x, name):
    return torch.from_numpy(unit(name, x.numel())).reshape(x.shape).to(x.dtype)


def generate_networks():
    out = {}
    for case, (_, activation, shape, inputs) in NETWORKS.items():
        net, x, y, loss = train_pass(case, inputs[0])
        result = {"activation": activation, "input": list(shape), "input_numbers": list(inputs)}
        result |= {"loss": float(loss.detach()), "output": record(y)}
        result["grads"] = gradients({"input": x} | dict(net.named_parameters()))
        result["running"] = running_statistics(net)
        with torch.no_grad():
            result["eval_output"] = record(net.eval()(x))
        result["f32_distances"] = [f32_distances(case, which) for which in inputs]
        out[case] = result
        print(f"networks: {case}: loss {result['loss']:.6f}")
        for which, distances in zip(inputs, result["f32_distances"]):
            shown = " ".join(f"{d:.1e}" for d in distances)
            print(f"networks: {case}: f32 distances, input {which}: {shown}")
    return out


# ---------------------------------------------------------------------------- ten steps of training


def make_vicreg(dims=(24, 24, 16), width=8):
    """Encoder, and expander as published: Linear, batch-norm, ReLU; last a Linear without bias."""
    layers, d = [], 8 * width
    for out in dims[:-1]:
        layers += [nn.Linear(d, out), nn.BatchNorm1d(out), nn.ReLU()]
        d = out
    layers.append(nn.Linear(d, dims[-1], bias=False))
    model = nn.ModuleDict({"encoder": NarrowResNet18(width), "expander": nn.Sequential(*layers)})
    return fill(model).train()


class Lars(torch.optim.Optimizer):
    """LARS by the two formulas in use; tensors of one dimension are neither decayed nor adapted.

    m = momentum m + q d;  p -= lr m, where d = g + wd p and
    official: q = eta |p| / |d|, 1 where a norm is 0
    clipped:  q = min(eta |p| / (|g| + wd |p| + 1e-8) / lr, 1); where a norm is 0, d = g and q = 1
    """

    def __init__(self, params, lr, momentum, weight_decay, eta, clipped):
        options = dict(momentum=momentum, weight_decay=weight_decay, eta=eta, clipped=clipped)
        super().__init__(params, dict(lr=lr) | options)

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                d = p.grad
                if p.ndim > 1:
                    decayed = d + group["weight_decay"] * p
                    if group["clipped"]:
                        pn, gn = p.norm(), d.norm()
                        if pn > 0 and gn > 0:
                            q = group["eta"] * pn / (gn + group["weight_decay"] * pn + 1e-8)
                            d = decayed * min(float(q) / group["lr"], 1.0)
                    else:
                        pn, dn = p.norm(), decayed.norm()
                        d = decayed * (group["eta"] * pn / dn if pn > 0 and dn > 0 else 1.0)
                m = self.state[p].get("m", torch.zeros_like(p)) * group["momentum"] + d
                self.state[p]["m"] = m
                p.sub_(group["lr"] * m)


STEPS, BATCH, IMAGE = 10, 8, (3, 12, 14)
# name: optimiser, its options, base learning rate. The rate of step t is base * (t+1)/3 for t < 3,
# then base * (1 + cos(pi (t-3)/7)) / 2; max_norm clips the gradient's norm before the step. Rates
# are such that a change of 1e-15 in the first weights moves the last ones by less than 1e-10. Two
# biases have a zero gradient, whose rounding errors Adam divides by their own size: eps or the
# decay outweighs them.
OPTIMISERS = {
    "sgd": ("SGD", dict(), 0.001),
    "sgd_momentum": ("SGD", dict(momentum=0.9, weight_decay=0.01), 0.002),
    "sgd_nesterov": ("SGD", dict(momentum=0.9, weight_decay=0.01, nesterov=True), 0.002),
    "sgd_max_norm": ("SGD", dict(momentum=0.9, max_norm=2.0), 0.02),
    "lars": ("LARS", dict(momentum=0.9, weight_decay=0.01, eta=0.02, clipped=False), 0.1),
    "lars_clipped": ("LARS", dict(momentum=0.9, weight_decay=0.01, eta=0.02, clipped=True), 0.01),
    "adam": ("Adam", dict(betas=[0.9, 0.99], weight_decay=0.01), 0.001),
    "adamw": ("AdamW", dict(betas=[0.9, 0.95], weight_decay=0.1, eps=1e-4), 0.001),
}


def learning_rate(base, t):
    return base * (t + 1) / 3 if t < 3 else base * 0.5 * (1 + math.cos(math.pi * (t - 3) / 7))


def make_optimiser(kind, options, lr, params):
    options = {k: v for k, v in options.items() if k != "max_norm"}
    if kind == "LARS":
        return Lars(params, lr, options["momentum"], options["weight_decay"], options["eta"],
                    options["clipped"])
    return getattr(torch.optim, kind)(params, lr=lr, **options)


def vicreg_pass(model, step):
    """Two views: the images of this step, each with noise of its own."""
    shape = (BATCH,) + IMAGE
    image = uniform(f"step{step}/image", shape)
    views = [image + uniform(f"step{step}/noise{v}", shape, 0.0, 0.25) for v in range(2)]
    za, zb = (model["expander"](model["encoder"](x)) for x in views)
    return za, zb, vicreg(za, zb)


def generate_optimisers():
    model = make_vicreg()
    za, zb, terms = vicreg_pass(model, 0)
    terms[0].backward()
    first = {
        "terms": [float(t.detach()) for t in terms],
        "outputs": [record(za), record(zb)],
        "grads": gradients(dict(model.named_parameters())),
        "running": running_statistics(model),
    }
    print("optimisers: first step's terms " + " ".join(f"{t:.6f}" for t in first["terms"]))
    out = {"batch": BATCH, "image": list(IMAGE), "first_step": first, "runs": {}}
    for name, (kind, options, base) in OPTIMISERS.items():
        model = make_vicreg()
        optimiser = make_optimiser(kind, options, base, model.parameters())
        losses, rates, norms = [], [learning_rate(base, t) for t in range(STEPS)], []
        for t in range(STEPS):
            for group in optimiser.param_groups:
                group["lr"] = rates[t]
            optimiser.zero_grad()
            loss = vicreg_pass(model, t)[2][0]
            loss.backward()
            if "max_norm" in options:
                norm = nn.utils.clip_grad_norm_(model.parameters(), options["max_norm"])
                norms.append(float(norm))
            optimiser.step()
            losses.append(float(loss.detach()))
        run = {"kind": kind, "options": options, "rates": rates, "losses": losses}
        if norms:
            run["norms"] = norms
        run["parameters"] = {k: record(p) for k, p in model.named_parameters()}
        out["runs"][name] = run
        print(f"optimisers: {name}: loss " + " ".join(f"{v:.4f}" for v in losses))
    return out


def generate_objectives():
    return objectives.generate(uniform, initial, below, record)


# ---------------------------------------------------------------------------- files


def dump(value, depth=0):
    """JSON with one line per record, so that a change shows as the lines it concerns."""
    if isinstance(value, dict) and depth < 4 and not {"shape", "kind"} & set(value):
        body = ",\n".join(f"{json.dumps(k)}: {dump(v, depth + 1)}" for k, v in value.items())
        return "{\n" + body + "\n}" if body else "{}"
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[\n" + ",\n".join(dump(v, depth + 1) for v in value) + "\n]"
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def differences(new, old, path):
    """Where two files differ by more than rounding on another machine does."""
    if isinstance(new, dict) and isinstance(old, dict):
        for k in sorted(new.keys() ^ old.keys()):
            yield f"{path}/{k}: only {'now' if k in new else 'in the file'}"
        for k in new.keys() & old.keys():
            if k in ("projections", "samples") and len(new[k]) == len(old[k]):
                size = new["norm"] / (math.sqrt(math.prod(new["shape"])) if k == "samples" else 1)
                if any(abs(a - b) > 1e-10 * max(abs(a), size) for a, b in zip(new[k], old[k])):
                    yield f"{path}/{k}: other numbers"
            elif k != "f32_distances":  # rounding errors of PyTorch's f32 are the machine's own
                yield from differences(new[k], old[k], f"{path}/{k}")
    elif isinstance(new, list) and isinstance(old, list) and len(new) == len(old):
        for i, (a, b) in enumerate(zip(new, old)):
            yield from differences(a, b, f"{path}/{i}")
    elif isinstance(new, float) and isinstance(old, (int, float)):
        if abs(new - old) > 1e-10 * abs(new):
            yield f"{path}: {new} now, {old} in the file"
    elif new != old:
        yield f"{path}: {new} now, {old} in the file"


def main(arguments):
    generators = dict(ops=generate_ops, objectives=generate_objectives, networks=generate_networks,
                      optimisers=generate_optimisers)
    check = "--check" in arguments
    names = [a for a in arguments if a != "--check"] or list(generators)
    unknown = set(names) - set(generators)
    if unknown:
        sys.exit(f"unknown {sorted(unknown)}: expected --check and any of {' '.join(generators)}")
    print(f"torch {torch.__version__}, torchvision {torchvision.__version__}")
    failed = False
    for name in names:
        path = os.path.join(HERE, name + ".json")
        new = generators[name]()
        if check:
            with open(path) as file:
                found = list(differences(json.loads(json.dumps(new)), json.load(file), name))
            print("\n".join(found) or f"{name}: agrees with {name}.json")
            failed = failed or bool(found)
        else:
            with open(path + ".part", "w") as file:
                file.write(dump(new) + "\n")
            os.replace(path + ".part", path)
            print(f"{name}: wrote {name}.json, {os.path.getsize(path)} bytes")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main(sys.argv[1:])
